//! Command line: verbs, options and their `--help`, turned into a [`Command`]. Scripts depend on it: only add to it.

mod meaning;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::argument::{
    self, AppArgument, EntryArgument, EventArgument, PlaceArgument, ReleaseArgument,
};
use crate::command::{Command, Format};
use crate::endpoint::Endpoint;

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  refused, nothing was changed
  2  wrong usage
  3  morphd cannot be reached, or denies access (the message says how to fix it)
  4  tried and rolled back, automatically or by an operator
  5  outcome unknown: morphd was lost during the command, or Ctrl-C detached from an operation that continues

JSON (--output json): one object on one line, with a list under the noun of the verb: {\"apps\": [{\"name\": ...}]}. Keys
are in snake_case, numbers are numbers, datapath ids and the like are strings. The nouns are those of the verbs: apps,
releases (also for `app install`), pipeline, logs, events, alarms, switches, ports, flows, topology, hosts, config, store, migrations,
schema, stats, changes (`store watch`, one object for each change), findings (`store check`), backups. `app
start|stop|remove` print apps, `switch clean` cleaned, `switch forget` forgotten, `doctor` checks, `decode` messages, `upgrade --dry-run` plan;
`upgrade`, `commit`, `rollback` and `status` print upgrades. `upgrade` and `status --follow` print an object with one
status for each status, on a line of its own; `logs --follow` does so for each line.";

pub(crate) struct CommandLine {
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) format: Format,
    pub(crate) command: Command,
}

/// Parses the process's arguments. The error also carries `--help` and `--version`.
pub(crate) fn parse() -> Result<CommandLine, clap::Error> {
    Cli::try_parse().map(Cli::into_command_line)
}

