//! The path of every crash, first start and return of the proxy: fence for an instance, then make it live.
//!
//! ```text
//!   an instance died: AskingSuspect --> no single event, or fewer deaths --+
//!        |                 \--> poison: ReadingCursor --> quarantine it ---+
//!   nobody died -----------------------------------------------------------+--> Fencing --> Resuming --> live
//!                                                                               ^  | the event was applied after all
//!                                                                               +--+
//! ```
//!
//! What is found out about the death is written with the fence: the count of deaths, or the event's record and the cursor
//! past it.

use morph_api::store::Seq;
use morph_api::supervisor::{SuspectReply, UnplacedEvent};

use super::call::FenceRefusal;
use super::instances::InstanceId;
use super::poison::{Blame, Death, EventRow, KEPT, PoisonRun, Retry, Suspect, blame};
use super::record::{EVENTS, Fenced, Write};

/// Consequences of a death for the fence that follows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    /// The suspect that the app's record is to name.
    pub suspect: Option<Suspect>,
    /// The event to be quarantined.
    pub quarantine: Option<Quarantining>,
    /// The death counts against the event, not against the app.
    pub counted: bool,
    /// There is no room for the event.
    pub full: bool,
    /// Poison events in a row that the app's record is to name.
    pub run: Option<PoisonRun>,
}

/// Consequences of earlier deaths, from the app's record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Earlier {
    pub suspect: Option<Suspect>,
    pub run: Option<PoisonRun>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantining {
    pub id: String,
    pub row: EventRow,
    /// Cursor before the move, and after it.
    pub skip: (Seq, Seq),
}

impl Finding {
    pub fn skip(&self) -> Option<(Seq, Seq)> {
        self.quarantine.as_ref().map(|quarantine| quarantine.skip)
    }

    pub fn write(&self) -> Option<Write> {
        let Quarantining { id, row, .. } = self.quarantine.as_ref()?;
        Some(Write::new(EVENTS, id.as_str(), row))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TakeoverState {
    AskingSuspect,
    ReadingCursor {
        suspect: Suspect,
        event: UnplacedEvent,
    },
    Fencing,
    Resuming,
}

/// Next call of a takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeoverStep {
    AskSuspect,
    ReadCursor,
    Fence,
    Resume(Fenced),
}

#[derive(Debug, Clone)]
pub struct Takeover {
    instance: InstanceId,
    death: Option<Death>,
    before: Earlier,
    state: TakeoverState,
    finding: Finding,
    /// Instance for which another takeover is wanted once this one has ended: two fences of one app never overlap.
    next: Option<InstanceId>,
}

impl Takeover {
    /// Begins for this instance, after that death, where earlier deaths left `before`.
    pub fn begin(
        instance: InstanceId,
        death: Option<Death>,
        before: Earlier,
    ) -> (Self, TakeoverStep) {
        let (state, step) = match death {
            Some(_) => (TakeoverState::AskingSuspect, TakeoverStep::AskSuspect),
            None => (TakeoverState::Fencing, TakeoverStep::Fence),
        };
        let finding = Finding {
            suspect: before.suspect.clone(),
            run: before.run.clone(),
            ..Finding::default()
        };
        let takeover = Takeover {
            instance,
            death,
            before,
            state,
            finding,
            next: None,
        };
        (takeover, step)
    }

    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// Another takeover is wanted meanwhile.
    pub fn follow_with(&mut self, instance: InstanceId) {
        self.next = Some(instance);
    }

    pub fn next(&self) -> Option<&InstanceId> {
        self.next.as_ref()
    }

    pub fn death(&self) -> Option<&Death> {
        self.death.as_ref()
    }

    pub fn finding(&self) -> &Finding {
        &self.finding
    }

    /// The proxy says which event the dead instance had in flight.
    pub fn suspected(&mut self, reply: SuspectReply) -> Option<TakeoverStep> {
        let death = self.death.as_ref()?;
        if self.state != TakeoverState::AskingSuspect {
            return None;
        }
        match blame(self.before.suspect.as_ref(), death, reply.seq) {
            Blame::Nothing => {}
            Blame::Suspect(suspect) => {
                // Where each death is one of another event, the events are not to blame.
                let is_it = |before: &Suspect| before.seq() == suspect.seq();
                self.finding.counted = self.before.suspect.as_ref().is_none_or(is_it);
                self.finding.suspect = Some(suspect);
            }
            Blame::Poison(suspect) => {
                let event = reply.event.unwrap_or_default();
                self.state = TakeoverState::ReadingCursor { suspect, event };
                return Some(TakeoverStep::ReadCursor);
            }
        }
        self.state = TakeoverState::Fencing;
        Some(TakeoverStep::Fence)
    }

