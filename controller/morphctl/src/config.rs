//! `morphctl config`: the entries of an app's configuration.

use std::collections::BTreeMap;
use std::path::Path;

use morph_api::management::ConfigEntry;
use serde_json::Value;

use crate::client::{Client, change, read};
use crate::command::ConfigCall;
use crate::failure::Failure;
use crate::print::rows::ConfigResult;
use crate::print::{Output, printable};

pub(crate) async fn run(
    call: ConfigCall,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    match call {
        ConfigCall::Get(request) => {
            let (app, key) = (request.app.clone(), request.key.clone());
            let entries = read(client.config_get(request)).await?.entries;
            if entries.is_empty() && key.contains('.') {
                return Err(Failure::Refused(format!(
                    "{app} has no configuration entry {}",
                    printable(&key)
                )));
            }
            out.list("config", &entries)
        }
        ConfigCall::Set(request) => {
            let probe = client.clone();
            let entries = request.entries.clone();
            let revision = change(&probe, client.config_set(request)).await?.revision;
            let result = |entry| ConfigResult { entry, revision };
            let results: Vec<ConfigResult> = entries.into_iter().map(result).collect();
            out.list("config", &results)
        }
    }
}

/// Tables of a configuration file, in each keys with their values.
type Tables = BTreeMap<String, BTreeMap<String, Value>>;

/// Reads the entries of a configuration file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<ConfigEntry>, Failure> {
    let wrong = |why: String| Failure::Usage(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let is_json = path
        .extension()
        .is_some_and(|extension| extension == "json");
    entries(&text, is_json).map_err(wrong)
}

fn entries(text: &str, is_json: bool) -> Result<Vec<ConfigEntry>, String> {
    let tables: Tables = match is_json {
        true => serde_json::from_str(text).map_err(|error| error.to_string())?,
        false => toml::from_str(text).map_err(|error| error.to_string())?,
    };
    let rows = tables.into_iter().flat_map(|(table, rows)| {
        let entry = move |(key, value): (String, Value)| ConfigEntry {
            key: format!("{table}.{key}"),
            value: value.to_string(),
        };
        rows.into_iter().map(entry)
    });
    let entries: Vec<ConfigEntry> = rows.collect();
    match entries.is_empty() {
        true => Err("there are no entries in it; write [TABLE], and KEY = VALUE below it".into()),
        false => Ok(entries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_tables_with_keys_and_values() {
        let toml = "[weights]\n\"1/2\" = 5\n[names]\na = \"b\"\nlist = [1, true]\n";
        let json = r#"{"weights": {"1/2": 5}, "names": {"a": "b", "list": [1, true]}}"#;
        let expected = [
            ("names.a", "\"b\""),
            ("names.list", "[1,true]"),
            ("weights.1/2", "5"),
        ];
        for (text, is_json) in [(toml, false), (json, true)] {
            let entries = entries(text, is_json).unwrap();
            let entries: Vec<_> = entries.iter().map(|e| (&*e.key, &*e.value)).collect();
            assert_eq!(entries, expected, "{text}");
        }
        assert!(entries("weights = 5", false).unwrap_err().contains("map"));
        assert!(entries("", false).unwrap_err().contains("no entries"));
        assert!(entries("{", true).unwrap_err().contains("EOF"));
    }
}