/// Shows and controls Morpheus: apps, upgrades, switches, configuration and state.
#[derive(Debug, Parser)]
#[command(name = "morphctl", version, after_help = AFTER_HELP)]
struct Cli {
    /// Address of morphd: unix:PATH or http://HOST:PORT. Default: $MORPH_ENDPOINT, else the socket api.sock in the user's
    /// run directory ($XDG_RUNTIME_DIR/morpheus or /tmp/morpheus-UID), else /run/morpheus/api.sock
    #[arg(
        long,
        global = true,
        value_name = "URI",
        help_heading = "Common options"
    )]
    endpoint: Option<Endpoint>,
    /// Format of the output
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        help_heading = "Common options",
        default_value = "table"
    )]
    output: Format,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists the apps: release, status, epoch, process, backlog, rate of events, events in quarantine
    Apps,
    /// Lists the installed releases, and which of them are staged, current, permanent or old
    Releases {
        /// Show only the releases of this app
        #[arg(value_name = "app=NAME")]
        app: Option<AppArgument>,
    },
    /// Installs a release; starts, stops and removes an app
    #[command(subcommand)]
    App(AppVerb),
    /// Lists the apps in the order in which packets pass them, with their tables; `move` changes the order
    ///
    /// NEEDS is the number of tables that a switch must have for the app and those before it. SECOND is filled while an app is moved.
    Pipeline {
        #[command(subcommand)]
        verb: Option<PipelineVerb>,
    },
    /// Prints the lines that an app's instances wrote on standard error
    Logs {
        /// Name of the app; morph-proxy and morph-stored have logs too
        #[arg(value_name = "app=NAME")]
        app: AppArgument,
        /// Number of lines from the end
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), default_value_t = 200)]
        tail: u32,
        /// Print every later line too, of all instances, until Ctrl-C
        #[arg(long)]
        follow: bool,
    },
    /// Replaces an app's release while the network runs; returns when the upgrade is committed or rolled back
    ///
    /// Several apps are upgraded as a group: all targets are ready before any source is held, then all hand over, their first
    /// rule changes are sent together, and if one fails, all are rolled back.
    ///
    /// Prints each status when it has become true, with its time. The upgrade is committed when the probation ends;
    /// `morphctl commit` commits it at once, `morphctl rollback` takes it back. Ctrl-C detaches: the upgrade continues.
    Upgrade(UpgradeArguments),
    /// Ends the probation of an upgrade now: the new release becomes permanent
    Commit {
        /// Name of the app
        #[arg(value_name = "app=NAME")]
        app: AppArgument,
    },
    /// Takes an upgrade back, until it is committed
    Rollback {
        /// Name of the app
        #[arg(value_name = "app=NAME")]
        app: AppArgument,
    },
    /// Lists the upgrades that have ended, oldest first: by whom, when, from, to, how they ended, and what they cost
    Upgrades {
        /// Show only the upgrades of this app
        #[arg(value_name = "app=NAME")]
        app: Option<AppArgument>,
        /// Show only the newest N [default: all that are kept, 100 for each app]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// Shows the running upgrades and each app's last one
    Status {
        /// Show only the upgrade of this app
        #[arg(value_name = "app=NAME")]
        app: Option<AppArgument>,
        /// Print every later status too, on a line of its own, until Ctrl-C
        #[arg(long)]
        follow: bool,
    },
    /// Shows, retries and drops poison events: they killed their app three times and are in quarantine
    #[command(subcommand)]
    Events(EventsVerb),
    /// Lists the alarms: conditions that last until something is done about them, with what ends each
    ///
    /// Apps raise theirs; Morpheus's own are overload, crash-loop, quarantine, few-tables (a switch that is refused), and slave
    /// (a switch at which it may not write). SINCE is empty where the time is not known.
    Alarms {
        /// Show only the alarms of this app; `morpheus` stands for those that concern no single app
        #[arg(value_name = "app=NAME")]
        app: Option<AppArgument>,
        /// Show only alarms of this kind
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// Show only alarms of this switch, by its datapath id
        #[arg(long, value_name = "DPID", value_parser = argument::dpid)]
        switch: Option<String>,
    },
    /// Lists the connected switches
    Switches,
    /// Cleans a switch, or forgets it
    #[command(subcommand)]
    Switch(SwitchVerb),
    /// Lists the ports of a switch, with their counters
    Ports {
        /// Datapath id, in hex: 0000000000000001, 00:00:00:00:00:00:00:01, of:0000000000000001, 0x1 or 1
        #[arg(value_name = "DPID", value_parser = argument::dpid)]
        dpid: String,
    },
    /// Lists the rules in a switch with the owner of each: an app, morpheus, or foreign
    Flows {
        /// Datapath id, in hex: 0000000000000001, 00:00:00:00:00:00:00:01, of:0000000000000001, 0x1 or 1
        #[arg(value_name = "DPID", value_parser = argument::dpid)]
        dpid: String,
        /// Show only the rules of this app
        #[arg(value_name = "app=NAME")]
        app: Option<AppArgument>,
    },
    /// Checks this machine for everything that would keep a switch from attaching; works without morphd too
    ///
    /// Each check is ok, a warning (a switch attaches all the same) or trouble (it does not attach), with a fix for the last two.
    /// The exit code is 1 if there is trouble. Checked are: morphd, its apps, recently refused switches, ports, directories, disk,
    /// file descriptors, the clock, and the bridges of Open vSwitch on this machine. Each alarm (`morphctl alarms`) is a warning.
    Doctor {
        /// Address that switches are to connect to, as IP:PORT (may be repeated) [default: those that morphd names, else ports
        /// 6653 and 6633]
        #[arg(long, value_name = "ADDR")]
        openflow: Vec<SocketAddr>,
        /// Database of Open vSwitch, as for ovs-vsctl's --db
        #[arg(long, value_name = "SERVER")]
        ovs_db: Option<String>,
    },
    /// Lists the links between switches, each direction separately
    Topology,
    /// Lists the hosts that were learned, and where they are
    Hosts,
    /// Prints OpenFlow messages that are given as bytes; needs no morphd
    ///
    /// Reads hexadecimal digits, dumps with offsets (xxd, hexdump -C, od, ovs-ofctl, Wireshark) and raw bytes, and several
    /// messages in sequence, of OpenFlow 1.0 and 1.3. An error names the field, the byte and the reason; the other messages
    /// are printed all the same.
    Decode {
        /// Digits, a file, or - for standard input, which is the default
        #[arg(value_name = "HEX|FILE|-", num_args = 0..)]
        message: Vec<String>,
    },
    /// Shows and writes an app's configuration, the tables that people may write
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Shows the stored state of the apps; checks, backs up and restores the store
    #[command(subcommand)]
    Store(StoreVerb),
    /// Compares the tables of releases
    #[command(subcommand)]
    Schema(SchemaVerb),
}

