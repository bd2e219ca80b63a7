//! Configuration of an app: entries `TABLE.KEY`, each with a JSON value, in the tables that its manifest opens for it.

use std::collections::BTreeMap;
use std::str::FromStr;

use morph_api::check::{Check, KeyForm};
use morph_api::management::{ConfigEntry, ConfigGetReply, ConfigSetReply};
use morph_api::store::{Op, Reason};
use morph_openflow::Dpid;
use morph_store::{Client, op};
use tonic::Status;

use super::rows::{self, unavailable};
use crate::machine::call::NewPrimary;
use crate::machine::query::ConfigTables;
use crate::records::create;

/// Number of attempts at a write whose rows others change meanwhile.
const ATTEMPTS: u32 = 5;

/// Checks of keys and values by table.
pub(super) type Checks = BTreeMap<String, Check>;

/// Key of a configuration entry: a row of a config table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConfigKey {
    pub(super) table: String,
    pub(super) key: String,
}

/// Entries of the config tables of an app: all, those of a table, or one.
pub(super) async fn get(
    store: &Client,
    app: &str,
    config: &ConfigTables,
    wanted: &str,
) -> Result<ConfigGetReply, Status> {
    let wanted = match wanted.contains('.') {
        true => parse_key(wanted, app, config).map_err(Status::invalid_argument)?,
        false => ConfigKey {
            table: wanted.to_owned(),
            key: String::new(),
        },
    };
    let selects = |table: &str, key: &str| {
        (wanted.table.is_empty() || wanted.table == table)
            && (wanted.key.is_empty() || wanted.key == key)
    };
    let mut entries = Vec::new();
    for table in &config.tables {
        for row in rows::table(store, app, table).await? {
            if selects(table, &row.key) {
                let key = format!("{table}.{}", row.key);
                let value = row.value.unwrap_or_default();
                entries.push(ConfigEntry { key, value });
            }
        }
    }
    Ok(ConfigGetReply { entries })
}

/// Writes the entries with which an app is started, if any, and checks that its release can use the state that an app has which was
/// never started: its configuration may have been written for another release.
pub(super) async fn prepare(
    store: &Client,
    app: &str,
    config: &ConfigTables,
    entries: &[ConfigEntry],
) -> Result<(), Status> {
    if !entries.is_empty() {
        set(store, app, config, entries).await?;
    } else if let Some(first) = &config.first {
        creation(store, first).await?;
    }
    Ok(())
}

/// Operations that create an app's state, with its defaults; none where it has state of the same schema.
async fn creation(store: &Client, first: &NewPrimary) -> Result<Vec<Op>, Status> {
    let NewPrimary {
        app,
        release,
        schema,
        ..
    } = first;
    let keyspaces = store.status().await.map_err(unavailable)?.keyspaces;
    let mut primaries = keyspaces.iter().filter(|k| k.app == *app && k.primary);
    match primaries.next() {
        None => Ok(create(first)),
        Some(primary) if primary.schema == *schema => Ok(Vec::new()),
        Some(primary) => Err(Status::failed_precondition(format!(
            "the configuration of {app} was written in schema {}, and {app}@{release} has schema {schema}: start a release with \
             schema {} first, then upgrade",
            primary.schema, primary.schema
        ))),
    }
}

/// Writes all entries or none. Each expects the revision that its row had when it was read.
pub(super) async fn set(
    store: &Client,
    app: &str,
    config: &ConfigTables,
    entries: &[ConfigEntry],
) -> Result<ConfigSetReply, Status> {
    let mut keys = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = parse_key(&entry.key, app, config).map_err(Status::invalid_argument)?;
        check(&key, &entry.value, &config.checks).map_err(Status::invalid_argument)?;
        if keys.iter().any(|(other, _)| *other == key) {
            return Err(Status::invalid_argument(format!(
                "{} is given twice",
                entry.key
            )));
        }
        keys.push((key, entry.value.as_str()));
    }
    if keys.is_empty() {
        return Err(Status::invalid_argument(
            "there is nothing to set; give at least one TABLE.KEY=VALUE",
        ));
    }
    for _ in 0..ATTEMPTS {
        let (mut expects, mut ops) = (Vec::new(), Vec::new());
        if let Some(first) = &config.first {
            ops.extend(creation(store, first).await?);
        }
        let created = !ops.is_empty();
        for (key, value) in &keys {
            let row = op::row(app, key.table.as_str(), key.key.as_str());
            if !created {
                let found = store
                    .get(app, &key.table, &key.key)
                    .await
                    .map_err(unavailable)?;
                expects.push(op::expect(&row, found.map_or(0, |(_, revision)| revision)));
            }
            ops.push(match value.is_empty() {
                true => op::delete(row),
                false => op::put(row, *value),
            });
        }
        match store
            .commit(op::shared(expects, ops))
            .await
            .map_err(unavailable)?
        {
            Ok(committed) => {
                return Ok(ConfigSetReply {
                    revision: committed.revision,
                });
            }
            // Somebody else may have created the state.
            Err(refusal) if refusal.reason == Reason::Conflict || created => {}
            Err(refusal) => return Err(Status::failed_precondition(refusal.to_string())),
        }
    }
    Err(Status::unavailable(format!(
        "nothing was set: the rows were changed by others during each of {ATTEMPTS} attempts; try again"
    )))
}

