//! JSON output: the API's messages under their own field names.
//!
//! Every field is named here, and a field that is missing does not compile, so scripts can read all that the API has.

use morph_api::description::TableDiff;
use morph_api::management::{
    Alarm, App, CleanedRules, ConfigEntry, Flow, Host, Link, LogLine, Migration, MigrationLoss,
    PastUpgrade, PipelineApp, PlannedUpgrade, Port, QuarantinedEvent, Release, StoreChange,
    StoreFinding, StoreKeyspace, StoreRow, StoreStats, Switch, ToldApp, UpgradeStatus,
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::rows::{
    BackupResult, ConfigResult, InstallResult, QuarantineRow, RemoveResult, StopResult,
};
use super::status::step_name;
use crate::decode;

/// Row that can be printed as a JSON object.
pub(crate) trait Object {
    /// Writes the fields in the order of the API.
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error>;
}

/// `{KEY: [...]}`, and for a page whether there are more rows.
pub(crate) struct List<'a, T> {
    key: &'a str,
    rows: &'a [T],
    more: Option<bool>,
}

impl<'a, T: Object> List<'a, T> {
    pub(crate) fn whole(key: &'a str, rows: &'a [T]) -> Self {
        let more = None;
        List { key, rows, more }
    }

    pub(crate) fn page(key: &'a str, rows: &'a [T], more: bool) -> Self {
        let more = Some(more);
        List { key, rows, more }
    }
}

impl<T: Object> Serialize for List<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry(self.key, &objects(self.rows))?;
        if let Some(more) = self.more {
            object.serialize_entry("more", &more)?;
        }
        object.end()
    }
}

/// Makes a row serializable.
struct AsObject<'a, T>(&'a T);

impl<T: Object> Serialize for AsObject<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        self.0.fields(&mut object)?;
        object.end()
    }
}

/// Lists the fields of each message, each with the function that turns it into JSON where the value itself is not suitable.
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
        packet_outs, instance, quarantined, trouble, packet_outs_dropped, answered, too_old, delay_p50_us, delay_p99_us,
        target_delay_us, flooding, flooding_percent,
    }
    PipelineApp { app, first_table, tables, exit_table, needs, second_table, after }
    Release { app, version, status, digest, schema, installed_unix_ms }
    UpgradeStatus {
        app, from, to, step as named, unix_ms, since_start_us, message, id, handover_us, events_held, events_replayed,
        rules_added, rules_changed, rules_removed, rules_unchanged, back_handover_us, by, groups_checked,
        groups_lossy, losses, with, events_handled, untested,
    }
    PastUpgrade {
        app, from, to, step as named, who, started_unix_ms, ended_unix_ms, took_us, by, message, handover_us, back_handover_us,
        events_held, events_replayed, rules_added, rules_changed, rules_removed, rules_unchanged, id, with,
        events_handled, untested,
    }
    PlannedUpgrade {
        app, from, to, mode, old_schema, new_schema, keys, readers, tables, switches, rules, deadlines, steps, refused,
    }
    QuarantinedEvent {
        id, app, release, dpid, unix_ms, seq, how, deaths, kind, message as hex, count, attempts, state,
    }
    Alarm { app, kind, dpid, port, host, text, mend, since_unix_ms }
    LogLine { line }
    Switch {
        dpid, remote, openflow, tables, ports, manufacturer, software, description, connected_ms, disconnects,
        messages_in, messages_out, errors, role, refuses,
    }
    Port {
        number, name, hw_addr, state, rx_packets, tx_packets, rx_bytes, tx_bytes, rx_dropped, tx_dropped, rx_errors,
        tx_errors,
    }
    Flow {
        app, table, priority, cookie, r#match, instructions, idle_timeout, hard_timeout, packets, bytes, duration_s, epoch,
    }
    CleanedRules { app, rules, comes_back }
    ToldApp { app }
    Link { from_dpid, from_port, to_dpid, to_port }
    Host { mac, vlan, dpid, port, ips }
    ConfigEntry { key, value as document }
    StoreRow { table, key, value as document, revision }
    StoreKeyspace { app, id, schema, role, watermark, modified, keys, owner }
    StoreStats {
        version, backend, trouble, format, incarnation, revision, durable, apps, keyspaces, keys, checkpoints, leases, watches,
    }
    StoreChange { revision, table, key, value as document, deleted, by }
    StoreFinding { place, message, orphaned }
    BackupResult { file, revision, rows, bytes }
    Migration {
        app, keyspace, from_schema, to_schema, status, instance, groups, groups_total, rows, source_rows, watermark, lag,
        complete, lossy, losses as objects, error, readers, unix_ms,
    }
    MigrationLoss { group, row, before as document, after as document, error }
}

fn named(step: &i32) -> String {
    step_name(*step)
}

fn objects<T: Object>(rows: &[T]) -> Vec<AsObject<'_, T>> {
    rows.iter().map(AsObject).collect()
}

/// Nests a stored value as the JSON that it is: null if it is empty, text if it is not JSON.
fn document(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// Formats bytes so that `morphctl decode` reads them.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Object for QuarantineRow {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        self.0.fields(object)?;
        object.serialize_entry("decoded", &decode::value(&self.0.message))
    }
}

impl Object for InstallResult {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        self.release.fields(object)?;
        object.serialize_entry("already", &self.already)
    }
}

impl Object for StopResult {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        object.serialize_entry("name", &self.name)?;
        object.serialize_entry("status", "stopped")
    }
}

impl Object for RemoveResult {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        object.serialize_entry("name", &self.name)?;
        object.serialize_entry("status", "removed")?;
        object.serialize_entry("switches", &self.switches)
    }
}

impl Object for TableDiff {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        object.serialize_entry("table", &self.table)?;
        object.serialize_entry("change", self.change.word())?;
        for (side, table) in [("old", &self.old), ("new", &self.new)] {
            let shape = table.as_ref().map(|table| {
                serde_json::json!({ "key": table.key, "value": table.value, "shape": table.shape })
            });
            object.serialize_entry(side, &shape)?;
        }
        Ok(())
    }
}

impl Object for ConfigResult {
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
        assert_eq!(text(&List::whole("flows", &[flow])), expected);
    }

    #[test]
    fn values_are_nested_as_json() {
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
        assert_eq!(text(&List::page("config", &entries, true)), expected);
    }
}
