//! Which event an app dies of.
//!
//! ```text
//!             an instance died with one event in its hands
//!   none ------------------------------------------------> suspected, 1 death
//!     ^                                                         | the same event, another instance of the same release
//!     |  another event, or another release                      v
//!     +------------------------------------------------- suspected, 2 deaths
//!                                                               |
//!                                                               v
//!                            3 deaths: the event is set aside, with the fence for the next instance
//! ```
//!
//! The count stands in the app's record, which every fence writes: it outlives morphd. Of deaths with several events in hand,
//! or with none, no event is to blame; they count to the crash loop.

use morph_api::store::Seq;
use morph_api::supervisor::{UnplacedEvent, unplaced_event};
use serde::{Deserialize, Serialize};

/// So many deaths, and an event is set aside.
pub const DEATHS: u32 = 3;
/// Events of one app that are kept aside. Beyond that an app that dies of one more is in a crash loop.
pub const KEPT: usize = 64;

/// An event that instances died with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// The incarnation of the event.
    #[serde(alias = "stream")]
    pub incarnation: u64,
    /// Its number there.
    pub n: u64,
    /// Which release died of it.
    pub release: String,
    /// How often.
    pub deaths: u32,
    /// The instance that died last: each is counted once.
    pub instance: String,
}

impl Suspicion {
    /// The event.
    pub fn seq(&self) -> Seq {
        Seq {
            incarnation: self.incarnation,
            n: self.n,
        }
    }
}

/// The death of an instance that was, or may have been, live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Who.
    pub instance: String,
    /// Of which release.
    pub release: String,
    /// How, for people.
    pub how: String,
    /// When.
    pub unix_ms: u64,
}

/// What a death means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No one event is to blame.
    Innocent,
    /// This one may be.
    Suspected(Suspicion),
    /// This one has killed often enough.
    Guilty(Suspicion),
}

/// Counts a death with `seq` in hand, where an earlier one left `before`.
pub fn judge(before: Option<&Suspicion>, death: &Death, seq: Option<Seq>) -> Verdict {
    let Some(seq) = seq else {
        return Verdict::Innocent;
    };
    let same = before.filter(|before| before.seq() == seq && before.release == death.release);
    let deaths = match same {
        // The fence for its successor failed, and is made again.
        Some(before) if before.instance == death.instance => before.deaths,
        Some(before) => before.deaths.saturating_add(1),
        None => 1,
    };
    let suspicion = Suspicion {
        incarnation: seq.incarnation,
        n: seq.n,
        release: death.release.clone(),
        deaths,
        instance: death.instance.clone(),
    };
    match deaths >= DEATHS {
        true => Verdict::Guilty(suspicion),
        false => Verdict::Suspected(suspicion),
    }
}

/// Of which kind an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A packet.
    PacketIn,
    /// A port-status or flow-removed.
    Message,
    /// A switch came.
    SwitchUp,
    /// A switch went.
    SwitchDown,
    /// Packet-ins were shed.
    Lost,
    /// What is stored is to be compared with what is.
    Resync,
}

impl Kind {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::PacketIn => "packet_in",
            Kind::Message => "message",
            Kind::SwitchUp => "switch_up",
            Kind::SwitchDown => "switch_down",
            Kind::Lost => "lost",
            Kind::Resync => "resync",
        }
    }
}

/// Where an event that was set aside is queued again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The proxy's incarnation.
    #[serde(alias = "stream")]
    pub incarnation: u64,
    /// Its number there; 0: not known yet.
    pub n: u64,
}

/// An event that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// Whose.
    pub app: String,
    /// Which release died of it.
    pub release: String,
    /// Of which switch; 0: of none.
    pub dpid: u64,
    /// When it was set aside.
    pub unix_ms: u64,
    /// Where it stood when it was set aside: the incarnation.
    #[serde(alias = "stream")]
    pub incarnation: u64,
    /// And its number there.
    pub n: u64,
    /// How its app died of it, the last time.
    pub how: String,
    /// How often, in all.
    pub deaths: u32,
    /// What it is.
    pub kind: Kind,
    /// Its OpenFlow message in hex; empty: it has none.
    #[serde(default)]
    pub message: String,
    /// Of packet-ins that were shed: how many.
    #[serde(default)]
    pub count: u64,
    /// How often it was tried again.
    #[serde(default)]
    pub attempts: u64,
    /// It is queued again.
    #[serde(default)]
    pub trial: Option<Trial>,
}

