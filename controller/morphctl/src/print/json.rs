//! The JSON form: the API's messages under their own field names.
//!
//! Every field is named here, and a field that is missing does not compile: what the API says, scripts can read.

use morph_api::management::{
    App, CleanedRules, ConfigEntry, Flow, Host, Link, LogLine, Migration, MigrationLoss,
    PastUpgrade, PlannedUpgrade, Port, QuarantinedEvent, Release, StoreChange, StoreFinding,
    StoreKeyspace, StoreRow, StoreStats, Switch, UpgradeStatus,
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::rows::{Installed, Kept, Quarantined, Removed, Stopped, TableChange, Written};
use super::status::name_in_api;
use crate::decode;

/// Something with fields.
pub(crate) trait Object {
    /// Writes them, in the order of the API.
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error>;
}

/// `{NOUN: [...]}`, and whether more would follow.
pub(crate) struct List<'a, T> {
    noun: &'a str,
    rows: &'a [T],
    more: Option<bool>,
}

impl<'a, T: Object> List<'a, T> {
    /// All there is.
    pub(crate) fn of(noun: &'a str, rows: &'a [T]) -> Self {
        let more = None;
        List { noun, rows, more }
    }

    /// What a limit left.
    pub(crate) fn part(noun: &'a str, rows: &'a [T], more: bool) -> Self {
        let more = Some(more);
        List { noun, rows, more }
    }
}

impl<T: Object> Serialize for List<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows: Vec<Row<'_, T>> = self.rows.iter().map(Row).collect();
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry(self.noun, &rows)?;
        if let Some(more) = self.more {
            object.serialize_entry("more", &more)?;
        }
        object.end()
    }
}

struct Row<'a, T>(&'a T);

impl<T: Object> Serialize for Row<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        self.0.fields(&mut object)?;
        object.end()
    }
}

/// For each message its fields, each with the function that makes it JSON where it is not its own.
macro_rules! objects {
    ($($message:ident { $($field:ident $(as $with:ident)?),+ $(,)? })+) => { $(
        impl Object for $message {
            fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
                let $message { $($field),+ } = self;
                $(object.serialize_entry(
                    stringify!($field).trim_start_matches("r#"),
                    &objects!(@value $field $($with)?),
                )?;)+
                Ok(())
            }
        }
    )+ };
    (@value $field:ident) => { $field };
    (@value $field:ident $with:ident) => { $with($field) };
}

objects! {
    App {
        name, id, release, status, epoch, pid, backlog, rate, restarts, lost, events, flow_mods, group_mods, meter_mods,
        packet_outs, instance, quarantined, trouble,
    }
    Release { app, version, status, digest, schema, installed_unix_ms }
    UpgradeStatus {
        app, from, to, step as named, unix_ms, since_start_us, message, id, handover_us, events_held, events_replayed,
        rules_added, rules_changed, rules_removed, rules_unchanged, back_handover_us, by, groups_checked,
        groups_lossy, losses, with,
    }
    PastUpgrade {
        app, from, to, step as named, who, started_unix_ms, ended_unix_ms, took_us, by, message, handover_us, back_handover_us,
        events_held, events_replayed, rules_added, rules_changed, rules_removed, rules_unchanged, id, with,
    }
    PlannedUpgrade {
        app, from, to, mode, old_schema, new_schema, keys, readers, tables, switches, rules, deadlines, steps, refused,
    }
    QuarantinedEvent {
        id, app, release, dpid, unix_ms, seq, how, deaths, kind, message as hex, count, attempts, state,
    }
    LogLine { line }
    Switch {
        dpid, remote, openflow, tables, ports, manufacturer, software, description, connected_ms, disconnects,
        messages_in, messages_out, errors, role,
    }
    Port {
        number, name, hw_addr, state, rx_packets, tx_packets, rx_bytes, tx_bytes, rx_dropped, tx_dropped, rx_errors,
        tx_errors,
    }
    Flow {
        app, table, priority, cookie, r#match, instructions, idle_timeout, hard_timeout, packets, bytes, duration_s, epoch,
    }
    CleanedRules { app, rules, comes_back }
    Link { from_dpid, from_port, to_dpid, to_port }
    Host { mac, dpid, port, ips }
    ConfigEntry { key, value as document }
    StoreRow { table, key, value as document, revision }
    StoreKeyspace { app, id, schema, role, watermark, modified, keys, owner }
    StoreStats {
        version, backend, trouble, format, incarnation, revision, durable, apps, keyspaces, keys, checkpoints, leases, watches,
    }
    StoreChange { revision, table, key, value as document, deleted, by }
    StoreFinding { place, message }
    Kept { file, revision, rows, bytes }
    Migration {
        app, keyspace, from_schema, to_schema, status, instance, groups, groups_total, rows, source_rows, watermark, lag, complete,
        lossy, losses as objects, error, readers, unix_ms,
    }
    MigrationLoss { group, row, before as document, after as document, error }
}

