//! Alarms: conditions that last, which an app cannot mend by itself.
//!
//! Alarms stand in a table that every app has ([`morph_api::alarm`]), so they outlive instances and upgrades. No schema has
//! this table, and migrations pass its rows unchanged. An alarm begins and ends with the turn that says so.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use morph_api::alarm::{AlarmRow, MORE, TABLE, TABLE_FULL};
use serde::Deserialize;
use serde_json::Value;

use crate::turn::{Journal, RowId};
use crate::view::Tables;
use crate::{AppError, Dpid, MacAddr, Table, Turn};

/// Most alarms of an app. Beyond them one more says that others are left out. These are not counted: a number that is right
/// would take a row for each.
pub(crate) const MOST: usize = 1000;
/// Longest text, in bytes, of what an alarm says and of its mend; the rest is cut off. A turn may write all alarms at once, and
/// they have to fit into one transaction.
const TEXT: usize = 500;
/// Longest subject in bytes.
const SUBJECT: usize = 200;

/// Kinds of the SDK's own alarms.
const OWN: [&str; 2] = [MORE, TABLE_FULL];

/// Alarms by kind and subject.
pub(crate) const ALARMS: Table<(String, String), AlarmRow> = Table::new(TABLE);

/// Condition that lasts until something is done about it. Operators see it in `morphctl alarms` while it lasts.
///
/// ```
/// use std::net::Ipv4Addr;
///
/// use morph_sdk::{Alarm, AppError, MacAddr, Table, Turn};
///
/// const CLAIMS: Table<(Ipv4Addr, MacAddr), u64> = Table::new("claims");
///
/// fn duplicates(turn: &mut Turn<'_>) -> Result<(), AppError> {
///     let rows = turn.rows(&CLAIMS);
///     let twice = rows.windows(2).filter(|two| two[0].0.0 == two[1].0.0);
///     let alarms: Vec<Alarm> = twice
///         .map(|two| {
///             let (ip, mac) = two[1].0;
///             let text = format!("two hosts use the address {ip}");
///             Alarm::new("duplicate-address", ip.to_string(), text, "give one of them another address")
///                 .of_host(mac)
///         })
///         .collect();
///     // The alarms that are not among them end.
///     turn.set_alarms("duplicate-address", alarms);
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Name of the condition, one of [`App::alarms`](crate::App::alarms).
    pub kind: &'static str,
    /// Name of what it concerns, unique within the kind, of at most 200 bytes; may be empty.
    pub subject: String,
    /// Switch that it concerns.
    pub switch: Option<Dpid>,
    /// Port of the switch that it concerns.
    pub port: Option<u32>,
    /// Host that it concerns.
    pub host: Option<MacAddr>,
    /// Sentence about the condition: what is wrong, and what follows from it. A changed text is stored again, so it should
    /// have no figure that changes often.
    pub text: String,
    /// Action of an operator that ends the condition.
    pub mend: String,
}

impl Alarm {
    /// Makes an alarm that concerns no switch or host.
    pub fn new(
        kind: &'static str,
        subject: impl Into<String>,
        text: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Alarm {
            kind,
            subject: subject.into(),
            switch: None,
            port: None,
            host: None,
            text: text.into(),
            mend: mend.into(),
        }
    }

    /// The alarm, of a switch.
    #[must_use]
    pub fn on_switch(self, dpid: Dpid) -> Self {
        let switch = Some(dpid);
        Alarm { switch, ..self }
    }

    /// The alarm, of a port of a switch.
    #[must_use]
    pub fn on_port(self, dpid: Dpid, port: u32) -> Self {
        let (switch, port) = (Some(dpid), Some(port));
        Alarm {
            switch,
            port,
            ..self
        }
    }

    /// The alarm, of a host.
    #[must_use]
    pub fn of_host(self, mac: MacAddr) -> Self {
        let host = Some(mac);
        Alarm { host, ..self }
    }

