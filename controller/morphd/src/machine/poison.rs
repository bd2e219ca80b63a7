//! Poison events: which event an app dies of, and the record of one that is quarantined.
//!
//! ```text
//!             an instance died of one event, or with one in flight
//!   none ----------------------------------------------> suspect, 1 death
//!     ^                                                       | the same event, another instance of the same release
//!     |  another event, or another release                    v
//!     +------------------------------------------------- suspect, 2 deaths
//!                                                             |
//!                                                             v
//!                        3 deaths: the event is quarantined, with the fence for the next instance
//! ```
//!
//! The count stands in the app's record, which every fence writes, so it outlives morphd. Deaths of no single event count
//! to the crash loop, and so do those that are each of another event than the one before.
//!
//! A release that dies of one event after the other ([`PoisonRun`]) gives way: after [`GIVES_WAY`] different events with
//! none applied between them. The release that follows tries these events again.

use morph_api::store::Seq;
use morph_api::supervisor::{UnplacedEvent, unplaced_event::What};
use serde::{Deserialize, Serialize};

/// Deaths after which an event is quarantined.
pub const DEATHS: u32 = 3;
/// Events of one app that are kept in quarantine. Beyond that an app that dies of one more is in a crash loop.
pub const KEPT: usize = 64;

/// Different events in a row of which a release dies, with none applied between them, before it gives way to another one.
pub const GIVES_WAY: usize = 3;

/// An event that instances died with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    #[serde(alias = "stream")]
    pub incarnation: u64,
    pub n: u64,
    /// The release that died of it.
    pub release: String,
    pub deaths: u32,
    /// The instance that died last: each is counted once.
    pub instance: String,
}

impl Suspect {
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
    pub instance: String,
    pub release: String,
    pub how: String,
    pub unix_ms: u64,
}

/// Attribution of a death.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blame {
    /// No single event.
    Nothing,
    /// One event, perhaps.
    Suspect(Suspect),
    /// One event, which has killed often enough.
    Poison(Suspect),
}

/// Counts a death with `seq` in flight, after the deaths that left `before`.
pub fn blame(before: Option<&Suspect>, death: &Death, seq: Option<Seq>) -> Blame {
    let Some(seq) = seq else {
        return Blame::Nothing;
    };
    let same = before.filter(|before| before.seq() == seq && before.release == death.release);
    let deaths = match same {
        // The fence for its successor failed, and is made again.
        Some(before) if before.instance == death.instance => before.deaths,
        Some(before) => before.deaths.saturating_add(1),
        None => 1,
    };
    let suspect = Suspect {
        incarnation: seq.incarnation,
        n: seq.n,
        release: death.release.clone(),
        deaths,
        instance: death.instance.clone(),
    };
    match deaths >= DEATHS {
        true => Blame::Poison(suspect),
        false => Blame::Suspect(suspect),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    PacketIn,
    /// A port-status or flow-removed.
    Message,
    SwitchUp,
    SwitchDown,
    Lost,
    Resync,
    SwitchForgotten,
}

impl EventKind {
    pub fn name(self) -> &'static str {
        match self {
            EventKind::PacketIn => "packet_in",
            EventKind::Message => "message",
            EventKind::SwitchUp => "switch_up",
            EventKind::SwitchDown => "switch_down",
            EventKind::Lost => "lost",
            EventKind::Resync => "resync",
            EventKind::SwitchForgotten => "switch_forgotten",
        }
    }
}

/// Place at which a quarantined event is queued again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    #[serde(alias = "stream")]
    pub incarnation: u64,
    /// Number within the incarnation; 0: not known yet.
    pub n: u64,
}

/// The event itself, without its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventBody {
    /// Datapath id of its switch; 0: none.
    pub dpid: u64,
    pub kind: EventKind,
    /// Its OpenFlow message in hex; empty: it has none.
    #[serde(default)]
    pub message: String,
    /// Number of packet-ins, for a `lost`.
    #[serde(default)]
    pub count: u64,
}

/// Poison events of one release in a row: it has applied none between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoisonRun {
    /// The release that died of them.
    pub release: String,
    /// Ids of their records. An event that equals one of these, as a host sends its packet again, is not among them, and neither
    /// is one that was tried again: that it kills is no news of the release.
    pub events: Vec<String>,
    /// Place of the last event, to which the cursor was moved.
    pub incarnation: u64,
    pub n: u64,
}