    /// The app's durable cursor, and the events of the app that are in quarantine.
    pub fn cursor_read(
        &mut self,
        app: &str,
        cursor: Seq,
        kept: &[(&String, &EventRow)],
    ) -> Option<TakeoverStep> {
        let death = self.death.as_ref()?;
        let state = std::mem::replace(&mut self.state, TakeoverState::Fencing);
        let TakeoverState::ReadingCursor { suspect, event } = state else {
            self.state = state;
            return None;
        };
        let run = self.before.run.as_ref();
        self.finding = quarantine(app, death, (suspect, event), (cursor, run), kept);
        Some(TakeoverStep::Fence)
    }

    /// The fence stands.
    pub fn fenced(&mut self, fenced: Fenced) -> TakeoverStep {
        self.state = TakeoverState::Resuming;
        TakeoverStep::Resume(fenced)
    }

    /// Another fence where the event was applied after all, between the look at the cursor and the fence.
    pub fn fence_refused(&mut self, refusal: &FenceRefusal) -> Option<TakeoverStep> {
        if !refusal.conflict || self.finding.quarantine.is_none() {
            return None;
        }
        self.finding = Finding::default();
        Some(TakeoverStep::Fence)
    }
}

fn quarantine(
    app: &str,
    death: &Death,
    (suspect, event): (Suspect, UnplacedEvent),
    (cursor, run): (Seq, Option<&PoisonRun>),
    kept: &[(&String, &EventRow)],
) -> Finding {
    let seq = suspect.seq();
    if cursor >= seq {
        return Finding::default();
    }
    let only_suspected = |full| Finding {
        suspect: Some(suspect.clone()),
        full,
        run: run.cloned(),
        ..Finding::default()
    };
    if cursor.incarnation == seq.incarnation && cursor.n + 1 != seq.n {
        // Others before it would be skipped with it.
        return only_suspected(false);
    }
    let retry = Retry {
        incarnation: seq.incarnation,
        n: seq.n,
    };
    let retried = kept.iter().find(|(_, row)| row.retry == Some(retry));
    let (id, row) = match retried {
        Some((id, row)) => ((*id).clone(), row.again(death, &suspect)),
        // Nothing is lost: the event stays where it is.
        None if kept.len() >= KEPT => return only_suspected(true),
        None => {
            let id = format!("{app}-{:x}-{}", seq.incarnation, seq.n);
            (id, EventRow::new(app, death, &suspect, event))
        }
    };
    Finding {
        run: Some(follow(run, (&id, &row), (cursor, seq), kept)),
        quarantine: Some(Quarantining {
            id,
            row,
            skip: (cursor, seq),
        }),
        counted: true,
        ..Finding::default()
    }
}

/// The run of poison events with one more, which the cursor is moved past from where it is.
fn follow(
    run: Option<&PoisonRun>,
    (id, row): (&String, &EventRow),
    (cursor, seq): (Seq, Seq),
    kept: &[(&String, &EventRow)],
) -> PoisonRun {
    let release = &row.cause.release;
    let goes_on = |run: &&PoisonRun| run.release == *release && run.seq() == cursor;
    let mut events = run
        .filter(goes_on)
        .map_or(Vec::new(), |run| run.events.clone());
    let mut alike = kept.iter().filter(|(_, other)| other.body == row.body);
    let is_new = row.attempts == 0 && !alike.any(|(other, _)| events.contains(other));
    if is_new {
        events.push(id.clone());
    }
    PoisonRun {
        release: release.clone(),
        events,
        incarnation: seq.incarnation,
        n: seq.n,
    }
}

#[cfg(test)]
mod tests {
    use morph_api::supervisor::unplaced_event::What;

    use super::super::poison::DEATHS;
    use super::*;

    fn death() -> Death {
        Death {
            instance: "c".into(),
            release: "1.0.0".into(),
            how: "ended with exit status 101".into(),
            unix_ms: 5,
        }
    }