impl EventRow {
    /// An event that killed `app`.
    pub fn new(app: &str, death: &Death, suspicion: &Suspicion, event: UnplacedEvent) -> Self {
        let (kind, message, count) = match event.what {
            Some(unplaced_event::What::PacketIn(message)) => (Kind::PacketIn, hex(&message), 0),
            Some(unplaced_event::What::Message(message)) => (Kind::Message, hex(&message), 0),
            Some(unplaced_event::What::SwitchUp(_)) => (Kind::SwitchUp, String::new(), 0),
            Some(unplaced_event::What::SwitchDown(_)) => (Kind::SwitchDown, String::new(), 0),
            Some(unplaced_event::What::Lost(count)) => (Kind::Lost, String::new(), count),
            // A proxy that does not say what it was: comparing all is what mends most.
            Some(unplaced_event::What::Resync(_)) | None => (Kind::Resync, String::new(), 0),
        };
        EventRow {
            app: app.to_owned(),
            release: death.release.clone(),
            dpid: event.dpid,
            unix_ms: death.unix_ms,
            incarnation: suspicion.incarnation,
            n: suspicion.n,
            how: death.how.clone(),
            deaths: suspicion.deaths,
            kind,
            message,
            count,
            attempts: 0,
            trial: None,
        }
    }

    /// The same one, which has killed again when it was tried.
    pub fn again(&self, death: &Death, suspicion: &Suspicion) -> Self {
        EventRow {
            release: death.release.clone(),
            unix_ms: death.unix_ms,
            incarnation: suspicion.incarnation,
            n: suspicion.n,
            how: death.how.clone(),
            deaths: self.deaths.saturating_add(suspicion.deaths),
            trial: None,
            ..self.clone()
        }
    }

    /// As the proxy takes it back.
    pub fn event(&self) -> UnplacedEvent {
        let message = || unhex(&self.message).into();
        let what = match self.kind {
            Kind::PacketIn => unplaced_event::What::PacketIn(message()),
            Kind::Message => unplaced_event::What::Message(message()),
            Kind::SwitchUp => unplaced_event::What::SwitchUp(true),
            Kind::SwitchDown => unplaced_event::What::SwitchDown(true),
            Kind::Lost => unplaced_event::What::Lost(self.count),
            Kind::Resync => unplaced_event::What::Resync(true),
        };
        UnplacedEvent {
            dpid: self.dpid,
            what: Some(what),
        }
    }

    /// What became of it, tried again, now that the app's cursor is there and the proxy's incarnation is this one.
    pub fn outcome(&self, cursor: Seq, incarnation: Option<u64>) -> Tried {
        let Some(trial) = self.trial else {
            return Tried::Aside;
        };
        let known = trial.n != 0;
        if known && cursor.incarnation == trial.incarnation && cursor.n >= trial.n {
            return Tried::Applied;
        }
        match incarnation == Some(trial.incarnation) {
            true if known => Tried::Queued,
            true => Tried::Unknown,
            false => Tried::Lost,
        }
    }
}

/// What became of an event that was tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// It is not tried.
    Aside,
    /// It is queued.
    Queued,
    /// The proxy was asked to queue it, and its answer is missing.
    Unknown,
    /// Its effects are in the state.
    Applied,
    /// It went with the proxy that had it.
    Lost,
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(nibble.into(), 16));
        }
    }
    text
}

