//! States as the model checker compares them: a machine is what its `Debug` says of it, without figures that decide nothing,
//! with points in time as distances from the machine's own clock, and with the store's revisions as their ranks: which is the
//! later one counts, not by how much. Where the past matters, so does the order of its points in time. An instance's are ranked among its own and those of the store, of morphd, and of what is
//! on the way between them. Identities of morphd's calls are ranked among themselves.
//!
//! Each part of a state is kept with the digest of that text, which is computed anew only when the part has changed.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

/// Start of a point in time as `Debug` shows it, on Linux.
const INSTANT: &str = "Instant { tv_sec: ";

/// Limit of a call that is waited for as long as it takes, as `Debug` shows it behind a comma.
const REMINDER: &str = " limit: Remind(";

/// Part of a state that has a canonical form.
pub(crate) trait Canon: Clone + Debug {
    /// Fields that count what has happened, or say it to people.
    const FIGURES: &'static [&'static str];

    /// Fields that say when something was, which decides only where [`Canon::tells_past`].
    const PAST: &'static [&'static str] = &[];

    /// Present by its own clock.
    fn now(&self) -> Instant;

    /// Whether it matters how long ago something was.
    fn tells_past(&self) -> bool {
        false
    }

    /// Digest of the canonical form without revisions, and the revisions.
    fn digest(&self) -> (u64, Vec<u64>) {
        let mut numbers = Numbers::default();
        let tells_past = self.tells_past();
        let past = if tells_past { &[] } else { Self::PAST };
        let figures = [Self::FIGURES, past].concat();
        let scale = Scale {
            now: self.now(),
            tells_past,
        };
        let text = canonical(&format!("{self:?}"), scale, &figures, &mut numbers);
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        rank(&[], &numbers.calls, &mut hasher);
        rank(&[], &numbers.past, &mut hasher);
        (hasher.finish(), numbers.revisions)
    }
}

/// Numbers of a text that are compared by their ranks.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    revisions: Vec<u64>,
    calls: Vec<u64>,
    /// Points in time that have passed, as nanoseconds before the present.
    past: Vec<u64>,
}

/// Figures in morphd's records.
const RECORD_FIGURES: [&str; 27] = [
    "started_unix_ms",
    "step_unix_ms",
    "step_at",
    "since_start_us",
    "message",
    "by",
    "who",
    "probation_ms",
    "confirm",
    "allow_loss",
    "deadlines_ms",
    "prior_status",
    "groups_checked",
    "losses",
    "handover_us",
    "events_held",
    "events_replayed",
    "back_handover_us",
    "rules_added",
    "rules_changed",
    "rules_removed",
    "rules_unchanged",
    "unix_ms",
    "how",
    "why",
    "installed_unix_ms",
    "digest",
];

/// A record of morphd without its figures.
pub(crate) fn record(json: &str) -> String {
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(json) else {
        return json.to_owned();
    };
    fields.retain(|name, _| !RECORD_FIGURES.contains(&name.as_str()));
    serde_json::Value::Object(fields).to_string()
}

/// A part of a state.
#[derive(Debug, Clone)]
pub(crate) struct Part<T> {
    value: Arc<T>,
    digest: u64,
    revisions: Arc<[u64]>,
    dirty: bool,
}

impl<T: Canon> Part<T> {
    pub(crate) fn new(value: T) -> Self {
        let mut part = Part {
            digest: 0,
            revisions: Arc::new([]),
            value: Arc::new(value),
            dirty: true,
        };
        part.seal();
        part
    }

    pub(crate) fn get(&self) -> &T {
        &self.value
    }

    /// For a change; [`Part::seal`] follows.
    pub(crate) fn change(&mut self) -> &mut T {
        self.dirty = true;
        Arc::make_mut(&mut self.value)
    }

    /// Computes the digest by which the part is compared from here on.
    pub(crate) fn seal(&mut self) {
        if std::mem::take(&mut self.dirty) {
            let (digest, revisions) = self.value.digest();
            (self.digest, self.revisions) = (digest, revisions.into());
        }
    }
}

/// The parts of a state, for its name.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    digests: Vec<u64>,
    shared: Vec<u64>,
    own: Vec<Arc<[u64]>>,
}

impl Parts {
    /// Its revisions may be compared with those of any other part.
    pub(crate) fn share<T>(&mut self, part: &Part<T>) {
        self.digests.push(part.digest);
        self.shared.extend_from_slice(&part.revisions);
    }

    /// Its revisions are not compared with those of another that is added so.
    pub(crate) fn add<T>(&mut self, part: &Part<T>) {
        self.digests.push(part.digest);
        self.own.push(Arc::clone(&part.revisions));
    }

    /// Name of the state: equal states have equal names. `more` is compared besides the parts.
    pub(crate) fn name(&self, more: &impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.digests.hash(&mut hasher);
        rank(&[], &self.shared, &mut hasher);
        for own in &self.own {
            rank(&self.shared, own, &mut hasher);
        }
        more.hash(&mut hasher);
        hasher.finish()
    }
}

fn rank(among: &[u64], revisions: &[u64], hasher: &mut DefaultHasher) {
    let mut ranks = [among, revisions].concat();
    ranks.sort_unstable();
    ranks.dedup();
    for revision in among.iter().chain(revisions) {
        ranks.binary_search(revision).hash(hasher);
    }
}

/// Fields that hold revisions, and no other numbers.
const REVISIONS: [&str; 12] = [
    "revision",
    "from_revision",
    "modified",
    "watermark",
    "told",
    "needs",
    "durable",
    "durable_to",
    "applied",
    "reached",
    "seen",
    "written",
];

/// Distance in nanoseconds beyond which it does not matter how long ago something was, only what was before.
const LONG_AGO: i128 = 1_500_000_000;

