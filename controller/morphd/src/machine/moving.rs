//! Moves of apps to other tables, on running switches and without loss.
//!
//! ```text
//!   Copying ---settled---> Flipping ---settled---> Deleting ---settled---> over
//!      | rules are in both    | table 0, or an exit,   | rules are in the
//!      | ranges               | leads to the new ones  | new range only
//!      +-- not within 60 s: the second ranges are taken back, and the move is refused
//! ```
//!
//! 1. The second range of each app that moves is recorded, and told to the proxy, which tells the apps. They put their rules in both
//!    ranges, and report once all switches have confirmed them.
//! 2. The two ranges change places, in the records and at the proxy. One rule of each switch decides which are passed.
//! 3. When all switches have it, the second ranges are taken back. The apps delete the rules there.
//!
//! A new morphd finds the second ranges in the records and goes on with 2: they are in use or they are not, and go in both cases.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::{Call, RecordWrite};
use super::observe::configure;
use super::outbox::{PipelineChange, Purpose, Reply, Signal};
use super::pipeline::{self, Move, Phase, Then};
use super::request::{RequestId, unavailable};
use super::state::State;

/// Time in which the rules have to be in both ranges.
const COPY: Duration = Duration::from_secs(60);
/// Time after which the log says what is waited for, and rules that are to be deleted are no longer waited for.
const REMIND: Duration = Duration::from_secs(60);

/// Begins to move apps to these first tables.
pub(super) fn begin(state: &mut State, to: BTreeMap<String, u8>, request: RequestId, then: Then) {
    tracing::info!(?to, "apps are moved to other tables");
    for (app, first) in to {
        state.pipeline.set_second(&app, Some(first));
    }
    state.moving = Some(Move {
        phase: Phase::Copying,
        serial: None,
        deadline: state.now() + COPY,
        request: Some(request),
        then,
    });
    record(state);
}

/// Waits until packets are led past an app whose removal is recorded.
pub(super) fn bypass(state: &mut State, id: u8, request: RequestId) {
    state.moving = Some(Move {
        phase: Phase::Bypassing,
        serial: None,
        deadline: state.now() + REMIND,
        request: Some(request),
        then: Then::Removed(id),
    });
}

/// The proxy does not take the configuration without the removed app, or is away.
pub(super) fn bypass_failed(state: &mut State, why: String) {
    let is_it = |moving: &mut Move| moving.phase == Phase::Bypassing;
    let request = state
        .moving
        .take_if(is_it)
        .and_then(|moving| moving.request);
    if let Some(request) = request {
        state.outbox.reply(request, Err(unavailable(why)));
    }
}

/// Goes on with a move that the records show.
pub(super) fn adopt(state: &mut State) {
    if state
        .pipeline
        .iter()
        .any(|(_, range)| range.second.is_some())
    {
        state.moving = Some(Move {
            phase: Phase::Flipping,
            serial: None,
            deadline: state.now() + REMIND,
            request: None,
            then: Then::Done,
        });
    }
}

/// Writes the ranges of all apps.
fn record(state: &mut State) {
    if let Some(moving) = &mut state.moving {
        moving.serial = None;
    }
    let write = Call::Write(ranges(state));
    state.outbox.call(write, Purpose::Tables);
}

fn ranges(state: &State) -> RecordWrite {
    let ranges = state.pipeline.iter();
    let writes = ranges.map(|(app, range)| pipeline::write(app, Some(*range)));
    RecordWrite {
        writes: writes.collect(),
        ..RecordWrite::default()
    }
}

/// The ranges are written, or refused.
pub(super) fn recorded(state: &mut State, result: Result<(), String>) {
    let Some(moving) = &state.moving else {
        return;
    };
    match (result, moving.phase) {
        (Ok(()), _) => configure(state, PipelineChange::Refresh),
        (Err(why), Phase::Copying) => {
            drop_seconds(state);
            end(state, Err(format!("the records cannot be written: {why}")));
        }
        // The proxy has what was recorded before. It is tried again.
        (Err(why), Phase::Flipping | Phase::Deleting | Phase::Bypassing) => {
            tracing::error!(why, "the records of a move of tables were refused");
            let now = state.now();
            if let Some(moving) = &mut state.moving {
                moving.deadline = now + REMIND;
            }
        }
    }
}

/// The proxy has carried out a configuration.
pub(super) fn settled(state: &mut State, serial: u64) {
    let now = state.now();
    let Some(moving) = state
        .moving
        .as_mut()
        .filter(|moving| moving.serial == Some(serial))
    else {
        return;
    };
    moving.deadline = now + REMIND;
    match moving.phase {
        Phase::Copying => {
            moving.phase = Phase::Flipping;
            state.pipeline.flip();
            record(state);
        }
        Phase::Flipping => {
            moving.phase = Phase::Deleting;
            drop_seconds(state);
            record(state);
        }
        Phase::Deleting | Phase::Bypassing => end(state, Ok(())),
    }
}