/// Bytes of what [`hex`] wrote; of anything else as far as it can be read.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| {
        let digit = |c: u8| char::from(c).to_digit(16);
        match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        }
    };
    text.as_bytes().chunks(2).map_while(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(instance: &str) -> Death {
        Death {
            instance: instance.into(),
            release: "1.0.0".into(),
            how: "ended with exit status 101".into(),
            unix_ms: 5,
        }
    }

    fn seq(n: u64) -> Option<Seq> {
        Some(Seq { incarnation: 7, n })
    }

    /// What a row of deaths makes of a suspicion: who died, and with which event in hand.
    fn deaths(row: &[(&str, Option<Seq>)]) -> Vec<u32> {
        let mut before = None;
        let mut counts = Vec::new();
        for (instance, seq) in row {
            match judge(before.as_ref(), &death(instance), *seq) {
                Verdict::Innocent => counts.push(0),
                Verdict::Suspected(suspicion) => {
                    counts.push(suspicion.deaths);
                    before = Some(suspicion);
                }
                Verdict::Guilty(suspicion) => {
                    counts.push(100 + suspicion.deaths);
                    before = Some(suspicion);
                }
            }
        }
        counts
    }

    #[test]
    fn three_deaths_with_the_same_event_in_flight_make_it_guilty() {
        let row = [("a", seq(4)), ("b", seq(4)), ("c", seq(4)), ("d", seq(4))];
        assert_eq!(
            deaths(&row),
            [1, 2, 103, 104],
            "where there is no room it stays guilty"
        );
    }

    #[test]
    fn each_instance_dies_once_however_often_the_fence_is_made() {
        let row = [("a", seq(4)), ("a", seq(4)), ("a", seq(4)), ("b", seq(4))];
        assert_eq!(deaths(&row), [1, 1, 1, 2]);
    }

    #[test]
    fn deaths_with_none_or_many_in_flight_count_against_no_event_and_acquit_none() {
        let row = [
            ("a", seq(4)),
            ("b", None),
            ("c", seq(4)),
            ("d", None),
            ("e", seq(4)),
        ];
        assert_eq!(deaths(&row), [1, 0, 2, 0, 103]);
    }

    #[test]
    fn another_event_or_another_release_begins_anew() {
        let row = [("a", seq(4)), ("b", seq(5)), ("c", seq(4)), ("d", seq(4))];
        assert_eq!(deaths(&row), [1, 1, 1, 2]);
        let Verdict::Suspected(before) = judge(None, &death("a"), seq(4)) else {
            panic!("one death");
        };
        let other = Death {
            release: "1.0.1".into(),
            ..death("b")
        };
        let Verdict::Suspected(after) = judge(Some(&before), &other, seq(4)) else {
            panic!("one death of each");
        };
        assert_eq!(after.deaths, 1);
    }

    fn row(what: unplaced_event::What) -> EventRow {
        let Verdict::Suspected(suspicion) = judge(None, &death("a"), seq(4)) else {
            panic!("one death");
        };
        let event = UnplacedEvent {
            dpid: 1,
            what: Some(what),
        };
        EventRow::new("router", &death("a"), &suspicion, event)
    }

    #[test]
    fn an_event_comes_back_from_its_record_as_it_was() {
        let bytes = || prost::bytes::Bytes::from_static(&[0, 1, 0x0f, 0xf0, 255]);
        for what in [
            unplaced_event::What::PacketIn(bytes()),
            unplaced_event::What::Message(bytes()),
            unplaced_event::What::SwitchUp(true),
            unplaced_event::What::SwitchDown(true),
            unplaced_event::What::Lost(9),
            unplaced_event::What::Resync(true),
        ] {
            let row = row(what.clone());
            let text = serde_json::to_string(&row).unwrap();
            let read: EventRow = serde_json::from_str(&text).unwrap();
            assert_eq!(read, row);
            let event = UnplacedEvent {
                dpid: 1,
                what: Some(what),
            };
            assert_eq!(read.event(), event);
        }
    }

    #[test]
    fn a_trial_ends_when_the_cursor_is_past_it_or_its_stream_is_over() {
        let tried = |trial: Option<(u64, u64)>, cursor: (u64, u64), incarnation| {
            let row = EventRow {
                trial: trial.map(|(incarnation, n)| Trial { incarnation, n }),
                ..row(unplaced_event::What::Resync(true))
            };
            let (at, n) = cursor;
            row.outcome(Seq { incarnation: at, n }, incarnation)
        };
        assert_eq!(tried(None, (7, 9), Some(7)), Tried::Aside);
        assert_eq!(tried(Some((7, 9)), (7, 8), Some(7)), Tried::Queued);
        assert_eq!(tried(Some((7, 9)), (7, 9), Some(7)), Tried::Applied);
        assert_eq!(tried(Some((7, 9)), (7, 10), Some(8)), Tried::Applied);
        assert_eq!(tried(Some((7, 9)), (7, 8), Some(8)), Tried::Lost);
        assert_eq!(tried(Some((7, 9)), (8, 20), Some(8)), Tried::Lost);
        assert_eq!(tried(Some((7, 0)), (7, 8), Some(7)), Tried::Unknown);
        assert_eq!(tried(Some((7, 0)), (7, 8), Some(8)), Tried::Lost);
    }
}
