//! Which event an instance died of: asked before the fence for its successor, and written with it.

use morph_api::store::Seq;
use morph_api::supervisor::UnplacedEvent;
use morph_openflow::Dpid;
use semver::Version;

use super::statuses::may_fail;
use super::{Feed, Supervisor};
use crate::app::{Input, State};
use crate::proxy::Proxy;
use crate::records::{EVENTS, Records, Write};
use crate::suspicion::{DEATHS, Death, EventRow, KEPT, Suspicion, Trial, Verdict, judge};

/// What is known before the proxy was asked about a death.
pub(super) struct Inquest {
    app: String,
    node: String,
    death: Option<Death>,
    before: Option<Suspicion>,
    kept: Vec<(String, EventRow)>,
    /// Of the record, should there be one.
    id: String,
}

/// What a death means for the fence after it.
#[derive(Debug, Default)]
pub(super) struct Finding {
    death: Option<Death>,
    /// What the app's record is to say.
    pub(super) suspicion: Option<Suspicion>,
    /// To be set aside, and from where to where the cursor goes.
    aside: Option<(String, EventRow, (Seq, Seq))>,
    /// The death is the event's, not the app's.
    counted: bool,
    /// There is no room for the event.
    full: bool,
}

impl Finding {
    /// How the fence is to move the cursor.
    pub(super) fn skip(&self) -> Option<(Seq, Seq)> {
        self.aside.as_ref().map(|(_, _, skip)| *skip)
    }

    /// The record of the event.
    pub(super) fn write(&self) -> Option<Write> {
        let (id, row, _) = self.aside.as_ref()?;
        Some(Write::new(EVENTS, id.as_str(), row))
    }

    /// It was applied.
    pub(super) fn acquit(&mut self) {
        (self.aside, self.suspicion, self.counted) = (None, None, false);
    }
}

impl Inquest {
    pub(super) async fn find(self, proxy: &Proxy, records: &Records) -> Finding {
        let Some(death) = self.death.clone() else {
            return Finding {
                suspicion: self.before,
                ..Finding::default()
            };
        };
        // One that is away has lost its events, and those that come after it are others.
        let suspect = proxy.suspect(&self.app, &death.instance).await;
        let suspect = suspect.unwrap_or_default();
        let finding = match judge(self.before.as_ref(), &death, suspect.seq) {
            Verdict::Innocent => Finding {
                suspicion: self.before,
                ..Finding::default()
            },
            Verdict::Suspected(suspicion) => Finding {
                suspicion: Some(suspicion),
                counted: true,
                ..Finding::default()
            },
            Verdict::Guilty(suspicion) => {
                let cursor = self.cursor(records).await;
                let event = suspect.event.unwrap_or_default();
                self.set_aside(&death, suspicion, event, cursor)
            }
        };
        Finding {
            death: Some(death),
            ..finding
        }
    }

    async fn cursor(&self, records: &Records) -> Seq {
        let checkpoints = records.status().await.checkpoints;
        let mut checkpoints = checkpoints.into_iter();
        let checkpoint = checkpoints
            .find(|checkpoint| checkpoint.app == self.app && checkpoint.node == self.node);
        checkpoint
            .and_then(|checkpoint| checkpoint.cursor)
            .unwrap_or(Seq::ZERO)
    }

    fn set_aside(
        self,
        death: &Death,
        suspicion: Suspicion,
        event: UnplacedEvent,
        cursor: Seq,
    ) -> Finding {
        let seq = suspicion.seq();
        if cursor >= seq {
            return Finding::default();
        }
        if cursor.incarnation == seq.incarnation && cursor.n + 1 != seq.n {
            // Others before it would be skipped with it.
            return Finding {
                suspicion: Some(suspicion),
                ..Finding::default()
            };
        }
        let trial = Trial {
            incarnation: seq.incarnation,
            n: seq.n,
        };
        let is_it = |(_, row): &&(String, EventRow)| row.trial == Some(trial);
        let (id, row) = match self.kept.iter().find(is_it) {
            Some((id, row)) => (id.clone(), row.again(death, &suspicion)),
            // Nothing is lost: the event stays where it is.
            None if self.kept.len() >= KEPT => {
                return Finding {
                    suspicion: Some(suspicion),
                    full: true,
                    ..Finding::default()
                };
            }
            None => (self.id, EventRow::new(&self.app, death, &suspicion, event)),
        };
        Finding {
            aside: Some((id, row, (cursor, seq))),
            counted: true,
            ..Finding::default()
        }
    }
}

impl Supervisor {
    /// An instance died that was, or may have been, live; in an upgrade others see to that.
    pub(super) fn note_death(&mut self, app: &str, id: &str, release: &Version, how: &str) {
        let Some(managed) = self.apps.get_mut(app) else {
            return;
        };
        let resumed = match managed.machine.state() {
            State::Resuming { instance }
            | State::Running { instance }
            | State::Again { instance, .. } => instance == id,
            State::Starting { instance, .. } => {
                instance.as_deref() == Some(id) && managed.row.instance == id
            }
            State::Waiting { .. } | State::Looping | State::Ending { .. } | State::Yielded => false,
            // A morphd that has just begun.
            State::Stopped => managed.row.instance == id,
        };
        if resumed {
            managed.death = Some(Death {
                instance: id.to_owned(),
                release: release.to_string(),
                how: how.to_owned(),
                unix_ms: super::unix_ms(),
            });
        }
    }