#[derive(Debug, Args)]
struct UpgradeArguments {
    /// App and target release, which may be older; without @VERSION the newest staged release
    #[arg(value_name = "app=NAME[@VERSION]", required = true)]
    releases: Vec<ReleaseArgument>,
    /// Time that the source stands by before the commit, with its unit: 500ms, 30s, 5m [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = argument::duration)]
    probation: Option<Duration>,
    /// Roll back automatically unless `morphctl commit` is called within this time; replaces the probation, which ends in a
    /// commit. A restart of morphd does not affect the time; a reboot of the machine starts it anew
    #[arg(long, value_name = "TIME", value_parser = argument::duration, conflicts_with = "probation")]
    confirm_within: Option<Duration>,
    /// Deadline of a step (may be repeated); `[upgrade]` in app.toml sets it for a release, and the defaults are shadow=60s
    /// (without progress), start=20s, probe=2s, quiesce=1s (then the source is treated as crashed), hold=5s (then the proxy
    /// ends the hold), fence=2s, rules=3s (group upgrades only); after any other deadline the upgrade is rolled back
    #[arg(long = "deadline", value_name = "STEP=TIME", value_parser = argument::deadline)]
    deadlines: Vec<(String, Duration)>,
    /// Events that the new release has to handle before its probation ends in a commit. With fewer it lasts up to three times as long,
    /// and is then committed as untested, with an alarm [default: 1 if the old release handled any within the same time, else 0]
    #[arg(long, value_name = "N")]
    min_events: Option<u64>,
    /// Allow an upgrade to an older release that loses data of some rows; see `morphctl store migrations`
    #[arg(long)]
    allow_loss: bool,
    /// Allow a release that, once it is ready, would remove more than half of the app's rules on a switch, or all rules of a table
    #[arg(long)]
    allow_rule_loss: bool,
    /// Only print what would be done: steps, change of the state, readers, tables, switches, and what would be refused
    #[arg(long, conflicts_with = "no_wait")]
    dry_run: bool,
    /// Return once the upgrade has begun
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Subcommand)]
enum PipelineVerb {
    /// Lets packets pass an app after, or before, another one, while the network runs and without loss
    ///
    /// The rules of the apps between the old and the new place are copied to free tables. Once all switches have confirmed them, packets
    /// are led there, and the former rules are deleted. Refused during an upgrade, where a switch has too few tables, and where the
    /// manifest of an app asks for another order.
    Move {
        /// Name of the app
        #[arg(value_name = "app=NAME")]
        app: AppArgument,
        /// Place beside another app
        #[arg(value_name = "after=NAME|before=NAME")]
        place: PlaceArgument,
    },
}