    fn event() -> UnplacedEvent {
        UnplacedEvent {
            dpid: 1,
            what: Some(What::SwitchUp(true)),
        }
    }

    fn suspect(deaths: u32) -> Suspect {
        Suspect {
            incarnation: 7,
            n: 4,
            release: "1.0.0".into(),
            deaths,
            instance: "b".into(),
        }
    }

    fn earlier(deaths: u32) -> Earlier {
        Earlier {
            suspect: Some(suspect(deaths)),
            run: None,
        }
    }

    fn reply() -> SuspectReply {
        SuspectReply {
            seq: Some(suspect(0).seq()),
            event: Some(event()),
        }
    }

    fn fenced() -> Fenced {
        Fenced {
            epoch: 2,
            cursor: Seq::ZERO,
            turn: 0,
            revision: 9,
        }
    }

    /// A takeover after the third death, at the fence: so many events are kept, and perhaps one of them is tried as this
    /// one.
    fn third_death(kept: usize, cursor: (u64, u64), tried: bool) -> Takeover {
        let rows: Vec<(String, EventRow)> = (0..kept)
            .map(|n| {
                let mut row = EventRow::new("router", &death(), &suspect(DEATHS), event());
                row.retry = (tried && n == 0).then_some(Retry {
                    incarnation: 7,
                    n: 4,
                });
                (format!("router-{n}"), row)
            })
            .collect();
        let rows: Vec<_> = rows.iter().map(|(id, row)| (id, row)).collect();
        let (mut takeover, step) = Takeover::begin("d".into(), Some(death()), earlier(DEATHS - 1));
        assert_eq!(step, TakeoverStep::AskSuspect);
        assert_eq!(takeover.suspected(reply()), Some(TakeoverStep::ReadCursor));
        let (incarnation, n) = cursor;
        let step = takeover.cursor_read("router", Seq { incarnation, n }, &rows);
        assert_eq!(step, Some(TakeoverStep::Fence));
        takeover
    }

    #[test]
    fn without_a_death_it_fences_at_once_and_keeps_the_count() {
        let (mut takeover, step) = Takeover::begin("d".into(), None, earlier(2));
        assert_eq!(step, TakeoverStep::Fence);
        assert_eq!(takeover.finding().suspect, Some(suspect(2)));
        assert!(!takeover.finding().counted);
        assert_eq!(takeover.fenced(fenced()), TakeoverStep::Resume(fenced()));
    }

    #[test]
    fn deaths_of_one_event_after_the_other_are_the_apps() {
        for (n, counted) in [(4, true), (5, false)] {
            let (mut takeover, _) = Takeover::begin("d".into(), Some(death()), earlier(1));
            let seq = Seq { incarnation: 7, n };
            let step = takeover.suspected(SuspectReply {
                seq: Some(seq),
                event: Some(event()),
            });
            assert_eq!(step, Some(TakeoverStep::Fence));
            let finding = takeover.finding();
            let deaths = finding.suspect.as_ref().map(|suspect| suspect.deaths);
            assert_eq!(
                (finding.counted, deaths),
                (counted, Some(1 + u32::from(counted)))
            );
        }
    }

    #[test]
    fn a_death_with_no_single_event_keeps_the_count() {
        let (mut takeover, _) = Takeover::begin("d".into(), Some(death()), earlier(2));
        let step = takeover.suspected(SuspectReply::default());
        assert_eq!(step, Some(TakeoverStep::Fence));
        assert_eq!(takeover.finding().suspect, Some(suspect(2)));
        assert!(!takeover.finding().counted);
    }

    #[test]
    fn the_cursor_goes_from_where_it_is_past_the_event() {
        for cursor in [(7, 3), (6, 99), (0, 0)] {
            let takeover = third_death(0, cursor, false);
            let finding = takeover.finding();
            let (incarnation, n) = cursor;
            let to = suspect(0).seq();
            assert_eq!(finding.skip(), Some((Seq { incarnation, n }, to)));
            assert!(finding.write().is_some() && finding.counted);
            assert_eq!(finding.suspect, None);
        }
    }

