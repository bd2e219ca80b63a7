use std::time::Duration;

use super::*;
use crate::bench::{Bench, Outcome};
use crate::{App, Event, Pipeline, Rows, RuleInput, Rules, View};

const FLAP: &str = "flap";
const LIMIT: &str = "limit";
const PORTS: Table<u32, String> = Table::new("ports");

/// An app whose ports with a row have an alarm of kind `limit`, and which does at a tick what it was told to.
struct Watchman {
    next: Box<dyn Fn(&mut Turn<'_>) + Send>,
}

fn flap(subject: &str, text: &str) -> Alarm {
    Alarm::new(FLAP, subject, text, "see the cable").on_port(Dpid(1), 7)
}

impl App for Watchman {
    type Group = u8;

    fn alarms() -> &'static [&'static str] {
        &[FLAP, LIMIT]
    }

    fn event(&mut self, _: &Event, _: &mut Turn<'_>) -> Result<(), AppError> {
        Ok(())
    }

    fn changed(&mut self, _: &crate::Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        let rows = turn.rows(&PORTS).into_iter();
        let alarms = rows.map(|(port, text)| Alarm::new(LIMIT, port.to_string(), text, "unplug"));
        turn.set_alarms(LIMIT, alarms);
        Ok(())
    }

    fn tick(&mut self, turn: &mut Turn<'_>) -> Result<(), AppError> {
        (self.next)(turn);
        Ok(())
    }

    fn groups(&self, input: &RuleInput<'_>, _: &View<'_>) -> Vec<u8> {
        if let RuleInput::Row(row) = input {
            assert_ne!(row.table, TABLE, "alarms are no input of rules");
        }
        Vec::new()
    }

