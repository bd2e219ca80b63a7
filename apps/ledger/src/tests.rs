use morph_sdk::bench::{Bench, down, up};
use morph_sdk::packet::frame;
use morph_sdk::{Dpid, MacAddr, Pipeline, Rows};

use crate::{ETHERTYPE, FLOWS, Ledger, MOST_FLOWS, PORT, Rows2, V1ToV2, append};

#[test]
fn what_is_lost_doubled_or_out_of_order_ends_a_run() {
    let mut runs = Vec::new();
    for number in [1, 2, 3, 3, 5, 6, 4] {
        append(&mut runs, number);
    }
    assert_eq!(runs, [(1, 3), (3, 3), (5, 6), (4, 4)]);
}

#[test]
fn a_book_of_many_runs_is_the_same_after_up_and_down() {
    let mut rows = Rows::new();
    let book: Vec<(u64, u64)> = (0..12).map(|n| (n * 10, n * 10 + 5)).collect();
    rows.put(&crate::books::BOOKS, &Dpid(7), &book).unwrap();
    rows.put(&crate::COUNTS, &(Dpid(7), "up".to_owned()), &2)
        .unwrap();
    let newer = up::<V1ToV2>(&rows).unwrap();
    assert_eq!(newer.0.len(), 13);
    assert_eq!(down::<V1ToV2>(&newer).unwrap(), rows);
}

/// Writes every other number to a book, so that each is a run, and returns the book and the rows read for the last one.
fn runs(count: u64) -> (Vec<(u64, u64)>, u64) {
    let pipeline = Pipeline {
        app: 9,
        first: 2,
        exit: 5,
    };
    let mut bench = Bench::new(Ledger::new(PORT, Rows2), pipeline);
    let (host, mut read) = (MacAddr([2; 6]), 0);
    for n in 0..count {
        let before = bench.rows_read();
        let number = (2 * n).to_be_bytes();
        bench.packet_in(Dpid(7), PORT, frame(host, host, ETHERTYPE, &number));
        read = bench.rows_read() - before;
    }
    let rows = down::<V1ToV2>(&bench.own_rows()).unwrap();
    let book = rows.get(&crate::books::BOOKS, &Dpid(7)).unwrap();
    (book.unwrap(), read)
}

#[test]
fn a_number_costs_a_look_at_few_runs_however_many_there_are() {
    for count in [1, 2, 3, 100, 1000] {
        let (book, read) = runs(count);
        let all: Vec<_> = (0..count).map(|n| (2 * n, 2 * n)).collect();
        assert_eq!(book, all);
        assert!(read <= 24, "{read} of {count}");
    }
}

#[test]
fn an_alarm_lasts_as_long_as_too_many_rules_are_asked_for() {
    let pipeline = Pipeline::default();
    let mut bench = Bench::new(Ledger::new(PORT, Rows2), pipeline);
    bench.row(&FLOWS, &Dpid(7), &(MOST_FLOWS, 1));
    assert!(bench.alarms().is_empty());
    bench.row(&FLOWS, &Dpid(7), &(MOST_FLOWS + 1, 1));
    bench.row(&FLOWS, &Dpid(8), &(MOST_FLOWS + 1, 1));
    let switches = bench
        .alarms()
        .into_values()
        .filter_map(|alarm| alarm.switch);
    let expected = ["0000000000000007", "0000000000000008"];
    assert_eq!(switches.collect::<Vec<_>>(), expected);
    bench.no_row(&FLOWS, &Dpid(7));
    bench.row(&FLOWS, &Dpid(8), &(1, 1));
    assert!(bench.alarms().is_empty());
}
