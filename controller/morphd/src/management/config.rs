//! Entries of an app's configuration: `TABLE.KEY`, with a JSON value.

use std::collections::BTreeMap;
use std::str::FromStr;

use morph_api::check::{Check, KeyForm};
use morph_openflow::Dpid;

/// By table.
pub(super) type Checks = BTreeMap<String, Check>;

/// A row of a config table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) table: String,
    pub(super) key: String,
}

/// Reads `TABLE.KEY`; the table must be one of `tables`.
pub(super) fn place(text: &str, app: &str, tables: &[String]) -> Result<Place, String> {
    let shape = || format!("{text:?} is not TABLE.KEY");
    let (table, key) = text.split_once('.').ok_or_else(shape)?;
    if table.is_empty() || key.is_empty() {
        return Err(shape());
    }
    if !tables.iter().any(|known| known == table) {
        return Err(match tables.is_empty() {
            true => format!("{app} has no table that can be configured"),
            false => format!(
                "{app} has no config table {table:?}; it has: {}",
                tables.join(", ")
            ),
        });
    }
    Ok(Place {
        table: table.to_owned(),
        key: normal(key),
    })
}

/// Datapath ids are read in every usual form and stored in one: 16 hex digits.
fn normal(key: &str) -> String {
    match key.split_once('/') {
        Some((first, rest)) => match Dpid::from_str(first) {
            Ok(dpid) => format!("{dpid}/{rest}"),
            Err(_) => key.to_owned(),
        },
        None => key.to_owned(),
    }
}

/// The key and the value of an entry have to be what the manifest says; a value is a JSON document in any case.
pub(super) fn check(place: &Place, value: &str, checks: &Checks) -> Result<(), String> {
    let parsed: serde_json::Value =
        serde_json::from_str(value).map_err(|error| format!("{value:?} is not JSON: {error}"))?;
    let Some(check) = checks.get(&place.table) else {
        return Ok(());
    };
    let Place { table, key } = place;
    let wrong = |form: &str| Err(format!("{table}.{key}: the key is not {form}"));
    match check.key {
        KeyForm::Text => {}
        KeyForm::Dpid if Dpid::from_str(key).is_ok() => {}
        KeyForm::Dpid => return wrong("a datapath id"),
        KeyForm::DpidPort if is_port(key) => {}
        KeyForm::DpidPort => {
            return wrong("DPID/PORT, as in 0000000000000001/2");
        }
    }
    check
        .value(&parsed)
        .map_err(|why| format!("{table}.{key}: {why}"))
}

fn is_port(key: &str) -> bool {
    key.split_once('/').is_some_and(|(dpid, port)| {
        Dpid::from_str(dpid).is_ok() && port.parse::<u32>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use morph_api::check::ValueForm;

    use super::*;

    fn key(text: &str) -> Result<String, String> {
        place(text, "router", &["weights".into()]).map(|place| place.key)
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
    fn what_is_wrong_is_named() {
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
        for (key, value, said) in [
            ("1/2", "5", ""),
            ("1/2", "{", "is not JSON"),
            ("1/2", "0", "a whole number from 1 on"),
            (
                "1/2",
                "\"five\"",
                "weights.0000000000000001/2: \"five\" is not a whole",
            ),
            ("1/0", "5", "not DPID/PORT"),
            ("1", "5", "not DPID/PORT"),
            ("s1/eth0", "5", "weights.s1/eth0: the key is not DPID/PORT"),
        ] {
            let place = place(&format!("weights.{key}"), "router", &["weights".into()]).unwrap();
            let found = check(&place, value, &checks).err().unwrap_or_default();
            let fine = said.is_empty() == found.is_empty();
            assert!(fine && found.contains(said), "{key}={value}: {found}");
        }
    }
}