impl PoisonRun {
    pub fn seq(&self) -> Seq {
        Seq {
            incarnation: self.incarnation,
            n: self.n,
        }
    }

    /// Whether its release has to give way.
    pub fn is_full(&self) -> bool {
        self.events.len() >= GIVES_WAY
    }
}

/// Death that put an event into quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The release that died of it.
    pub release: String,
    /// Time of the quarantine.
    pub unix_ms: u64,
    /// Proxy's incarnation, and number there, when it was quarantined.
    #[serde(alias = "stream")]
    pub incarnation: u64,
    pub n: u64,
    /// Words for the app's last death.
    pub how: String,
    /// Deaths in all.
    pub deaths: u32,
}

/// The record of a quarantined event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    pub app: String,
    #[serde(flatten)]
    pub body: EventBody,
    #[serde(flatten)]
    pub cause: Cause,
    /// Number of retries.
    #[serde(default)]
    pub attempts: u64,
    /// Set while it is queued again.
    #[serde(default, alias = "trial")]
    pub retry: Option<Retry>,
    /// Its release has given way: the next other release that is made live tries the event again.
    #[serde(default)]
    pub awaits_release: bool,
}

impl EventRow {
    pub fn new(app: &str, death: &Death, suspect: &Suspect, event: UnplacedEvent) -> Self {
        let (kind, message, count) = match event.what {
            Some(What::PacketIn(message)) => (EventKind::PacketIn, hex(&message), 0),
            Some(What::Message(message)) => (EventKind::Message, hex(&message), 0),
            Some(What::SwitchUp(_)) => (EventKind::SwitchUp, String::new(), 0),
            Some(What::SwitchDown(_)) => (EventKind::SwitchDown, String::new(), 0),
            Some(What::Lost(count)) => (EventKind::Lost, String::new(), count),
            Some(What::Forgotten(_)) => (EventKind::SwitchForgotten, String::new(), 0),
            // A proxy that does not say what it was: comparing everything mends most.
            Some(What::Resync(_)) | None => (EventKind::Resync, String::new(), 0),
        };
        EventRow {
            app: app.to_owned(),
            body: EventBody {
                dpid: event.dpid,
                kind,
                message,
                count,
            },
            cause: Cause::new(death, suspect),
            attempts: 0,
            retry: None,
            awaits_release: false,
        }
    }

    /// The record once the event is to be tried again in this incarnation of the proxy, which has not queued it yet.
    pub fn tried(self, incarnation: u64) -> Self {
        EventRow {
            attempts: self.attempts + 1,
            retry: Some(Retry { incarnation, n: 0 }),
            awaits_release: false,
            ..self
        }
    }

    /// The record after the event has killed again when it was tried.
    pub fn again(&self, death: &Death, suspect: &Suspect) -> Self {
        let cause = Cause::new(death, suspect);
        let deaths = self.cause.deaths.saturating_add(suspect.deaths);
        EventRow {
            cause: Cause { deaths, ..cause },
            retry: None,
            ..self.clone()
        }
    }

    /// The event as the proxy takes it back.
    pub fn event(&self) -> UnplacedEvent {
        let message = || unhex(&self.body.message).into();
        let what = match self.body.kind {
            EventKind::PacketIn => What::PacketIn(message()),
            EventKind::Message => What::Message(message()),
            EventKind::SwitchUp => What::SwitchUp(true),
            EventKind::SwitchDown => What::SwitchDown(true),
            EventKind::Lost => What::Lost(self.body.count),
            EventKind::Resync => What::Resync(true),
            EventKind::SwitchForgotten => What::Forgotten(true),
        };
        UnplacedEvent {
            dpid: self.body.dpid,
            what: Some(what),
        }
    }

    /// Whether a retried event has been applied, by the app's cursor and the proxy's incarnation.
    pub fn retry_status(&self, cursor: Seq, incarnation: Option<u64>) -> RetryStatus {
        let Some(retry) = self.retry else {
            return RetryStatus::NotRetried;
        };
        let known = retry.n != 0;
        if known && cursor.incarnation == retry.incarnation && cursor.n >= retry.n {
            return RetryStatus::Applied;
        }
        match incarnation == Some(retry.incarnation) {
            true if known => RetryStatus::Queued,
            true => RetryStatus::Unknown,
            false => RetryStatus::Lost,
        }
    }
}