/// A deadline may have passed.
pub(super) fn time(state: &mut State) {
    let now = state.now();
    let Some(moving) = state
        .moving
        .as_mut()
        .filter(|moving| moving.deadline <= now)
    else {
        return;
    };
    moving.deadline = now + REMIND;
    match (moving.phase, moving.serial) {
        (Phase::Copying, Some(_)) => {
            drop_seconds(state);
            end(
                state,
                Err(format!(
                    "not all rules were in both ranges within {} s, and all apps keep their tables: see whether each app runs, and \
                     what `morphctl logs app=morph-proxy` says; an app that was built with an earlier SDK cannot be moved",
                    COPY.as_secs()
                )),
            );
        }
        (Phase::Deleting, Some(_)) => {
            tracing::warn!(
                "the rules in former tables are not all deleted yet; their apps go on with that"
            );
            end(state, Ok(()));
        }
        (Phase::Flipping, Some(_)) => {
            tracing::warn!(
                "not all switches have the rules yet that lead to the new tables: they are waited for"
            );
        }
        (Phase::Bypassing, Some(_)) => {
            tracing::warn!(
                "not all switches lead packets past the removed app yet; its rules are deleted all the same"
            );
            end(state, Ok(()));
        }
        // The proxy is away: it is told when it is back.
        (Phase::Bypassing, None) => {}
        (Phase::Copying | Phase::Flipping | Phase::Deleting, None) => record(state),
    }
}

fn drop_seconds(state: &mut State) {
    let apps: Vec<String> = state.pipeline.iter().map(|(app, _)| app.clone()).collect();
    for app in apps {
        state.pipeline.set_second(&app, None);
    }
}

