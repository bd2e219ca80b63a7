use morph_sdk::bench::{down, up};
use morph_sdk::{Dpid, Rows};

use crate::{V1ToV2, append};

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
