//! Morpheus's own records in the store, as they are written: which apps there are, which releases, the upgrades of each app,
//! and the events in quarantine.
//!
//! A value that this morphd does not know is refused when it is read, never replaced by a default: a later morphd may have
//! written it, and an upgrade that is taken for another one would lose what it has fenced. Field names of earlier versions
//! are read as aliases.

use std::collections::BTreeMap;

use morph_api::description::Description;
use morph_api::management::Step;
use morph_api::store::Seq;
use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::poison::{PoisonRun, Suspect};
use super::upgrade::{EndedBy, Mode};
use crate::boot::Moment;

/// Table of [`AppRow`], by the app's name.
pub const APPS: &str = "apps";
/// Table of [`ReleaseRow`], by `NAME/VERSION`.
pub const RELEASES: &str = "releases";
/// Table of [`UpgradeRecord`], the last one of each app, by the app's name.
pub const UPGRADES: &str = "upgrades";
/// Table of [`UpgradeRecord`], of upgrades that ended, by app, time of the start and id.
pub const HISTORY: &str = "history";
/// Table of [`super::poison::EventRow`], by id.
pub const EVENTS: &str = "events";

/// Table of [`TableRange`](super::pipeline::TableRange), by the app's name. Records of an earlier version have none.
pub const PIPELINE: &str = "pipeline";

/// Desired state of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// An instance is live.
    Running,
    /// Rules and state stay, and so does the entry of packets where a switch has the rules.
    Stopped,
    /// State stays; rules go, and the pipeline bypasses the app.
    Removed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRow {
    /// Id from the manifest.
    pub id: u8,
    /// The permanent release.
    pub release: Version,
    pub desired: Desired,
    /// Instance that the last fence let in.
    #[serde(default)]
    pub instance: String,
    /// Epoch that the last fence raised.
    #[serde(default)]
    pub epoch: u64,
    /// The release that was permanent before: an app in a crash loop goes back to it.
    #[serde(default, alias = "former")]
    pub fallback: Option<Version>,
    #[serde(default, alias = "trouble")]
    pub crash_loop: Option<CrashLoop>,
    /// The event that its instances may die of.
    #[serde(default, alias = "suspicion")]
    pub suspect: Option<Suspect>,
    /// The last events that its instances have died of.
    #[serde(default)]
    pub poison_run: Option<PoisonRun>,
}

/// A crash loop, and what was done about it. It stays on record until another release is committed, or somebody starts
/// the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashLoop {
    pub unix_ms: u64,
    /// The release that kept dying.
    pub release: String,
    /// The release that runs instead; none: the app is stopped.
    pub to: Option<String>,
    pub why: String,
}

impl CrashLoop {
    /// One sentence for people.
    pub fn summary(&self) -> String {
        let CrashLoop {
            release, to, why, ..
        } = self;
        match to {
            Some(to) => format!("{release} kept dying, {to} runs instead: {why}"),
            None => format!("{release} kept dying and is stopped, its rules stay: {why}"),
        }
    }
}

/// Status of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseStatus {
    /// Installed.
    Staged,
    /// Live in a probation.
    Current,
    /// Runs, and is started again when it dies.
    Permanent,
    /// Was permanent once.
    Old,
}

impl ReleaseStatus {
    pub fn name(self) -> &'static str {
        match self {
            ReleaseStatus::Staged => "staged",
            ReleaseStatus::Current => "current",
            ReleaseStatus::Permanent => "permanent",
            ReleaseStatus::Old => "old",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRow {
    pub status: ReleaseStatus,
    /// SHA-256 of the bundle, in hex.
    pub digest: String,
    /// Schema version of its tables.
    pub schema: u32,
    pub installed_unix_ms: u64,
    /// Folder below `STATE_DIR/bundles`.
    pub folder: String,
    /// Tables and migrations, as its executable told them at the install. Absent where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// A fence has let an instance of it in. Records of an earlier version do not say.
    #[serde(default)]
    pub live: Option<bool>,
}

impl ReleaseRow {
    /// Whether an instance of it has been live; where the record does not say, any release that was more than staged counts.
    pub fn has_been_live(&self) -> bool {
        self.live.unwrap_or(self.status != ReleaseStatus::Staged)
    }
}

/// One app's part in an upgrade. Its JSON is flat: one object with the fields of all parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeRecord {
    pub id: String,
    /// Id that the records of all apps have which are upgraded as one. Empty: the app is upgraded alone.
    #[serde(default)]
    pub group: String,
    /// The other apps of the group.
    #[serde(default)]
    pub with: Vec<String>,
    #[serde(flatten)]
    pub plan: PlanRecord,
    #[serde(flatten)]
    pub progress: Progress,
    #[serde(flatten)]
    pub instances: InstancesRecord,
    #[serde(flatten)]
    pub shadow: ShadowRecord,
    #[serde(flatten)]
    pub counts: CountsRecord,
}

/// Part of the record that is settled before the upgrade begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    pub from: Version,
    pub to: Version,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default, alias = "old_schema")]
    pub source_schema: u32,
    #[serde(default, alias = "new_schema")]
    pub target_schema: u32,
    #[serde(default)]
    pub probation_ms: u64,
    /// Without a commit the upgrade goes back at the end of the probation.
    #[serde(default)]
    pub confirm: bool,
    #[serde(flatten)]
    pub allowed: AllowedLosses,
    /// Events that the target has to handle before the probation ends in a commit.
    #[serde(default)]
    pub min_events: u64,
    /// Deadlines of the steps, by name.
    #[serde(default)]
    pub deadlines_ms: BTreeMap<String, u64>,
    /// The user who asked for it.
    #[serde(default)]
    pub who: String,
    /// Status of the target release before: it has that again after a rollback.
    #[serde(default, alias = "was")]
    pub prior_status: Option<ReleaseStatus>,
}

