//! Entries of an app's configuration: `TABLE.KEY`, with a JSON value.

use std::str::FromStr;

use morph_openflow::Dpid;

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

/// A value must be a JSON document.
pub(super) fn check_value(text: &str) -> Result<(), String> {
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
    parsed
        .map(drop)
        .map_err(|error| format!("{text:?} is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
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
        assert!(check_value("5").is_ok());
        assert!(check_value("{").unwrap_err().contains("is not JSON"));
    }
}