    pub(super) fn inquest(&mut self, app: &str) -> Option<Inquest> {
        self.last_id = super::unix_ms().max(self.last_id + 1);
        let managed = self.apps.get(app)?;
        let kept = self.aside.rows.iter().filter(|(_, row)| row.app == app);
        Some(Inquest {
            app: app.to_owned(),
            node: self.settings.node.clone(),
            death: managed.death.clone(),
            before: managed.row.suspicion.clone(),
            kept: kept.map(|(id, row)| (id.clone(), row.clone())).collect(),
            id: format!("{app}-{:x}", self.last_id),
        })
    }

    /// The fence has written what was found.
    pub(super) fn found(&mut self, app: &str, finding: Finding) {
        let Some(managed) = self.apps.get_mut(app) else {
            return;
        };
        if managed.death == finding.death {
            managed.death = None;
        }
        if let Some(suspicion) = &finding.suspicion
            && managed.row.suspicion != finding.suspicion
        {
            let (event, deaths) = (suspicion.seq(), suspicion.deaths);
            tracing::warn!(app, %event, deaths, "died with this event in hand; after {DEATHS} such deaths it is set aside");
            may_fail("morphd.suspected");
        }
        managed.row.suspicion = finding.suspicion;
        if finding.full {
            tracing::error!(
                app,
                "dies of an event, and {KEPT} are set aside already: it is not. Retry or drop some, see `morphctl events \
                 quarantined app={app}`"
            );
        }
        if let Some((id, row, (_, event))) = finding.aside {
            let (kind, dpid, how) = (row.kind.name(), Dpid(row.dpid), &row.how);
            tracing::error!(app, id, %event, kind, %dpid, how, "an event has killed its app {DEATHS} times and is set \
                 aside; the app goes on after it: see `morphctl events quarantined`");
            self.aside.rows.insert(id, row);
        }
        if finding.counted {
            self.feed(Feed::App(app.to_owned(), Input::Forgiven));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use morph_api::supervisor::unplaced_event::What;

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

    fn suspicion() -> Suspicion {
        Suspicion {
            incarnation: 7,
            n: 4,
            release: "1.0.0".into(),
            deaths: DEATHS,
            instance: "c".into(),
        }
    }

    /// What is found where so many events are aside, the cursor is there, and perhaps one of them is tried as this one.
    fn found(kept: usize, cursor: (u64, u64), tried: bool) -> Finding {
        let row = |n: usize| {
            let mut row = EventRow::new("router", &death(), &suspicion(), event());
            row.trial = (tried && n == 0).then_some(Trial {
                incarnation: 7,
                n: 4,
            });
            (format!("router-{n}"), row)
        };
        let inquest = Inquest {
            app: "router".into(),
            node: "node1".into(),
            death: Some(death()),
            before: None,
            kept: (0..kept).map(row).collect(),
            id: "router-new".into(),
        };
        let (incarnation, n) = cursor;
        inquest.set_aside(&death(), suspicion(), event(), Seq { incarnation, n })
    }

    #[test]
    fn the_cursor_goes_from_where_it_is_past_the_event() {
        for cursor in [(7, 3), (6, 99), (0, 0)] {
            let finding = found(0, cursor, false);
            let (incarnation, n) = cursor;
            let to = suspicion().seq();
            assert_eq!(finding.skip(), Some((Seq { incarnation, n }, to)));
            assert!(finding.write().is_some() && finding.counted);
            assert_eq!(finding.suspicion, None);
        }
    }

    #[test]
    fn what_was_applied_after_all_is_not_set_aside() {
        for cursor in [(7, 4), (7, 5), (8, 1)] {
            let finding = found(0, cursor, false);
            assert_eq!((finding.skip(), finding.suspicion), (None, None));
            assert!(!finding.counted, "it died of something else");
        }
    }

    #[test]
    fn nothing_is_skipped_with_it() {
        let finding = found(0, (7, 2), false);
        assert_eq!(finding.skip(), None);
        assert!(finding.suspicion.is_some() && !finding.counted);
    }

    #[test]
    fn where_there_is_no_room_it_stays_and_its_deaths_are_the_apps() {
        let finding = found(KEPT, (7, 3), false);
        assert_eq!(finding.skip(), None);
        assert!(finding.full && !finding.counted && finding.suspicion.is_some());
        assert!(found(KEPT - 1, (7, 3), false).skip().is_some());
    }

    #[test]
    fn one_that_was_tried_takes_its_own_place_again() {
        let finding = found(KEPT, (7, 3), true);
        let (id, row, _) = finding.aside.unwrap();
        assert_eq!((id.as_str(), row.deaths, row.trial), ("router-0", 6, None));
    }
}