    fn row(&self, since: u64) -> AlarmRow {
        AlarmRow {
            kind: self.kind.to_owned(),
            switch: self.switch.map(|dpid| dpid.to_string()),
            port: self.port,
            host: self.host.map(|mac| mac.to_string()),
            text: cut(&self.text),
            mend: cut(&self.mend),
            since,
        }
    }
}

fn cut(text: &str) -> String {
    let end = (0..=TEXT.min(text.len())).rev();
    let end = end.into_iter().find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(0)].to_owned()
}

/// Whether the app has more alarms than are kept.
pub(crate) fn are_left_out(tables: &Tables) -> bool {
    tables.get(None, TABLE, &format!("{MORE}/")).is_some()
}

impl Turn<'_> {
    /// Raises an alarm, or brings the text of a raised one up to date. Raising it again with the same text changes nothing.
    ///
    /// The app has to end it: with [`Turn::end_alarm`] where its reason ends. Where the reason can be computed from the view,
    /// [`Turn::set_alarms`] is better. Beyond 1000 alarms of the app it is left out, and an alarm `more` says so.
    pub fn raise(&mut self, alarm: &Alarm) {
        self.raise_if_room(alarm);
    }

    /// Ends an alarm, if it is raised.
    pub fn end_alarm(&mut self, kind: &'static str, subject: &str) {
        if self.may_raise(kind, subject) {
            self.end_own(kind, subject);
        }
    }

    /// Replaces all alarms of a kind by these: raises those that are new, ends the others. Called again with the same ones it
    /// changes nothing. An app that computes them from the view at each change or tick cannot forget to end one.
    pub fn set_alarms(&mut self, kind: &'static str, alarms: impl IntoIterator<Item = Alarm>) {
        let alarms: Vec<Alarm> = alarms.into_iter().collect();
        if let Some(alarm) = alarms.iter().find(|alarm| alarm.kind != kind) {
            let other = alarm.kind;
            return self.fail(format!("an alarm {other} is no alarm of kind {kind}"));
        }
        if !self.may_raise(kind, "") {
            return;
        }
        let wanted: BTreeSet<&str> = alarms.iter().map(|alarm| &*alarm.subject).collect();
        let raised = self.raised(kind);
        let over = raised
            .iter()
            .filter(|subject| !wanted.contains(&***subject));
        for subject in over {
            self.end(kind, subject);
        }
        let mut all_fit = true;
        for alarm in &alarms {
            all_fit &= self.raise_if_room(alarm);
        }
        if all_fit {
            self.end_more();
        }
    }

    /// Subjects of the raised alarms of a kind, also of those that an earlier instance has raised. Where only an event tells of a
    /// condition, a tick looks through these for alarms that end.
    pub fn raised(&self, kind: &str) -> Vec<String> {
        let alarms = self.view().prefix(&ALARMS, &kind.to_owned());
        alarms.map(|((_, subject), _)| subject).collect()
    }

    /// Ends the alarms of kinds that the app does not declare.
    pub(crate) fn end_undeclared_alarms(&mut self) {
        let kinds = self.alarms;
        let keys = self.view().iter(&ALARMS).map(|(key, _)| key);
        let is_known = |kind: &str| OWN.contains(&kind) || kinds.contains(&kind);
        let keys = keys.filter(|(kind, _)| !is_known(kind));
        for (kind, subject) in keys.collect::<Vec<_>>() {
            self.end(&kind, &subject);
        }
        self.end_more();
    }

    /// Raises an alarm. False if it is left out.
    fn raise_if_room(&mut self, alarm: &Alarm) -> bool {
        self.may_raise(alarm.kind, &alarm.subject) && self.raise_own(alarm)
    }

    /// Raises an alarm, also one of the SDK's own kinds. False if it is left out.
    pub(crate) fn raise_own(&mut self, alarm: &Alarm) -> bool {
        let key = (alarm.kind.to_owned(), alarm.subject.clone());
        let before = self.get(&ALARMS, &key);
        if before.is_none() && self.alarms_raised() >= MOST {
            let text =
                format!("the app has {MOST} alarms, which is the limit: others are left out");
            let more = Alarm::new(MORE, "", text, "mend what the app's alarms name");
            self.write(&more);
            return false;
        }
        self.write(alarm);
        true
    }

    fn write(&mut self, alarm: &Alarm) {
        let key = (alarm.kind.to_owned(), alarm.subject.clone());
        let now = self.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let since = self.get(&ALARMS, &key).map_or(now, |row| row.since);
        self.set(&ALARMS, &key, &alarm.row(since));
    }

    /// Ends an alarm, also one of the SDK's own kinds.
    pub(crate) fn end_own(&mut self, kind: &str, subject: &str) {
        if self.end(kind, subject) {
            self.end_more();
        }
    }

    fn end(&mut self, kind: &str, subject: &str) -> bool {
        self.unset(&ALARMS, &(kind.to_owned(), subject.to_owned()))
    }

    /// Ends the alarm that others are left out, if there is room for them: the app raises them again.
    fn end_more(&mut self) {
        if self.alarms_raised() < MOST {
            self.end(MORE, "");
        }
    }

    /// Number of alarms without the one that says that others are left out.
    fn alarms_raised(&self) -> usize {
        let more = self.get(&ALARMS, &(MORE.to_owned(), String::new()));
        self.view()
            .count(&ALARMS)
            .saturating_sub(usize::from(more.is_some()))
    }

    fn may_raise(&mut self, kind: &str, subject: &str) -> bool {
        let is_word = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        if !self.alarms.contains(&kind) {
            self.fail(format!("alarms of kind {kind:?} are not in App::alarms"));
        } else if OWN.contains(&kind)
            || !kind.chars().all(|letter| is_word(letter) || letter == '-')
        {
            self.fail(format!("{kind:?} cannot be a kind of alarms"));
        } else if subject.len() > SUBJECT {
            self.fail(format!(
                "the subject of an alarm {kind} has more than {SUBJECT} bytes: {subject:?}"
            ));
        } else {
            return true;
        }
        false
    }

    fn fail(&mut self, reason: String) {
        self.defect = Some(AppError::new(reason));
    }
}

