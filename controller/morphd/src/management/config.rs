//! Configuration of an app: entries `TABLE.KEY`, each with a JSON value, in the tables that its manifest opens for it.

use std::collections::BTreeMap;
use std::str::FromStr;

use morph_api::check::{Check, KeyForm};
use morph_api::management::{ConfigEntry, ConfigGetReply, ConfigSetReply};
use morph_api::store::Reason;
use morph_openflow::Dpid;
use morph_store::{Client, op};
use tonic::Status;

use super::rows::{self, unavailable};

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

/// All entries of the config tables of an app.
pub(super) async fn get(
    store: &Client,
    app: &str,
    tables: &[String],
) -> Result<ConfigGetReply, Status> {
    let mut entries = Vec::new();
    for table in tables {
        for row in rows::table(store, app, table).await? {
            let key = format!("{table}.{}", row.key);
            entries.push(ConfigEntry {
                key,
                value: row.value.unwrap_or_default(),
            });
        }
    }
    Ok(ConfigGetReply { entries })
}

/// Writes all entries or none. Each expects the revision that its row had when it was read.
pub(super) async fn set(
    store: &Client,
    app: &str,
    (tables, checks): &(Vec<String>, Checks),
    entries: &[ConfigEntry],
) -> Result<ConfigSetReply, Status> {
    let mut keys = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = parse_key(&entry.key, app, tables).map_err(Status::invalid_argument)?;
        if !entry.value.is_empty() {
            check(&key, &entry.value, checks).map_err(Status::invalid_argument)?;
        }
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
        for (key, value) in &keys {
            let row = op::row(app, key.table.as_str(), key.key.as_str());
            let found = store
                .get(app, &key.table, &key.key)
                .await
                .map_err(unavailable)?;
            expects.push(op::expect(&row, found.map_or(0, |(_, revision)| revision)));
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
            Err(refusal) if refusal.reason == Reason::Conflict => {}
            Err(refusal) => return Err(Status::failed_precondition(refusal.to_string())),
        }
    }
    Err(Status::unavailable(format!(
        "nothing was set: the rows were changed by others during each of {ATTEMPTS} attempts; try again"
    )))
}

/// Parses `TABLE.KEY`; the table must be one of `tables`.
fn parse_key(text: &str, app: &str, tables: &[String]) -> Result<ConfigKey, String> {
    let malformed = || format!("{text:?} is not TABLE.KEY");
    let (table, key) = text.split_once('.').ok_or_else(malformed)?;
    if table.is_empty() || key.is_empty() {
        return Err(malformed());
    }
    if !tables.iter().any(|known| known == table) {
        return Err(match tables.is_empty() {
            true => format!("{app} has no configuration: its manifest names no config tables"),
            false => format!(
                "{app} has no config table {table:?}; it has: {}",
                tables.join(", ")
            ),
        });
    }
    Ok(ConfigKey {
        table: table.to_owned(),
        key: normalized(key),
    })
}

/// Rewrites a datapath id at the beginning of a key to its stored form, 16 hex digits.
fn normalized(key: &str) -> String {
    match key.split_once('/') {
        Some((first, rest)) => match Dpid::from_str(first) {
            Ok(dpid) => format!("{dpid}/{rest}"),
            Err(_) => key.to_owned(),
        },
        None => key.to_owned(),
    }
}

/// Checks key and value of an entry against the manifest. The value must be JSON in any case.
fn check(entry: &ConfigKey, value: &str, checks: &Checks) -> Result<(), String> {
    let parsed: serde_json::Value =
        serde_json::from_str(value).map_err(|error| format!("{value:?} is not JSON: {error}"))?;
    let Some(check) = checks.get(&entry.table) else {
        return Ok(());
    };
    let ConfigKey { table, key } = entry;
    let malformed = |form: &str| Err(format!("{table}.{key}: the key is not {form}"));
    match check.key {
        KeyForm::Text => {}
        KeyForm::Dpid if Dpid::from_str(key).is_ok() => {}
        KeyForm::Dpid => return malformed("a datapath id"),
        KeyForm::DpidPort if is_port(key) => {}
        KeyForm::DpidPort => {
            return malformed("DPID/PORT, for example 0000000000000001/2");
        }
    }
    check
        .value(&parsed)
        .map_err(|why| format!("{table}.{key}: {why}"))
}

fn is_port(key: &str) -> bool {
    key.split_once('/').is_some_and(|(dpid, port)| {
        let number = port.parse::<u32>();
        // An app finds a row by the text of its key: 02 is no name of port 2.
        Dpid::from_str(dpid).is_ok() && number.is_ok_and(|n| n > 0 && n.to_string() == port)
    })
}

#[cfg(test)]
mod tests {
    use morph_api::check::ValueForm;

    use super::*;

    fn key(text: &str) -> Result<String, String> {
        parse_key(text, "router", &["weights".into()]).map(|parsed| parsed.key)
    }

    #[test]
    fn datapath_ids_are_stored_in_one_form() {
        for dpid in ["1", "0x1", "of:0000000000000001", "00:00:00:00:00:00:00:01"] {
            assert_eq!(
                key(&format!("weights.{dpid}/2")).unwrap(),
                "0000000000000001/2"
            );
        }
        assert_eq!(key("weights.some.key").unwrap(), "some.key");
        assert_eq!(key("weights.no-dpid/2").unwrap(), "no-dpid/2");
        assert_eq!(key("weights.10").unwrap(), "10");
    }

    #[test]
    fn mistakes_in_an_entry_are_named() {
        assert!(key("weights").unwrap_err().contains("not TABLE.KEY"));
        assert!(key("weights.").unwrap_err().contains("not TABLE.KEY"));
        assert!(key("trees.1/2").unwrap_err().contains("it has: weights"));
        let weights = Check {
            key: KeyForm::DpidPort,
            value: ValueForm::Integer,
            min: Some(1),
            max: None,
        };
        let checks = Checks::from([("weights".to_owned(), weights)]);
        for (key, value, message) in [
            ("1/2", "5", ""),
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
            let entry =
                parse_key(&format!("weights.{key}"), "router", &["weights".into()]).unwrap();
            let error = check(&entry, value, &checks).err().unwrap_or_default();
            let fine = message.is_empty() == error.is_empty();
            assert!(fine && error.contains(message), "{key}={value}: {error}");
        }
    }
}