/// Losses that the operator has allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedLosses {
    /// Rows that the older schema version cannot hold.
    #[serde(default, rename = "allow_loss")]
    pub rows: bool,
    /// Rules that the target would remove.
    #[serde(default, rename = "allow_rule_loss")]
    pub rules: bool,
}

/// Part of the record that says how far the upgrade has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    #[serde(serialize_with = "write_step", deserialize_with = "read_step")]
    pub step: Step,
    #[serde(default)]
    pub started_unix_ms: u64,
    #[serde(default)]
    pub step_unix_ms: u64,
    /// Moment of the step, for counting: the wall clock may be set meanwhile.
    #[serde(default)]
    pub step_at: Option<Moment>,
    #[serde(default)]
    pub since_start_us: u64,
    /// The fence for the target was asked for, and may stand.
    #[serde(default)]
    pub fenced: bool,
    /// Set where the fence for the target swapped primary and shadow.
    #[serde(default)]
    pub swapped: bool,
    #[serde(default)]
    pub message: String,
    #[serde(default, serialize_with = "write_by", deserialize_with = "read_by")]
    pub by: Option<EndedBy>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstancesRecord {
    #[serde(default, alias = "old")]
    pub source: String,
    #[serde(default, alias = "newcomer")]
    pub target: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowRecord {
    /// Keyspace of the shadow; 0: none.
    #[serde(default, alias = "space")]
    pub keyspace: u32,
    /// Groups of rows that were mapped there and back.
    #[serde(default)]
    pub groups_checked: u64,
    /// Groups that did not come back as they were.
    #[serde(default, alias = "groups_losing")]
    pub groups_lossy: u64,
    /// The first of these, a sentence each.
    #[serde(default)]
    pub losses: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountsRecord {
    /// Microseconds from the hold to the resume.
    #[serde(default)]
    pub handover_us: u64,
    #[serde(default)]
    pub events_held: u64,
    /// Held events that had been delivered before.
    #[serde(default)]
    pub events_replayed: u64,
    /// Microseconds from the hold to the resume, on the way back.
    #[serde(default)]
    pub back_handover_us: u64,
    #[serde(default)]
    pub rules_added: u64,
    #[serde(default)]
    pub rules_changed: u64,
    #[serde(default)]
    pub rules_removed: u64,
    #[serde(default)]
    pub rules_unchanged: u64,
    /// Events that the target has answered in its probation.
    #[serde(default)]
    pub events_handled: u64,
    /// Committed at the end of a probation with no event, or with fewer than were asked for.
    #[serde(default)]
    pub untested: bool,
}

fn write_step<S: Serializer>(step: &Step, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(step.as_str_name())
}

fn read_step<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Step, D::Error> {
    let name = String::deserialize(deserializer)?;
    match Step::from_str_name(&name) {
        None | Some(Step::Unspecified) => Err(serde::de::Error::custom(format!(
            "step {name:?} is not known to this version of morphd"
        ))),
        Some(step) => Ok(step),
    }
}

fn write_by<S: Serializer>(by: &Option<EndedBy>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(by.map_or("", EndedBy::name))
}

/// Earlier versions wrote an empty text while an upgrade was under way.
fn read_by<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EndedBy>, D::Error> {
    use serde::de::IntoDeserializer;
    let name = String::deserialize(deserializer)?;
    match name.as_str() {
        "" => Ok(None),
        name => EndedBy::deserialize(name.into_deserializer()).map(Some),
    }
}

/// One row to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub table: &'static str,
    pub key: String,
    /// JSON; none: the row is deleted.
    pub value: Option<String>,
}

impl Write {
    pub fn new(table: &'static str, key: impl Into<String>, value: &impl Serialize) -> Self {
        // The rows above are made of texts and numbers; those always become JSON.
        let value = serde_json::to_string(value).unwrap_or_default();
        Write {
            table,
            key: key.into(),
            value: Some(value),
        }
    }

    pub fn gone(table: &'static str, key: impl Into<String>) -> Self {
        Write {
            table,
            key: key.into(),
            value: None,
        }
    }
}

/// An app's checkpoint after a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fenced {
    pub epoch: u64,
    pub cursor: Seq,
    pub turn: u64,
    /// Nothing of an older epoch is committed after this revision.
    pub revision: u64,
}