/// How points in time are compared: by their distances from this one. What has passed is 0, unless it tells the past.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    now: Instant,
    tells_past: bool,
}

/// The text without these fields and without revisions, which are taken out of it, and with points in time as distances.
pub(crate) fn canonical(
    text: &str,
    scale: Scale,
    figures: &[&str],
    numbers: &mut Numbers,
) -> String {
    let now = instant(&format!("{:?}", scale.now)).map_or(0, |(at, _)| at);
    let mut canonical = String::with_capacity(text.len());
    let mut rest = text;
    let mut reminds = false;
    let starts = |byte: u8| matches!(byte, b'{' | b',' | b'I' | b'"' | b'C');
    while let Some(at) = rest.bytes().position(starts) {
        let (before, here) = rest.split_at(at);
        canonical.push_str(before);
        // A call that is waited for as long as it takes: the time of the next reminder decides nothing.
        reminds |= before.starts_with(REMINDER);
        if let Some((when, after)) = instant(here) {
            let ahead = when.saturating_sub(now);
            if scale.tells_past && ahead < 0 {
                numbers.past.push(ahead.unsigned_abs() as u64);
            }
            let ahead = if scale.tells_past {
                ahead.max(-LONG_AGO)
            } else {
                ahead.max(0)
            };
            let ahead = if std::mem::take(&mut reminds) {
                0
            } else {
                ahead
            };
            canonical.push_str(&format!("+{ahead}"));
            rest = after;
        } else if here.starts_with('"') {
            let (quoted, after) = here.split_at(quoted(here));
            match serde_json::from_str::<String>(quoted) {
                Ok(json) if json.starts_with('{') => canonical.push_str(&record(&json)),
                Ok(_) | Err(_) => canonical.push_str(quoted),
            }
            rest = after;
        } else if let Some((call, after)) = call(here) {
            numbers.calls.push(call);
            canonical.push_str("call");
            rest = after;
        } else {
            canonical.push_str(&here[..1]);
            rest = without_field(&here[1..], figures, &mut numbers.revisions, &mut canonical);
        }
    }
    canonical.push_str(rest);
    canonical
}

/// A field at the start of the text: its name, and the text from the name on.
fn field(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix(' ')?;
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit();
    let end = text.bytes().position(|byte| !is_name(byte))?;
    let (name, rest) = text.split_at(end);
    rest.starts_with(": ").then_some((name, text))
}

/// Behind a field that follows a brace or a comma, if it is a figure or holds revisions, which are taken out of it.
fn without_field<'a>(
    text: &'a str,
    figures: &[&str],
    revisions: &mut Vec<u64>,
    canonical: &mut String,
) -> &'a str {
    let Some((name, from)) = field(text) else {
        return text;
    };
    if figures.contains(&name) {
        return &from[name.len() + value(&from[name.len()..])..];
    }
    if !REVISIONS.contains(&name) {
        return text;
    }
    let (value, rest) = from.split_at(name.len() + value(&from[name.len()..]));
    for part in value.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let text = part.trim_start_matches(|c: char| c.is_ascii_digit());
        revisions.extend(part[..part.len() - text.len()].parse::<u64>());
        canonical.push_str(if text.len() < part.len() { "#" } else { "" });
        canonical.push_str(text);
    }
    rest
}

/// Length of a value, up to the comma or brace behind it.
fn value(text: &str) -> usize {
    let (mut depth, mut at) = (0u32, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at += quoted(&text[at..]) - 1,
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' | b',' if depth == 0 => return at,
            b'}' | b']' | b')' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Length of a quoted text, its quotes included.
fn quoted(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The identity of a call at the start of the text, and what follows.
fn call(text: &str) -> Option<(u64, &str)> {
    let (number, rest) = text.strip_prefix("CallId(")?.split_once(')')?;
    Some((number.parse().ok()?, rest))
}

/// A point in time at the start of the text, in nanoseconds, and what follows.
fn instant(text: &str) -> Option<(i128, &str)> {
    let (seconds, rest) = text.strip_prefix(INSTANT)?.split_once(", tv_nsec: ")?;
    let (nanoseconds, rest) = rest.split_once(" }")?;
    let seconds: i128 = seconds.parse().ok()?;
    let nanoseconds: i128 = nanoseconds.parse().ok()?;
    Some((seconds * 1_000_000_000 + nanoseconds, rest))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug)]
    #[allow(dead_code)]
    struct Thing {
        count: Vec<u32>,
        name: &'static str,
        at: Option<Instant>,
        message: (u32, &'static str),
    }

    #[test]
    fn figures_go_and_time_is_a_distance() {
        let now = Instant::now();
        let thing = |count, ahead| Thing {
            count,
            name: "a, count: 5 \" }",
            at: Some(now + ahead),
            message: (1, "}"),
        };
        let scaled = |thing: &Thing, now, tells_past| {
            let scale = Scale { now, tells_past };
            canonical(
                &format!("{thing:?}"),
                scale,
                &["count", "message"],
                &mut Numbers::default(),
            )
        };
        let text = |thing: &Thing, now| scaled(thing, now, false);
        let second = Duration::from_secs(1);
        let one = text(&thing(vec![1, 2], second), now);
        assert_eq!(
            one,
            r#"Thing {, name: "a, count: 5 \" }", at: Some(+1000000000),}"#
        );
        assert_eq!(one, text(&thing(vec![], 3 * second), now + 2 * second));
        assert_ne!(one, text(&thing(vec![], second), now + second));
        let (past, before) = (thing(vec![], second), thing(vec![], Duration::ZERO));
        let later = now + 2 * second;
        assert_eq!(text(&past, later), text(&before, later));
        assert_ne!(scaled(&past, later, true), scaled(&before, later, true));
    }
}