#[derive(Debug, Subcommand)]
enum AppVerb {
    /// Copies a bundle (a folder with app.toml and executables) and stages its release
    Install {
        /// Folder of the bundle on morphd's machine; a relative path is relative to the current directory
        path: PathBuf,
        /// Install it without running its executable, which is otherwise asked for its tables and migrations: they have to agree
        /// with app.toml, and with the other releases of its schema
        #[arg(long)]
        unchecked: bool,
    },
    /// Starts an app that is stopped or newly installed
    Start {
        /// App and release; without @VERSION the permanent release, else the newest one
        #[arg(value_name = "NAME[@VERSION]", value_parser = argument::release)]
        release: ReleaseArgument,
        /// File with entries of its configuration, TOML or (FILE.json) JSON: tables, in each keys with their values. They are
        /// written before the app sees its first event; none is where the start is refused
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Ends an app's process; its rules and its state stay
    Stop {
        /// Name of the app
        #[arg(value_parser = argument::name)]
        name: String,
    },
    /// Removes an app: it is bypassed, its process ends, its rules are deleted; its state stays
    Remove {
        /// Name of the app
        #[arg(value_parser = argument::name)]
        name: String,
        /// Leave its rules in the switches: no packet reaches them, and the app finds them when it is started again.
        /// (A switch of OpenFlow 1.0 has only one table, which cannot be bypassed: there they are deleted all the same.)
        #[arg(long)]
        keep_rules: bool,
        /// Remove it though its app.toml says `absent = "drop"`: all packets pass that it drops
        #[arg(long)]
        bypass: bool,
    },
}

#[derive(Debug, Subcommand)]
enum EventsVerb {
    /// Lists the events in quarantine: which release died of each, when, how, and what the event is
    Quarantined {
        /// Show only the events of this app
        #[arg(value_name = "app=NAME")]
        app: Option<AppArgument>,
        /// Print each OpenFlow message too, as `morphctl decode` does, and its bytes
        #[arg(long)]
        message: bool,
    },
    /// Delivers an event again, after all other events of its app; best after an upgrade that fixes the app
    ///
    /// The event leaves the list once the app has applied it, and returns to quarantine if it kills the app three more times.
    Retry {
        /// Id in the list of `morphctl events quarantined`; app=NAME: all events of this app, in the order of their arrival
        #[arg(value_name = "ID|app=NAME")]
        event: EventArgument,
    },
    /// Forgets an event: its app never receives it
    Drop {
        /// Id in the list of `morphctl events quarantined`; app=NAME: all events of this app
        #[arg(value_name = "ID|app=NAME")]
        event: EventArgument,
    },
}

#[derive(Debug, Subcommand)]
enum SwitchVerb {
    /// Deletes all of Morpheus's rules on a switch; foreign rules stay
    ///
    /// Running apps compare the switch anew and put back the rules that they want, so forwarding stops for a moment. Rules
    /// of stopped or removed apps are not put back.
    Clean {
        /// Datapath id, in hex: 0000000000000001, 00:00:00:00:00:00:00:01, of:0000000000000001, 0x1 or 1
        #[arg(value_name = "DPID", value_parser = argument::dpid)]
        dpid: String,
    },
    /// Removes a switch that is gone for good, with all that apps have stored about it
    ///
    /// Its ports, links and hosts go, and settings for its ports. Refused while the switch is connected. An app that is stopped
    /// forgets the switch when it is started; the state of a removed app stays as it is. A switch that connects again later is
    /// a new one.
    Forget {
        /// Datapath id, in hex, in any form that `switch clean` takes
        #[arg(value_name = "DPID", value_parser = argument::dpid)]
        dpid: String,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Prints the entries of an app's configuration
    Get {
        /// Name of the app
        #[arg(value_name = "app=NAME")]
        app: AppArgument,
        /// Print only this entry (TABLE.KEY), or only this table (TABLE)
        key: Option<String>,
    },
    /// Writes entries of an app's configuration, all or none; also before the app is started for the first time
    Set {
        /// Name of the app; with @VERSION the manifest of that release says what is allowed, else that of the one that runs, and for an app
        /// that was never started the newest one
        #[arg(value_name = "app=NAME[@VERSION]")]
        app: ReleaseArgument,
        /// Entry to write; VALUE is JSON or a bare word, which becomes a string; an empty VALUE deletes the entry
        #[arg(value_name = "TABLE.KEY=VALUE", required = true)]
        entries: Vec<EntryArgument>,
    },
    /// Deletes entries of an app's configuration, all or none
    Delete {
        /// Name of the app
        #[arg(value_name = "app=NAME")]
        app: AppArgument,
        /// Entry to delete
        #[arg(value_name = "TABLE.KEY", required = true, value_parser = argument::entry_key)]
        keys: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum SchemaVerb {
    /// Compares the tables of two bundles, and prints a skeleton of the migration between them
    ///
    /// Runs the executable of each bundle with --schema, which a release built with the SDK answers. Needs no morphd.
    Diff {
        /// Bundle of the older release, a folder with app.toml and executables
        old: PathBuf,
        /// Bundle of the newer release
        new: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum StoreVerb {
    /// Prints one row of an app's state
    Get {
        /// Name of the app
        #[arg(value_name = "app=NAME")]
        app: AppArgument,
        /// Table of the row
        table: String,
        /// Key of the row
        key: String,
    },
    /// Lists the rows of an app's state; without an app, the keyspaces in the store
    List {
        /// Name of the app
        #[arg(value_name = "app=NAME")]
        app: Option<AppArgument>,
        /// List only this table
        table: Option<String>,
        /// List only keys that begin with this
        prefix: Option<String>,
        /// Largest number of rows
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), default_value_t = 1000)]
        limit: u32,
    },
    /// Lists the shadows of apps' states in another schema version: progress, and what a rollback would lose
    ///
    /// STATUS: filling, following (complete and kept current), failed, swapped (it is the primary now), dropped. GROUPS are
    /// mapped there and back one by one; LOSSY counts those that do not come back as they were.
    Migrations {
        /// Show only the shadows of this app
        #[arg(value_name = "app=NAME")]
        app: Option<AppArgument>,
    },
    /// Shows the figures of the store: backend, revision, how much it holds
    Stats,
    /// Prints each row of an app's state when it changes, until Ctrl-C: revision, table, key, value
    Watch {
        /// Name of the app
        #[arg(value_name = "app=NAME")]
        app: AppArgument,
        /// Watch only this table
        table: Option<String>,
    },
    /// Writes everything in the store, at one revision, into a file; Morpheus keeps running
    Backup {
        /// File on this machine; it must not exist yet
        file: PathBuf,
    },
    /// Restores a backup into the state directory of a stopped morphd, or into etcd
    ///
    /// Stop morphd, move STATE_DIR/store away, restore, start morphd. For etcd, stop each morphd that uses it and empty the
    /// prefix, or name another one. The work is done by morph-stored, which has to be beside morphctl or in $PATH.
    Restore {
        /// Backup file on this machine
        file: PathBuf,
        /// State directory, as for morphd
        #[arg(long, value_name = "DIR", required_unless_present = "store")]
        state_dir: Option<PathBuf>,
        /// URL of etcd, as for morphd: etcd://HOST:PORT[,HOST:PORT...][/PREFIX][?OPTION=VALUE&...]
        #[arg(long, value_name = "URL", conflicts_with = "state_dir")]
        store: Option<String>,
    },
    /// Checks everything in the store and lists the errors: damaged or dangling rows, schema versions that no release declares,
    /// counts that differ. The exit code is 1 if there are any
    Check,
}

impl Cli {
    fn into_command_line(self) -> CommandLine {
        CommandLine {
            endpoint: self.endpoint,
            format: self.output,
            command: self.verb.into_command(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use morph_api::management::{AppRelease, UpgradeRequest};

    use super::*;
    use crate::command::{Call, RestoreTarget};

    fn parse(line: &str) -> Result<CommandLine, clap::Error> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let words = std::iter::once("morphctl").chain(words);
        Cli::try_parse_from(words).map(Cli::into_command_line)
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_upgrade_becomes_a_request() {
        let line = parse("upgrade app=router@2.0.0 app=topology --probation 5s --output json");
        let line = line.unwrap();
        assert_eq!(line.format, Format::Json);
        let expected = UpgradeRequest {
            app: "router".into(),
            version: "2.0.0".into(),
            probation_ms: 5_000,
            also: vec![AppRelease {
                app: "topology".into(),
                version: String::new(),
            }],
            ..UpgradeRequest::default()
        };
        assert_eq!(line.command, Command::Call(Call::Upgrade(expected)));
        let line = parse("upgrade app=router --dry-run").unwrap();
        assert!(matches!(line.command, Command::Call(Call::Plan(_))));
    }

    #[test]
    fn commands_without_morphd_are_told_apart() {
        let command = |line| parse(line).unwrap().command;
        let to_etcd = command("store restore b --store etcd://h:1");
        let target = RestoreTarget::Etcd("etcd://h:1".into());
        let backup = PathBuf::from("b");
        assert_eq!(to_etcd, Command::StoreRestore { backup, target });
        assert_eq!(command("decode 04"), Command::Decode(vec!["04".into()]));
        assert!(matches!(command("doctor"), Command::Doctor(_)));
        assert!(matches!(
            command("schema diff a b"),
            Command::SchemaDiff { .. }
        ));
    }

    #[test]
    fn wrong_usage_is_answered_with_the_right_one() {
        for (line, hint) in [
            ("", "Usage: morphctl"),
            ("upgrade", "<app=NAME[@VERSION]>"),
            ("upgrade router", "app=router"),
            ("upgrade app=", "app=NAME"),
            ("upgrade app=router@two", "semantic version"),
            ("upgrade app=router topology", "app=topology"),
            ("upgrade app=router --probation 30", "30s"),
            ("upgrade app=router --probation 0s", "morphctl commit"),
            ("upgrade app=router --deadline commit=5s", "shadow, start"),
            ("upgrade app=router --deadline start", "STEP=TIME"),
            ("upgrade app=router --deadline start=9h", "1 h"),
            (
                "upgrade app=router --probation 5s --confirm-within 5m",
                "cannot be used with",
            ),
            ("commit app=router@2.0.0", "without a version"),
            ("rollback app=router@2.0.0", "without a version"),
            ("app stop app=router", "the name alone"),
            ("ports one", "datapath id"),
            ("logs app=router --tail 0", "--tail"),
            ("config set app=router", "<TABLE.KEY=VALUE>"),
            ("config set app=router weights", "TABLE.KEY=VALUE"),
            ("config set app=router weights=1", "TABLE.KEY=VALUE"),
            ("config set app=router weights.a={1", "JSON"),
            ("--endpoint ftp://x apps", "unix:PATH"),
            ("--output xml apps", "json"),
            ("store get app=router trees", "<KEY>"),
            ("store restore b", "--state-dir"),
        ] {
            let error = parse(line).map(|line| line.command).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(hint), "{line}: {error}");
        }
    }
}