/// Beginning or end of an alarm.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Began(AlarmRow),
    Ended(AlarmRow),
}

/// Logs the alarms that began or ended with a stored turn.
pub(crate) fn log(journal: &Journal, writes: &[(RowId, Option<Value>)]) {
    for change in changes(journal, writes) {
        match change {
            Change::Began(alarm) => tracing::warn!(
                "alarm {}{} began: {}; to end it: {}",
                alarm.kind,
                place(&alarm),
                alarm.text,
                alarm.mend
            ),
            Change::Ended(alarm) => tracing::info!(
                "alarm {}{} ended: {}",
                alarm.kind,
                place(&alarm),
                alarm.text
            ),
        }
    }
}

fn changes<'a>(
    journal: &'a Journal,
    writes: &'a [(RowId, Option<Value>)],
) -> impl Iterator<Item = Change> + 'a {
    let alarms = writes.iter().filter(|((table, _), _)| table == TABLE);
    alarms.filter_map(|(id, after)| {
        let row = |value: &Value| AlarmRow::deserialize(value).ok();
        match (journal.get(id).and_then(Option::as_ref), after) {
            (None, Some(after)) => row(after).map(Change::Began),
            (Some(before), None) => row(before).map(Change::Ended),
            (None, None) | (Some(_), Some(_)) => None,
        }
    })
}

fn place(alarm: &AlarmRow) -> String {
    let switch = alarm.switch.as_ref();
    let switch = switch.map(|dpid| format!(" on switch {dpid}"));
    let port = alarm.port.map(|port| format!(" port {port}"));
    let host = alarm.host.as_ref().map(|mac| format!(" host {mac}"));
    [switch, port, host].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