/// One app's part of a fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fencing {
    pub app: String,
    pub node: String,
    /// The release that is let in.
    pub release: String,
    /// The checkpoint's epoch, as far as is known.
    pub epoch: u64,
    /// Go on from whatever epoch is found; otherwise another epoch is a refusal.
    pub force: bool,
    /// Swap the primary with this shadow.
    pub swap: Option<u32>,
    /// Move the cursor from here to there: what is between is quarantined.
    pub skip: Option<(Seq, Seq)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record as morphd 0.1 wrote it, with the words of that time.
    const EARLIER: &str = r#"{"id":"router-1","group":"","with":[],"from":"1.0.0","to":"2.0.0","step":"UPGRADED",
        "started_unix_ms":5,"step_unix_ms":6,"step_at":null,"since_start_us":7,"mode":"through","old_schema":1,
        "new_schema":2,"probation_ms":30000,"confirm":false,"allow_loss":false,"deadlines_ms":{"copy":60000},"who":"ann",
        "fenced":true,"swapped":false,"newcomer":"b","old":"a","space":3,"was":"staged","message":"","by":"",
        "handover_us":1,"events_held":2,"events_replayed":3,"back_handover_us":0,"groups_checked":4,"groups_losing":1,
        "losses":["x"],"rules_added":1,"rules_changed":2,"rules_removed":3,"rules_unchanged":4}"#;

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let record: UpgradeRecord = serde_json::from_str(EARLIER).unwrap();
        assert_eq!(record.plan.mode, Mode::Online);
        assert_eq!(
            (record.plan.source_schema, record.plan.target_schema),
            (1, 2)
        );
        assert_eq!(record.plan.prior_status, Some(ReleaseStatus::Staged));
        assert_eq!(record.instances.target, "b");
        assert_eq!(record.instances.source, "a");
        assert_eq!((record.shadow.keyspace, record.shadow.groups_lossy), (3, 1));
        assert_eq!(
            (record.progress.step, record.progress.by),
            (Step::Upgraded, None)
        );
        assert_eq!(record.counts.rules_unchanged, 4);
        let again = serde_json::to_string(&record).unwrap();
        assert_eq!(
            serde_json::from_str::<UpgradeRecord>(&again).unwrap(),
            record
        );
    }

    #[test]
    fn what_is_not_known_is_refused_and_named() {
        for (word, other, named) in [
            ("UPGRADED", "REHEARSING", "REHEARSING"),
            ("UPGRADED", "STEP_UNSPECIFIED", "STEP_UNSPECIFIED"),
            ("through", "sideways", "sideways"),
            ("\"by\":\"\"", "\"by\":\"nobody\"", "nobody"),
            ("\"was\":\"staged\"", "\"was\":\"lost\"", "lost"),
        ] {
            let text = EARLIER.replace(word, other);
            let error = serde_json::from_str::<UpgradeRecord>(&text).unwrap_err();
            assert!(error.to_string().contains(named), "{other}: {error}");
        }
    }

    #[test]
    fn an_app_of_an_earlier_version_is_read() {
        let text = r#"{"id":3,"release":"2.0.0","desired":"running","instance":"a","epoch":7,"former":"1.0.0",
            "trouble":{"unix_ms":1,"release":"2.0.0","to":null,"why":"x"},
            "suspicion":{"stream":1,"n":2,"release":"2.0.0","deaths":1,"instance":"a"}}"#;
        let row: AppRow = serde_json::from_str(text).unwrap();
        assert_eq!(row.fallback, Some(Version::new(1, 0, 0)));
        assert_eq!(row.crash_loop.unwrap().release, "2.0.0");
        assert_eq!(row.suspect.unwrap().seq().n, 2);
    }
}
