//! Table output: a header and one line for each row, without frames and colours. An empty cell is `-`, so that awk counts
//! columns correctly. Free text stands last.

use comfy_table::{CellAlignment, Table, presets};
use morph_api::description::{TableDiff, TableShape};
use morph_api::management::{
    Alarm, App, CleanedRules, ConfigEntry, Flow, Host, Link, Migration, PastUpgrade, PipelineApp,
    PlannedUpgrade, Port, Release, StoreFinding, StoreKeyspace, StoreRow, StoreStats, Switch,
    ToldApp, UpgradeStatus,
};

use super::escape::printable;
use super::rows::{
    BackupResult, ConfigResult, InstallResult, QuarantineRow, RemoveResult, StopResult,
};
use super::status::{milliseconds, rules, step_word};
use super::time::utc;

/// Row that can be printed in a table.
pub(crate) trait Cells {
    /// Names of the columns; a leading `>` aligns the column to the right.
    const HEADER: &'static [&'static str];
    /// Texts of the cells, as many as the header has names.
    fn cells(&self) -> Vec<String>;
}

/// Formats the whole table, with its header even if it has no rows.
pub(crate) fn render<T: Cells>(rows: &[T]) -> String {
    let names = T::HEADER.iter().map(|name| name.trim_start_matches('>'));
    let mut lines = vec![names.map(str::to_owned).collect::<Vec<_>>()];
    lines.extend(
        rows.iter()
            .map(|row| row.cells().iter().map(|text| cell(text)).collect()),
    );
    // The last column is appended afterwards: it may hold a whole document, and comfy-table counts widths in 16 bits.
    let last: Vec<String> = lines.iter_mut().filter_map(Vec::pop).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).add_rows(lines);
    for (column, name) in table.column_iter_mut().zip(T::HEADER) {
        column.set_padding((0, 2));
        if name.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // A table of one column has no lines of its own.
    let lines = table.lines().chain(std::iter::repeat(String::new()));
    let joined = lines.zip(last);
    joined
        .map(|(line, last)| format!("{}\n", format!("{line}{last}").trim_end()))
        .collect()
}

fn cell(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => printable(text).into_owned(),
    }
}

/// Leaves the cell empty for 0, the API's "none".
fn nonzero(number: u64) -> String {
    match number {
        0 => String::new(),
        number => number.to_string(),
    }
}

/// Formats the time of a hand-over, if there was one.
fn handover(us: u64) -> String {
    match us {
        0 => String::new(),
        us => milliseconds(us),
    }
}

/// Names the switch that floods an overloaded app, and its part of the packet-ins that wait.
fn flooded_by(app: &App) -> String {
    match app.flooding.as_str() {
        "" => String::new(),
        dpid => format!("{dpid}({}%)", app.flooding_percent),
    }
}

/// Names the switch, the port and the host that an alarm concerns, as one word.
pub(crate) fn place(alarm: &Alarm) -> String {
    let port = nonzero(alarm.port.into());
    let parts = [&alarm.dpid, &port, &alarm.host];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.cloned().collect::<Vec<_>>().join("/")
}

/// Formats the types of a table as one word.
fn types(table: Option<&TableShape>) -> String {
    let types = table.map(|table| format!("{}->{}", table.key, table.value));
    types.unwrap_or_default().replace(' ', "")
}

/// Describes the error of a migration, or else the first row that a rollback would lose.
fn first_loss(shadow: &Migration) -> String {
    let Some(loss) = shadow.losses.first().filter(|_| shadow.error.is_empty()) else {
        return shadow.error.clone();
    };
    let or_none = |text: &str| match text {
        "" => "no row".to_owned(),
        text => text.to_owned(),
    };
    match loss.error.as_str() {
        "" => {
            let (before, after) = (or_none(&loss.before), or_none(&loss.after));
            format!("{}: {before} comes back as {after}", loss.row)
        }
        error => error.to_owned(),
    }
}

/// Lists the columns of each message, each with the expression that makes its cell.
macro_rules! tables {
    ($($message:ty = |$row:ident| { $($name:literal: $cell:expr),+ $(,)? })+) => { $(
        impl Cells for $message {
            const HEADER: &'static [&'static str] = &[$($name),+];
            fn cells(&self) -> Vec<String> {
                let $row = self;
                vec![$($cell.to_string()),+]
            }
        }
    )+ };
}