/// A step by its name in the API, as grpcurl prints it.
fn named(step: &i32) -> String {
    name_in_api(*step)
}

/// Objects within an object.
fn objects<T: Object>(rows: &[T]) -> Vec<Row<'_, T>> {
    rows.iter().map(Row).collect()
}

/// A stored value as what it is; nothing where there is none; text where it is not JSON after all.
fn document(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// Bytes as `morphctl decode` takes them.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Object for Quarantined {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        self.0.fields(object)?;
        object.serialize_entry("decoded", &decode::value(&self.0.message))
    }
}

impl Object for Installed {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        self.release.fields(object)?;
        object.serialize_entry("already", &self.already)
    }
}

impl Object for Stopped {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        object.serialize_entry("name", &self.name)?;
        object.serialize_entry("status", "stopped")
    }
}

impl Object for Removed {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        object.serialize_entry("name", &self.name)?;
        object.serialize_entry("status", "removed")?;
        object.serialize_entry("switches", &self.switches)
    }
}

impl Object for TableChange {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        object.serialize_entry("table", &self.table)?;
        object.serialize_entry("change", self.change)?;
        for (side, table) in [("old", &self.old), ("new", &self.new)] {
            let side_of = table.as_ref().map(|table| {
                serde_json::json!({ "key": table.key, "value": table.value, "shape": table.shape })
            });
            object.serialize_entry(side, &side_of)?;
        }
        Ok(())
    }
}

impl Object for Written {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        self.entry.fields(object)?;
        object.serialize_entry("revision", &self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Object>(list: &List<'_, T>) -> String {
        serde_json::to_string(list).unwrap()
    }

    #[test]
    fn fields_keep_their_names_order_and_types() {
        let flow = Flow {
            app: "router".into(),
            r#match: "eth_dst=1".into(),
            packets: u64::MAX,
            duration_s: 1.5,
            ..Flow::default()
        };
        let expected = "{\"flows\":[{\"app\":\"router\",\"table\":0,\"priority\":0,\"cookie\":\"\",\"match\":\"eth_dst=1\",\
            \"instructions\":\"\",\"idle_timeout\":0,\"hard_timeout\":0,\"packets\":18446744073709551615,\"bytes\":0,\
            \"duration_s\":1.5,\"epoch\":0}]}";
        assert_eq!(text(&List::of("flows", &[flow])), expected);
    }

    #[test]
    fn values_are_documents() {
        let entry = |value: &str| ConfigEntry {
            key: "k".into(),
            value: value.into(),
        };
        let entries = [
            entry("5"),
            entry(""),
            entry("{\"a\":[1]}"),
            entry("not json"),
        ];
        let expected = "{\"config\":[{\"key\":\"k\",\"value\":5},{\"key\":\"k\",\"value\":null},\
            {\"key\":\"k\",\"value\":{\"a\":[1]}},{\"key\":\"k\",\"value\":\"not json\"}],\"more\":true}";
        assert_eq!(text(&List::part("config", &entries, true)), expected);
    }
}
