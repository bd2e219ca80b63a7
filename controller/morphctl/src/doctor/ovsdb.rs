//! Tables of Open vSwitch's database, in the format of `ovs-vsctl --format=json list TABLE` (RFC 7047, section 5.1).

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

/// Deadline of one run of ovs-vsctl.
const OVS_VSCTL_DEADLINE: Duration = Duration::from_secs(5);

/// Reason why a table could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TableError {
    NotInstalled,
    Failed(String),
}

/// Row of a table, by column.
#[derive(Debug, Default)]
pub(super) struct Row(BTreeMap<String, Value>);

impl Row {
    /// Value of a column that is text, a number, or a set with at most one of these; empty if there is none.
    pub(super) fn text(&self, column: &str) -> String {
        self.list(column).into_iter().next().unwrap_or_default()
    }

    /// Value of a Boolean column.
    pub(super) fn is(&self, column: &str) -> bool {
        self.0.get(column) == Some(&Value::Bool(true))
    }

    /// Members of a column that is a set.
    pub(super) fn list(&self, column: &str) -> Vec<String> {
        let Some(value) = self.0.get(column) else {
            return Vec::new();
        };
        match tagged(value) {
            Some(("set", Value::Array(members))) => members.iter().map(plain).collect(),
            _ => vec![plain(value)],
        }
    }

    /// Value of a key in a column that is a map.
    pub(super) fn entry(&self, column: &str, key: &str) -> Option<String> {
        let (_, pairs) = tagged(self.0.get(column)?).filter(|(tag, _)| *tag == "map")?;
        let mut pairs = pairs.as_array()?.iter().filter_map(Value::as_array);
        let pair = pairs.find(|pair| pair.first().is_some_and(|first| first == key))?;
        pair.get(1).map(plain)
    }
}

/// Splits `["set", [...]]`, `["map", [...]]` and `["uuid", "..."]` into the tag and the value.
fn tagged(value: &Value) -> Option<(&str, &Value)> {
    match value.as_array()?.as_slice() {
        [tag, rest] => Some((tag.as_str()?, rest)),
        _ => None,
    }
}

fn plain(value: &Value) -> String {
    match (tagged(value), value) {
        (Some(("uuid", Value::String(id))), _) | (_, Value::String(id)) => id.clone(),
        (_, other) => other.to_string(),
    }
}

/// Reads all rows of a table.
pub(super) async fn list(db: Option<&str>, table: &str) -> Result<Vec<Row>, TableError> {
    let mut command = tokio::process::Command::new("ovs-vsctl");
    command.args(["--timeout=3", "--format=json"]);
    if let Some(db) = db {
        command.arg(format!("--db={db}"));
    }
    command.args(["list", table]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(OVS_VSCTL_DEADLINE, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(TableError::NotInstalled);
        }
        Ok(Err(error)) => return Err(TableError::Failed(error.to_string())),
        Err(_) => {
            return Err(TableError::Failed(format!(
                "ovs-vsctl does not answer within {} s",
                OVS_VSCTL_DEADLINE.as_secs()
            )));
        }
    };
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let last = message.lines().last().unwrap_or("ovs-vsctl failed");
        return Err(TableError::Failed(last.to_owned()));
    }
    read(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| {
        TableError::Failed(format!(
            "cannot parse the output of ovs-vsctl for the table {table}"
        ))
    })
}

/// Parses `{"headings": [...], "data": [[...], ...]}`; ovs-vsctl prints nothing for a table without rows.
pub(super) fn read(text: &str) -> Option<Vec<Row>> {
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    let document: Value = serde_json::from_str(text).ok()?;
    let headings: Vec<&str> = document["headings"]
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let row = |cells: &Value| {
        let cells = cells.as_array()?.iter().cloned();
        let columns = headings.iter().map(|heading| (*heading).to_owned());
        Some(Row(columns.zip(cells).collect()))
    };
    document["data"].as_array()?.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_parsed_and_anything_else_is_refused() {
        let text = r#"{"headings": ["_uuid", "name", "protocols", "fail_mode", "up", "other_config"], "data": [
            [["uuid", "a1"], "br0", ["set", ["OpenFlow10", "OpenFlow13"]], ["set", []], true,
             ["map", [["datapath-id", "01"], ["n", "2"]]]],
            [["uuid", "a2"], "br1", "OpenFlow13", "secure", false, ["map", []]]]}"#;
        let rows = read(text).unwrap();
        let [first, second] = rows.as_slice() else {
            panic!("{rows:?}");
        };
        assert_eq!(first.text("_uuid"), "a1");
        assert_eq!(first.list("protocols"), ["OpenFlow10", "OpenFlow13"]);
        assert_eq!(
            (first.text("fail_mode").as_str(), first.is("up")),
            ("", true)
        );
        assert_eq!(first.entry("other_config", "n").as_deref(), Some("2"));
        assert_eq!(second.list("protocols"), ["OpenFlow13"]);
        assert_eq!(second.entry("other_config", "n"), None);
        assert!(second.text("absent").is_empty());
        assert!(read("").unwrap().is_empty());
        for wrong in ["{", "{}", "[]", r#"{"headings": [], "data": [1]}"#] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }
}