tables! {
    App = |app| {
        "NAME": app.name, "RELEASE": app.release, "STATUS": app.status, ">EPOCH": app.epoch,
        ">PID": nonzero(app.pid.into()), ">BACKLOG": app.backlog, ">RATE": format!("{:.1}", app.rate),
        ">ANSWERED": app.answered, ">DROPPED": app.lost, ">P50_MS": milliseconds(app.delay_p50_us),
        ">P99_MS": milliseconds(app.delay_p99_us), "FLOODED_BY": flooded_by(app), ">QUARANTINED": app.quarantined,
        "TROUBLE": app.trouble,
    }
    PipelineApp = |app| {
        "APP": app.app, ">FIRST": app.first_table, ">TABLES": app.tables, ">EXIT": app.exit_table, ">NEEDS": app.needs,
        ">SECOND": nonzero(app.second_table.into()), "AFTER": app.after.join(","),
    }
    Release = |release| {
        "APP": release.app, "VERSION": release.version, "STATUS": release.status, ">SCHEMA": release.schema,
        "INSTALLED": utc(release.installed_unix_ms), "DIGEST": release.digest,
    }
    InstallResult = |result| {
        "APP": result.release.app, "VERSION": result.release.version, "STATUS": result.release.status,
        ">SCHEMA": result.release.schema, "NEW": if result.already { "no" } else { "yes" }, "DIGEST": result.release.digest,
    }
    StoreStats = |stats| {
        ">REVISION": stats.revision, ">DURABLE": stats.durable, ">INCARNATION": stats.incarnation, ">FORMAT": stats.format,
        ">APPS": stats.apps, ">KEYSPACES": stats.keyspaces, ">KEYS": stats.keys, ">CHECKPOINTS": stats.checkpoints, ">LEASES": stats.leases,
        ">WATCHES": stats.watches, "BACKEND": stats.backend, "TROUBLE": stats.trouble,
    }
    QuarantineRow = |row| {
        "ID": row.0.id, "APP": row.0.app, "RELEASE": row.0.release, "DPID": row.0.dpid, "TIME": utc(row.0.unix_ms),
        "SEQ": row.0.seq, ">DEATHS": row.0.deaths, ">TRIES": row.0.attempts, "STATE": row.0.state, "EVENT": row.summary(),
        "DIED": row.0.how,
    }
    Alarm = |alarm| {
        "SINCE": utc(alarm.since_unix_ms), "APP": alarm.app, "KIND": alarm.kind, "WHERE": place(alarm), "WHAT": alarm.text,
        "MEND": alarm.mend,
    }
    StoreFinding = |finding| { "PLACE": finding.place, "MESSAGE": finding.message }
    BackupResult = |backup| { ">REVISION": backup.revision, ">ROWS": backup.rows, ">BYTES": backup.bytes, "FILE": backup.file }
    StopResult = |result| { "NAME": result.name, "STATUS": "stopped" }
    RemoveResult = |result| { "NAME": result.name, "STATUS": "removed", "SWITCHES": result.switches }
    UpgradeStatus = |status| {
        "APP": status.app, "FROM": status.from, "TO": status.to, "STEP": step_word(status.step), "TIME": utc(status.unix_ms),
        ">HANDOVER_MS": handover(status.handover_us),
        ">HELD": status.events_held, ">REPLAYED": status.events_replayed, "RULES": rules(status), "BY": status.by,
        "MESSAGE": status.message,
    }
    PastUpgrade = |past| {
        "ENDED": utc(past.ended_unix_ms), "APP": past.app, "FROM": past.from, "TO": past.to, "OUTCOME": step_word(past.step),
        "WHO": past.who.replace(' ', ""), "BY": past.by,
        ">HANDOVER_MS": handover(past.handover_us),
        ">HELD": past.events_held, ">REPLAYED": past.events_replayed,
        "RULES": format!("+{},~{},-{}", past.rules_added, past.rules_changed, past.rules_removed),
        "MESSAGE": past.message,
    }
    PlannedUpgrade = |plan| {
        "APP": plan.app, "FROM": plan.from, "TO": plan.to, "MODE": plan.mode,
        "SCHEMA": format!("{}->{}", plan.old_schema, plan.new_schema), ">KEYS": plan.keys,
        "READERS": plan.readers.join(","), "TABLES": plan.tables, ">SWITCHES": plan.switches.len(), ">RULES": plan.rules,
        "STEPS": plan.steps.join("; "),
    }
    Switch = |switch| {
        "DPID": switch.dpid, "REMOTE": switch.remote, "OPENFLOW": switch.openflow, ">TABLES": switch.tables,
        ">PORTS": switch.ports, ">CONNECTED_S": switch.connected_ms / 1000, ">DISCONNECTS": switch.disconnects,
        ">IN": switch.messages_in, ">OUT": switch.messages_out, ">ERRORS": switch.errors, "ROLE": switch.role,
        "REFUSES": switch.refuses.join(","), "SOFTWARE": switch.software,
    }
    Port = |port| {
        ">PORT": port.number, "NAME": port.name, "HW_ADDR": port.hw_addr, "STATE": port.state,
        ">RX_PACKETS": port.rx_packets, ">TX_PACKETS": port.tx_packets, ">RX_BYTES": port.rx_bytes,
        ">TX_BYTES": port.tx_bytes, ">RX_DROPPED": port.rx_dropped, ">TX_DROPPED": port.tx_dropped,
        ">RX_ERRORS": port.rx_errors, ">TX_ERRORS": port.tx_errors,
    }
    Flow = |flow| {
        "APP": flow.app, ">TABLE": flow.table, ">PRIORITY": flow.priority, "COOKIE": flow.cookie,
        ">EPOCH": flow.epoch, ">PACKETS": flow.packets, ">BYTES": flow.bytes,
        ">DURATION_S": format!("{:.3}", flow.duration_s), ">IDLE": flow.idle_timeout, ">HARD": flow.hard_timeout,
        "MATCH": flow.r#match, "INSTRUCTIONS": flow.instructions,
    }
    CleanedRules = |rules| {
        "APP": rules.app, ">DELETED": rules.rules, "THEN": if rules.comes_back { "put back" } else { "gone" },
    }
    ToldApp = |told| { "FORGOTTEN_BY": told.app }
    Link = |link| {
        "FROM_DPID": link.from_dpid, ">FROM_PORT": link.from_port, "TO_DPID": link.to_dpid, ">TO_PORT": link.to_port,
    }
    Host = |host| { "MAC": host.mac, ">VLAN": nonzero(host.vlan.into()), "DPID": host.dpid, ">PORT": host.port, "IPS": host.ips.join(",") }
    ConfigEntry = |entry| { "KEY": entry.key, "VALUE": entry.value }
    ConfigResult = |result| { ">REVISION": result.revision, "KEY": result.entry.key, "VALUE": result.entry.value }
    TableDiff = |table| {
        "TABLE": table.table, "CHANGE": table.change.word(), "OLD": types(table.old.as_ref()), "NEW": types(table.new.as_ref()),
    }
    StoreRow = |row| { "TABLE": row.table, "KEY": row.key, ">REVISION": row.revision, "VALUE": row.value }
    StoreKeyspace = |keyspace| {
        "APP": keyspace.app, ">KEYSPACE": keyspace.id, ">SCHEMA": keyspace.schema, "ROLE": keyspace.role, ">WATERMARK": keyspace.watermark,
        ">MODIFIED": keyspace.modified, ">KEYS": keyspace.keys, "OWNER": keyspace.owner,
    }
    Migration = |shadow| {
        "APP": shadow.app, ">KEYSPACE": shadow.keyspace, ">FROM": nonzero(shadow.from_schema.into()), ">TO": shadow.to_schema,
        "STATUS": shadow.status, "GROUPS": format!("{}/{}", shadow.groups, shadow.groups_total), ">ROWS": shadow.rows,
        ">WATERMARK": shadow.watermark, ">LAG": shadow.lag, ">LOSSY": shadow.lossy, "READERS": shadow.readers.join(","),
        "INSTANCE": shadow.instance, "MESSAGE": first_loss(shadow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_and_empty_cells_are_marked() {
        let host = |mac: &str, vlan, port, ips: &[&str]| Host {
            mac: mac.into(),
            vlan,
            dpid: "1".into(),
            port,
            ips: ips.iter().map(ToString::to_string).collect(),
        };
        let hosts = [
            host("a", 0, 7, &["10.0.0.1", "::1"]),
            host("bb", 10, 12345, &[]),
        ];
        let expected = "MAC  VLAN  DPID   PORT  IPS\n\
                        a       -  1         7  10.0.0.1,::1\n\
                        bb     10  1     12345  -\n";
        assert_eq!(render(&hosts), expected);
        assert_eq!(render::<Host>(&[]), "MAC  VLAN  DPID  PORT  IPS\n");
    }

    #[test]
    fn a_long_document_stays_on_its_line() {
        let row = StoreRow {
            table: "t".into(),
            key: "a\nb".into(),
            value: "x".repeat(200_000),
            revision: 1,
        };
        let text = render(&[row]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("a\\nb") && text.len() > 200_000);
    }
}
