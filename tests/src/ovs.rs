//! A private Open vSwitch: its own database, daemon and directory.

use crate::flows::{Flow, read_flow};
use crate::sandbox::{Sandbox, run};
use crate::wait::wait_until;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// ovsdb-server and ovs-vswitchd of one sandbox.
pub struct Ovs {
    dir: PathBuf,
    _daemons: Option<[Child; 2]>,
}

/// Controller row of a bridge in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerRow {
    pub connected: bool,
    /// Seconds since the channel came up. Open vSwitch updates it every five seconds.
    pub since_connect: Option<u64>,
}

impl Ovs {
    /// Placeholder for a lab without real switches. Every command on it fails.
    pub(crate) fn absent(sandbox: &Sandbox) -> Self {
        let dir = sandbox.dir().join("ovs");
        Self {
            dir,
            _daemons: None,
        }
    }

    /// Starts ovsdb-server and ovs-vswitchd.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let dir = sandbox.dir().join("ovs");
        fs::create_dir(&dir)?;
        let database = dir.join("conf.db");
        run(Command::new("ovsdb-tool")
            .arg("create")
            .arg(&database)
            .arg(SCHEMA))?;
        let socket = dir.join("db.sock");
        let mut server = sandbox.command("ovsdb-server");
        own_directories(&mut server, &dir).arg(&database);
        server.arg(format!("--remote=punix:{}", socket.display()));
        let server = sandbox.daemon("ovsdb-server", daemon_flags(&mut server))?;
        wait_until("ovsdb-server listens", Duration::from_secs(10), || {
            Ok(socket.exists().then_some(()))
        })?;
        // A user-space switch loses packets when it waits for a processor.
        let mut switch = sandbox.command("nice");
        switch.args(["-n", "-10", "ovs-vswitchd"]);
        own_directories(&mut switch, &dir).arg(format!("unix:{}", socket.display()));
        let switch = sandbox.daemon("ovs-vswitchd", daemon_flags(&mut switch))?;
        let ovs = Self {
            dir,
            _daemons: Some([server, switch]),
        };
        ovs.vsctl(&["--no-wait", "init"])?;
        Ok(ovs)
    }

    /// Runs ovs-vsctl on this database.
    pub fn vsctl(&self, args: &[&str]) -> Result<String> {
        let database = format!("--db=unix:{}", self.dir.join("db.sock").display());
        run(Command::new("ovs-vsctl")
            .args(["-t", "30", &database])
            .args(args))
    }

    /// Socket by which ovs-ofctl (also `snoop`) reaches a bridge.
    pub fn management(&self, bridge: &str) -> String {
        format!("unix:{}", self.dir.join(format!("{bridge}.mgmt")).display())
    }

    /// Runs `ovs-ofctl VERB` on a bridge, in the highest OpenFlow version that the bridge and Morpheus share.
    pub fn ofctl(&self, verb: &str, bridge: &str, args: &[&str]) -> Result<String> {
        let target = self.management(bridge);
        run(Command::new("ovs-ofctl")
            .args(["-O", "OpenFlow10,OpenFlow13", verb, &target])
            .args(args))
    }

    /// Runs a command of ovs-vswitchd, such as `vlog/set`.
    pub fn appctl(&self, args: &[&str]) -> Result<String> {
        // The pid in the socket's name is one of the sandbox.
        let files = fs::read_dir(&self.dir)?.filter_map(|file| Some(file.ok()?.path()));
        let is_socket = |file: &PathBuf| {
            let name = file.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("ovs-vswitchd.") && name.ends_with(".ctl"))
        };
        let socket = { files }
            .find(is_socket)
            .context("no socket of ovs-vswitchd")?;
        run(Command::new("ovs-appctl").arg("-t").arg(socket).args(args))
    }

    pub fn flows(&self, bridge: &str) -> Result<Vec<Flow>> {
        let dump = self.ofctl("dump-flows", bridge, &[])?;
        dump.lines()
            .filter_map(|line| read_flow(line).transpose())
            .collect()
    }

    pub fn controller(&self, bridge: &str) -> Result<ControllerRow> {
        let id = self.vsctl(&["get", "bridge", bridge, "controller"])?;
        let id = id.trim().trim_matches(['[', ']']);
        let row = self.vsctl(&["get", "controller", id, "is_connected", "status"])?;
        let mut lines = row.lines();
        let connected = lines.next().context("no column is_connected")? == "true";
        let status = map(lines.next().unwrap_or("{}"));
        let since = status.get("sec_since_connect").and_then(|s| s.parse().ok());
        Ok(ControllerRow {
            connected,
            since_connect: since,
        })
    }

    /// Log of ovs-vswitchd so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("ovs-vswitchd.log")).unwrap_or_default()
    }

    /// Number of connection attempts to controllers so far, over all bridges.
    pub fn connects(&self) -> usize {
        self.log()
            .lines()
            .filter(|line| line.contains("connecting..."))
            .count()
    }
}

/// Flags of both daemons. Without `--detach` they stay children of the sandbox.
fn daemon_flags(command: &mut Command) -> &mut Command {
    command.args([
        "--no-chdir",
        "--pidfile",
        "--log-file",
        "-vconsole:off",
        "-vsyslog:off",
    ])
}

fn own_directories<'a>(command: &'a mut Command, dir: &PathBuf) -> &'a mut Command {
    for name in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_SYSCONFDIR", "OVS_LOGDIR"] {
        command.env(name, dir);
    }
    command
}

/// Reads a column of the form `{key=value, key="value"}`.
fn map(text: &str) -> BTreeMap<String, String> {
    let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
    let pairs = inner.split(", ").filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_pairs_is_read() {
        let status = map("{sec_since_connect=\"11\", state=ACTIVE}");
        assert_eq!(status["sec_since_connect"], "11");
        assert_eq!(status["state"], "ACTIVE");
        assert!(map("{}").is_empty());
    }
}