    #[test]
    fn what_was_applied_after_all_is_not_quarantined() {
        for cursor in [(7, 4), (7, 5), (8, 1)] {
            let takeover = third_death(0, cursor, false);
            let finding = takeover.finding();
            assert_eq!((finding.skip(), &finding.suspect), (None, &None));
            assert!(!finding.counted, "it died of something else");
        }
        let mut takeover = third_death(0, (7, 3), false);
        let conflict = FenceRefusal {
            conflict: true,
            message: "the cursor has moved".into(),
        };
        assert_eq!(takeover.fence_refused(&conflict), Some(TakeoverStep::Fence));
        assert_eq!(takeover.finding(), &Finding::default());
        assert_eq!(takeover.fence_refused(&conflict), None, "once");
    }

    #[test]
    fn nothing_is_skipped_with_it() {
        let takeover = third_death(0, (7, 2), false);
        let finding = takeover.finding();
        assert_eq!(finding.skip(), None);
        assert!(finding.suspect.is_some() && !finding.counted);
    }

    #[test]
    fn where_there_is_no_room_it_stays_and_its_deaths_are_the_apps() {
        let takeover = third_death(KEPT, (7, 3), false);
        let finding = takeover.finding();
        assert_eq!(finding.skip(), None);
        assert!(finding.full && !finding.counted && finding.suspect.is_some());
        assert!(
            third_death(KEPT - 1, (7, 3), false)
                .finding()
                .skip()
                .is_some()
        );
    }

    #[test]
    fn one_that_was_tried_takes_its_own_place_again() {
        let takeover = third_death(KEPT, (7, 3), true);
        let Quarantining { id, row, .. } = takeover.finding().quarantine.clone().unwrap();
        assert_eq!(
            (id.as_str(), row.cause.deaths, row.retry),
            ("router-0", 6, None)
        );
    }

    /// A poison event of switch `n` at the place `n`, tried so many times before.
    fn poisoned(n: u64, attempts: u64) -> (String, EventRow) {
        let event = UnplacedEvent { dpid: n, ..event() };
        let suspect = Suspect {
            n,
            ..suspect(DEATHS)
        };
        let row = EventRow::new("router", &death(), &suspect, event);
        (format!("router-{n}"), EventRow { attempts, ..row })
    }

    /// Lengths of the runs after poison events at these places. The cursor is at the place before each.
    fn runs(events: &[(u64, (String, EventRow))]) -> Vec<usize> {
        let mut run = None;
        let mut kept: Vec<(&String, &EventRow)> = Vec::new();
        let mut lengths = Vec::new();
        for (at, (id, row)) in events {
            let place = |n| Seq { incarnation: 7, n };
            let next = follow(run.as_ref(), (id, row), (place(at - 1), place(*at)), &kept);
            lengths.push(next.events.len());
            kept.push((id, row));
            run = Some(next);
        }
        lengths
    }

    #[test]
    fn different_poison_events_in_a_row_are_counted_until_one_is_applied() {
        let fresh = |n| (n, poisoned(n, 0));
        assert_eq!(runs(&[fresh(4), fresh(5), fresh(6)]), [1, 2, 3]);
        assert_eq!(
            runs(&[fresh(4), fresh(5), fresh(7), fresh(8)]),
            [1, 2, 1, 2]
        );
        let repeated = (6, ("router-6".to_owned(), poisoned(4, 0).1));
        assert_eq!(
            runs(&[fresh(4), fresh(5), repeated, fresh(7)]),
            [1, 2, 2, 3]
        );
        let tried = (5, poisoned(5, 1));
        assert_eq!(runs(&[fresh(4), tried.clone(), fresh(6)]), [1, 1, 2]);
        assert_eq!(runs(&[tried]), [0]);
    }

    #[test]
    fn another_release_begins_a_run_of_its_own() {
        let (id, row) = poisoned(5, 0);
        let (before, after) = (
            Seq {
                incarnation: 7,
                n: 4,
            },
            Seq {
                incarnation: 7,
                n: 5,
            },
        );
        let run = |release: &str| PoisonRun {
            release: release.into(),
            events: vec!["router-4".into()],
            incarnation: 7,
            n: 4,
        };
        for (release, length) in [("1.0.0", 2), ("1.0.1", 1)] {
            let run = follow(Some(&run(release)), (&id, &row), (before, after), &[]);
            assert_eq!((run.events.len(), run.release.as_str()), (length, "1.0.0"));
        }
    }
}