fn end(state: &mut State, result: Result<(), String>) {
    let Some(moving) = state.moving.take() else {
        return;
    };
    match &result {
        Ok(()) if moving.phase == Phase::Bypassing => {}
        Ok(()) => tracing::info!("the apps have their new tables"),
        Err(why) => {
            tracing::error!("the move of tables is given up: {why}");
            let write = Call::Write(ranges(state));
            let purpose = Purpose::Log("the records of tables were refused");
            state.outbox.call(write, purpose);
            configure(state, PipelineChange::Refresh);
        }
    }
    let Some(request) = moving.request else {
        return;
    };
    match (result, moving.then) {
        (Ok(()), Then::Done) => state.outbox.reply(request, Ok(Reply::Done)),
        (Ok(()), Then::Removed(id)) => state.outbox.reply(request, Ok(Reply::Removed(id))),
        (Ok(()), Then::Request(then)) => state.outbox.signal(Signal::Request(request, then)),
        (Err(why), _) => state.outbox.reply(request, Err(unavailable(why))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::outbox::{NodeOutput, Present};
    use super::super::pipeline::TableRange;
    use super::super::state::NodeConfig;
    use super::*;

    const REQUEST: RequestId = RequestId(7);

    fn state() -> State {
        let config = NodeConfig {
            node: "node1".into(),
            probation: Duration::from_secs(30),
        };
        let present = Present {
            at: Instant::now(),
            unix_ms: 0,
            moment: None,
        };
        let mut state = State::new(config, present);
        state.pipeline.set("a", TableRange::new(1, 1));
        state.pipeline.set("b", TableRange::new(3, 1));
        state
    }

    /// First tables of both apps, and those of their second ranges.
    fn ranges(state: &State) -> [(u8, Option<u8>); 2] {
        ["a", "b"].map(|app| {
            let range = state.pipeline.get(app);
            range.map_or((0, None), |range| (range.first, range.second))
        })
    }

    /// Takes the outputs: what was written and configured, and the answer to the request.
    fn taken(state: &mut State) -> (Vec<&'static str>, Option<Result<Reply, String>>) {
        let (mut calls, mut answer) = (Vec::new(), None);
        let mut done = Vec::new();
        for output in std::mem::take(&mut state.outbox.out) {
            match output {
                NodeOutput::Call(id, Call::Write(_)) => {
                    calls.push("write");
                    done.push(id);
                }
                NodeOutput::Call(id, Call::Configure(configuration)) => {
                    calls.push(match (configuration.serial, configuration.apps_confirm) {
                        (0, _) => "configure",
                        (_, true) => "confirm",
                        (_, false) => "settle",
                    });
                    done.push(id);
                }
                NodeOutput::Reply(id, result) => {
                    assert_eq!(id, REQUEST);
                    answer = Some(result.map_err(|error| error.message));
                }
                other => panic!("{other:?}"),
            }
        }
        for id in done {
            state.outbox.answered(id);
        }
        (calls, answer)
    }

    fn serial(state: &State) -> u64 {
        state
            .moving
            .as_ref()
            .and_then(|moving| moving.serial)
            .unwrap()
    }

    fn to() -> BTreeMap<String, u8> {
        BTreeMap::from([("a".to_owned(), 7), ("b".to_owned(), 5)])
    }

    #[test]
    fn rules_are_copied_then_packets_are_led_there_then_the_former_rules_go() {
        let mut state = state();
        begin(&mut state, to(), REQUEST, Then::Done);
        assert_eq!(ranges(&state), [(1, Some(7)), (3, Some(5))]);
        assert_eq!(taken(&mut state), (vec!["write"], None));
        recorded(&mut state, Ok(()));
        assert_eq!(taken(&mut state), (vec!["confirm"], None));
        let number = serial(&state);
        settled(&mut state, number + 1);
        assert_eq!(taken(&mut state), (vec![], None), "another configuration");
        settled(&mut state, number);
        assert_eq!(ranges(&state), [(7, Some(1)), (5, Some(3))]);
        settled(&mut state, number);
        assert_eq!(taken(&mut state), (vec!["write"], None));
        recorded(&mut state, Ok(()));
        assert_eq!(taken(&mut state), (vec!["settle"], None));
        let number = serial(&state);
        settled(&mut state, number);
        assert_eq!(ranges(&state), [(7, None), (5, None)]);
        assert_eq!(taken(&mut state), (vec!["write"], None));
        recorded(&mut state, Ok(()));
        assert_eq!(taken(&mut state), (vec!["confirm"], None));
        let number = serial(&state);
        settled(&mut state, number);
        assert_eq!(taken(&mut state), (vec![], Some(Ok(Reply::Done))));
        assert!(state.moving.is_none());
    }

    #[test]
    fn a_move_whose_rules_are_not_confirmed_in_time_is_taken_back() {
        let mut state = state();
        begin(&mut state, to(), REQUEST, Then::Done);
        taken(&mut state);
        recorded(&mut state, Ok(()));
        taken(&mut state);
        time(&mut state);
        assert!(state.moving.is_some(), "not yet");
        state.outbox.present.at += COPY;
        time(&mut state);
        assert_eq!(ranges(&state), [(1, None), (3, None)]);
        let (calls, answer) = taken(&mut state);
        assert_eq!(calls, ["write", "configure"]);
        let error = answer.unwrap().unwrap_err();
        assert!(error.contains("all apps keep their tables"), "{error}");
    }

    #[test]
    fn the_proxy_is_told_again_after_its_restart_and_packets_are_led_to_the_new_tables_however_long_it_takes()
     {
        let mut state = state();
        begin(&mut state, to(), REQUEST, Then::Done);
        recorded(&mut state, Ok(()));
        taken(&mut state);
        let number = serial(&state);
        settled(&mut state, number);
        recorded(&mut state, Ok(()));
        let number = serial(&state);
        assert_eq!(taken(&mut state), (vec!["write", "settle"], None));
        configure(&mut state, PipelineChange::Refresh);
        assert_eq!(taken(&mut state), (vec!["settle"], None));
        settled(&mut state, number);
        assert_eq!(taken(&mut state), (vec![], None), "the former proxy's word");
        state.outbox.present.at += 3 * REMIND;
        time(&mut state);
        assert_eq!(ranges(&state), [(7, Some(1)), (5, Some(3))]);
    }

    #[test]
    fn a_new_morphd_finishes_a_move_from_wherever_it_was() {
        let mut state = state();
        state.pipeline.set_second("b", Some(5));
        adopt(&mut state);
        configure(&mut state, PipelineChange::Refresh);
        assert_eq!(taken(&mut state), (vec!["settle"], None));
        let number = serial(&state);
        settled(&mut state, number);
        assert_eq!(ranges(&state), [(1, None), (3, None)]);
        let mut done = self::state();
        adopt(&mut done);
        assert!(done.moving.is_none());
    }

    #[test]
    fn the_rules_of_a_removed_app_are_deleted_once_all_switches_lead_packets_past_it_or_late() {
        for is_late in [false, true] {
            let mut state = state();
            bypass(&mut state, 3, REQUEST);
            configure(&mut state, PipelineChange::Remove { app: "a".into() });
            assert_eq!(taken(&mut state), (vec!["settle"], None));
            let number = serial(&state);
            settled(&mut state, number + 1);
            assert_eq!(taken(&mut state), (vec![], None), "another configuration");
            match is_late {
                false => settled(&mut state, number),
                true => {
                    state.outbox.present.at += REMIND;
                    time(&mut state);
                }
            }
            assert_eq!(taken(&mut state), (vec![], Some(Ok(Reply::Removed(3)))));
            assert!(state.moving.is_none());
        }
    }

    #[test]
    fn a_removal_that_the_proxy_does_not_take_is_refused() {
        let mut state = state();
        bypass(&mut state, 3, REQUEST);
        bypass_failed(&mut state, "away".into());
        let (_, answer) = taken(&mut state);
        assert_eq!(answer, Some(Err("away".to_owned())));
        assert!(state.moving.is_none());
    }

    #[test]
    fn a_record_that_is_refused_ends_a_move_before_it_begins() {
        let mut state = state();
        begin(&mut state, to(), REQUEST, Then::Done);
        recorded(&mut state, Err("no".into()));
        assert_eq!(ranges(&state), [(1, None), (3, None)]);
        let (_, answer) = taken(&mut state);
        assert!(answer.unwrap().unwrap_err().contains("cannot be written"));
    }
}