    fn rules(&self, _: &u8, _: &View<'_>, _: &mut Rules) {}
}

fn bench() -> Bench<Watchman> {
    let next = Box::new(|_: &mut Turn<'_>| {});
    Bench::new(Watchman { next }, Pipeline::default())
}

fn tick(bench: &mut Bench<Watchman>, next: impl Fn(&mut Turn<'_>) + Send + 'static) -> Outcome {
    bench.app().next = Box::new(next);
    bench.tick(Duration::from_secs(1))
}

fn kinds(bench: &Bench<Watchman>) -> Vec<(String, String)> {
    bench.alarms().into_keys().collect()
}

fn id(kind: &str, subject: &str) -> (String, String) {
    (kind.to_owned(), subject.to_owned())
}

#[test]
fn an_alarm_lasts_until_it_is_ended_and_is_written_once() {
    let mut bench = bench();
    let raise = |turn: &mut Turn<'_>| turn.raise(&flap("a", "port 7 flaps"));
    assert_eq!(tick(&mut bench, raise).puts.len(), 1);
    let first = bench.alarms()[&id(FLAP, "a")].clone();
    assert_eq!(
        (first.switch.as_deref(), first.port, &*first.mend),
        (Some("0000000000000001"), Some(7), "see the cable")
    );
    assert!(tick(&mut bench, raise).is_empty());
    tick(&mut bench, |turn| {
        turn.raise(&flap("a", "port 7 flaps more"))
    });
    let second = bench.alarms()[&id(FLAP, "a")].clone();
    assert_eq!(
        (second.since, &*second.text),
        (first.since, "port 7 flaps more")
    );
    tick(&mut bench, |turn| turn.end_alarm(FLAP, "a"));
    assert!(bench.alarms().is_empty());
    assert!(tick(&mut bench, |turn| turn.end_alarm(FLAP, "a")).is_empty());
    tick(&mut bench, raise);
    assert!(bench.alarms()[&id(FLAP, "a")].since > first.since);
}

#[test]
fn a_set_replaces_the_alarms_of_its_kind_only() {
    let mut bench = bench();
    tick(&mut bench, |turn| turn.raise(&flap("a", "")));
    bench.row(&PORTS, &1, &"full".to_owned());
    bench.row(&PORTS, &2, &"full".to_owned());
    let all = [id(FLAP, "a"), id(LIMIT, "1"), id(LIMIT, "2")];
    assert_eq!(kinds(&bench), all);
    assert!(bench.resume().is_empty());
    let outcome = bench.row(&PORTS, &2, &"fuller".to_owned());
    assert_eq!(outcome.put(&ALARMS).len(), 1, "{outcome:?}");
    bench.no_row(&PORTS, &1);
    assert_eq!(kinds(&bench), [id(FLAP, "a"), id(LIMIT, "2")]);
}

#[test]
fn alarms_beyond_the_bound_are_named_by_one() {
    let mut bench = bench();
    let mut set = |count| {
        let outcome = tick(&mut bench, move |turn| {
            turn.set_alarms(FLAP, (0..count).map(|n| flap(&format!("{n:05}"), "")));
        });
        let more = bench.alarms().contains_key(&id(MORE, ""));
        (bench.alarms().len(), more, outcome.is_empty())
    };
    assert_eq!(set(MOST), (MOST, false, false));
    assert_eq!(set(MOST + 2), (MOST + 1, true, false));
    assert_eq!(set(MOST + 2), (MOST + 1, true, true));
    assert_eq!(set(MOST - 1), (MOST - 1, false, false));
    assert_eq!(set(MOST + 1), (MOST + 1, true, false));
    let refused = tick(&mut bench, |turn| {
        turn.raise(&Alarm::new(LIMIT, "", "", ""))
    });
    assert!(refused.is_empty(), "{refused:?}");
    tick(&mut bench, |turn| turn.end_alarm(FLAP, "00007"));
    assert_eq!(bench.alarms().len(), MOST - 1);
    assert!(!bench.alarms().contains_key(&id(MORE, "")));
}

#[test]
fn the_longest_alarms_fit_into_one_transaction() {
    let mut bench = bench();
    let long = "ä".repeat(TEXT);
    let outcome = tick(&mut bench, move |turn| {
        turn.set_alarms(
            FLAP,
            (0..MOST).map(|n| {
                let alarm = flap(&format!("{n:0SUBJECT$}"), &long);
                let mend = long.clone();
                Alarm { mend, ..alarm }.of_host(MacAddr([2; 6]))
            }),
        );
    });
    let size =
        |((table, key), value): (&RowId, &Value)| table.len() + key.len() + value.to_string().len();
    let bytes: usize = outcome.puts.iter().map(size).sum();
    assert_eq!(outcome.puts.len(), MOST);
    assert!(bytes < morph_store::limits::TRANSACTION / 2, "{bytes}");
}

#[test]
fn one_change_is_logged_for_the_beginning_and_one_for_the_end() {
    let row = |text: &str| flap("a", text).row(7);
    let value = |text: &str| serde_json::to_value(row(text)).unwrap();
    let other = (("ports".to_owned(), "1".to_owned()), Some(Value::from(1)));
    let alarm = (TABLE.to_owned(), "flap/a".to_owned());
    for (before, after, expected) in [
        (None, Some("x"), vec![Change::Began(row("x"))]),
        (Some("x"), Some("y"), vec![]),
        (Some("x"), None, vec![Change::Ended(row("x"))]),
    ] {
        let journal = Journal::from([(alarm.clone(), before.map(value))]);
        let writes = [other.clone(), (alarm.clone(), after.map(value))];
        assert_eq!(changes(&journal, &writes).collect::<Vec<_>>(), expected);
    }
    assert_eq!(place(&row("")), " on switch 0000000000000001 port 7");
}

#[test]
fn misuse_fails_the_turn_and_changes_nothing() {
    type Misuse = fn(&mut Turn<'_>);
    let cases: [(Misuse, &str); 5] = [
        (
            |turn| turn.raise(&Alarm::new("other", "", "", "")),
            "not in App::alarms",
        ),
        (|turn| turn.end_alarm("other", ""), "not in App::alarms"),
        (
            |turn| turn.set_alarms(LIMIT, [flap("a", "")]),
            "no alarm of kind limit",
        ),
        (
            |turn| turn.raise(&flap(&"a".repeat(SUBJECT + 1), "")),
            "more than 200 bytes",
        ),
        (
            |turn| turn.put(&ALARMS, &id(FLAP, ""), &AlarmRow::default()),
            "written by `raise`",
        ),
    ];
    for (misuse, reason) in cases {
        let mut bench = bench();
        let outcome = tick(&mut bench, misuse);
        let error = outcome.error.map(|error| error.to_string());
        assert!(
            error.as_ref().is_some_and(|error| error.contains(reason)),
            "{error:?}"
        );
        assert!(bench.alarms().is_empty());
    }
}

#[test]
fn a_release_that_goes_live_ends_the_alarms_that_it_does_not_know() {
    let mut bench = bench();
    let mut rows = Rows::new();
    for kind in ["former", FLAP] {
        let row = AlarmRow {
            kind: kind.to_owned(),
            ..AlarmRow::default()
        };
        rows.put(&ALARMS, &id(kind, "x"), &row).unwrap();
    }
    bench.load(&rows);
    bench.resume();
    assert_eq!(kinds(&bench), [id(FLAP, "x")]);
}