impl Cause {
    fn new(death: &Death, suspect: &Suspect) -> Self {
        Cause {
            release: death.release.clone(),
            unix_ms: death.unix_ms,
            incarnation: suspect.incarnation,
            n: suspect.n,
            how: death.how.clone(),
            deaths: suspect.deaths,
        }
    }
}

/// Status of an event that is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryStatus {
    NotRetried,
    Queued,
    /// The proxy was asked to queue it, and its answer is missing.
    Unknown,
    /// Its effects are in the state.
    Applied,
    /// The event went with the proxy that had it.
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

    /// Counts after each of these deaths: of this instance, with this event in flight.
    fn deaths(row: &[(&str, Option<Seq>)]) -> Vec<u32> {
        let mut before = None;
        let mut counts = Vec::new();
        for (instance, seq) in row {
            match blame(before.as_ref(), &death(instance), *seq) {
                Blame::Nothing => counts.push(0),
                Blame::Suspect(suspect) => {
                    counts.push(suspect.deaths);
                    before = Some(suspect);
                }
                Blame::Poison(suspect) => {
                    counts.push(100 + suspect.deaths);
                    before = Some(suspect);
                }
            }
        }
        counts
    }

    #[test]
    fn three_deaths_with_the_same_event_in_flight_make_it_poison() {
        let row = [("a", seq(4)), ("b", seq(4)), ("c", seq(4)), ("d", seq(4))];
        assert_eq!(
            deaths(&row),
            [1, 2, 103, 104],
            "where there is no room it stays poison"
        );
    }

    #[test]
    fn each_instance_dies_once_however_often_the_fence_is_made() {
        let row = [("a", seq(4)), ("a", seq(4)), ("a", seq(4)), ("b", seq(4))];
        assert_eq!(deaths(&row), [1, 1, 1, 2]);
    }

    #[test]
    fn deaths_with_none_or_many_in_flight_count_against_no_event_and_clear_none() {
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
        let Blame::Suspect(before) = blame(None, &death("a"), seq(4)) else {
            panic!("one death");
        };
        let other = Death {
            release: "1.0.1".into(),
            ..death("b")
        };
        let Blame::Suspect(after) = blame(Some(&before), &other, seq(4)) else {
            panic!("one death of each");
        };
        assert_eq!(after.deaths, 1);
    }

    fn row(what: What) -> EventRow {
        let Blame::Suspect(suspect) = blame(None, &death("a"), seq(4)) else {
            panic!("one death");
        };
        let event = UnplacedEvent {
            dpid: 1,
            what: Some(what),
        };
        EventRow::new("router", &death("a"), &suspect, event)
    }

    #[test]
    fn an_event_comes_back_from_its_record_as_it_was() {
        let bytes = || prost::bytes::Bytes::from_static(&[0, 1, 0x0f, 0xf0, 255]);
        for what in [
            What::PacketIn(bytes()),
            What::Message(bytes()),
            What::SwitchUp(true),
            What::SwitchDown(true),
            What::Lost(9),
            What::Resync(true),
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
    fn a_retry_ends_when_the_cursor_is_past_it_or_its_incarnation_is_over() {
        let tried = |retry: Option<(u64, u64)>, cursor: (u64, u64), incarnation| {
            let row = EventRow {
                retry: retry.map(|(incarnation, n)| Retry { incarnation, n }),
                ..row(What::Resync(true))
            };
            let (at, n) = cursor;
            row.retry_status(Seq { incarnation: at, n }, incarnation)
        };
        assert_eq!(tried(None, (7, 9), Some(7)), RetryStatus::NotRetried);
        assert_eq!(tried(Some((7, 9)), (7, 8), Some(7)), RetryStatus::Queued);
        assert_eq!(tried(Some((7, 9)), (7, 9), Some(7)), RetryStatus::Applied);
        assert_eq!(tried(Some((7, 9)), (7, 10), Some(8)), RetryStatus::Applied);
        assert_eq!(tried(Some((7, 9)), (7, 8), Some(8)), RetryStatus::Lost);
        assert_eq!(tried(Some((7, 9)), (8, 20), Some(8)), RetryStatus::Lost);
        assert_eq!(tried(Some((7, 0)), (7, 8), Some(7)), RetryStatus::Unknown);
        assert_eq!(tried(Some((7, 0)), (7, 8), Some(8)), RetryStatus::Lost);
    }
}