/// Parses `TABLE.KEY`; the table must be a config table.
fn parse_key(text: &str, app: &str, config: &ConfigTables) -> Result<ConfigKey, String> {
    let malformed = || format!("{text:?} is not TABLE.KEY");
    let (table, key) = text.split_once('.').ok_or_else(malformed)?;
    if table.is_empty() || key.is_empty() {
        return Err(malformed());
    }
    if !config.tables.iter().any(|known| known == table) {
        return Err(match config.tables.is_empty() {
            true => format!("{app} has no configuration: its manifest names no config tables"),
            false => format!(
                "{app} has no config table {table:?}; it has: {}",
                config.tables.join(", ")
            ),
        });
    }
    let form = config.checks.get(table).map(|check| check.key);
    Ok(ConfigKey {
        table: table.to_owned(),
        key: normalized(form.unwrap_or_default(), key),
    })
}

/// Rewrites a datapath id to its stored form, 16 hex digits, in keys that have one. Other keys may look like it: 10/8 is a network.
fn normalized(form: KeyForm, key: &str) -> String {
    let (first, rest) = match (form, key.split_once('/')) {
        (KeyForm::Text, _) | (KeyForm::DpidPort, None) => return key.to_owned(),
        (KeyForm::Dpid, _) => (key, String::new()),
        (KeyForm::DpidPort, Some((first, rest))) => (first, format!("/{rest}")),
    };
    match Dpid::from_str(first) {
        Ok(dpid) => format!("{dpid}{rest}"),
        Err(_) => key.to_owned(),
    }
}

/// Checks key and value of an entry against the manifest. The value must be JSON in any case; an empty one deletes the entry.
fn check(entry: &ConfigKey, value: &str, checks: &Checks) -> Result<(), String> {
    let ConfigKey { table, key } = entry;
    let check = checks.get(table).cloned().unwrap_or_default();
    let wrong = |why: String| format!("{table}.{key}: {why}");
    if value.is_empty() {
        return Ok(());
    }
    let parsed: serde_json::Value =
        serde_json::from_str(value).map_err(|error| format!("{value:?} is not JSON: {error}"))?;
    let key_fits = check.key.check(key).map_err(str::to_owned);
    key_fits.and_then(|()| check.value(&parsed)).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use morph_api::check::ValueForm;

    use super::*;

    fn config(key: KeyForm) -> ConfigTables {
        let weights = Check {
            key,
            value: ValueForm::Integer,
            min: Some(1),
            ..Check::default()
        };
        ConfigTables {
            tables: vec!["weights".into(), "free".into()],
            checks: Checks::from([("weights".to_owned(), weights)]),
            first: None,
        }
    }

    fn key(form: KeyForm, text: &str) -> Result<String, String> {
        parse_key(text, "router", &config(form)).map(|parsed| parsed.key)
    }

    #[test]
    fn datapath_ids_are_stored_in_one_form() {
        for dpid in ["1", "0x1", "of:0000000000000001", "00:00:00:00:00:00:00:01"] {
            let with_port = format!("weights.{dpid}/2");
            let stored = "0000000000000001";
            assert_eq!(
                key(KeyForm::DpidPort, &with_port).unwrap(),
                format!("{stored}/2")
            );
            assert_eq!(
                key(KeyForm::Dpid, &format!("weights.{dpid}")).unwrap(),
                stored
            );
        }
        assert_eq!(
            key(KeyForm::DpidPort, "weights.some.key").unwrap(),
            "some.key"
        );
        assert_eq!(
            key(KeyForm::DpidPort, "weights.no-dpid/2").unwrap(),
            "no-dpid/2"
        );
    }

    #[test]
    fn other_keys_stay_as_they_are() {
        for text in ["10/8", "10", "1/2", "0x1", "some.key"] {
            assert_eq!(
                key(KeyForm::Text, &format!("weights.{text}")).unwrap(),
                text
            );
            assert_eq!(key(KeyForm::Dpid, &format!("free.{text}")).unwrap(), text);
        }
    }

    #[test]
    fn mistakes_in_an_entry_are_named() {
        let form = KeyForm::DpidPort;
        assert!(key(form, "weights").unwrap_err().contains("not TABLE.KEY"));
        assert!(key(form, "weights.").unwrap_err().contains("not TABLE.KEY"));
        assert!(
            key(form, "trees.1/2")
                .unwrap_err()
                .contains("it has: weights, free")
        );
        for (key, value, message) in [
            ("1/2", "5", ""),
            ("1/2", "", ""),
            ("1/2", "{", "is not JSON"),
            ("1/2", "0", "a whole number from 1 on"),
            (
                "1/2",
                "\"five\"",
                "weights.0000000000000001/2: \"five\" is not a whole",
            ),
            ("1/0", "5", "not DPID/PORT"),
            ("1/02", "5", "not DPID/PORT"),
            ("1/+2", "5", "not DPID/PORT"),
            ("1", "5", "not DPID/PORT"),
            ("s1/eth0", "5", "weights.s1/eth0: the key is not DPID/PORT"),
        ] {
            let config = config(form);
            let entry = parse_key(&format!("weights.{key}"), "router", &config).unwrap();
            let error = check(&entry, value, &config.checks)
                .err()
                .unwrap_or_default();
            let fine = message.is_empty() == error.is_empty();
            assert!(fine && error.contains(message), "{key}={value}: {error}");
        }
    }
}
