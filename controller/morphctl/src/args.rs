//! The command line: verbs, options and what `--help` says of them. Others script against it: only add.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::argument::{self, App, Entry, Release};
use crate::doctor::Doctor;
use crate::endpoint::Endpoint;

const AFTER: &str = "\
Exit codes:
  0  done
  1  refused, nothing changed
  2  wrong usage
  3  cannot reach morphd, or may not (the message says what mends it)
  4  tried and rolled back, by whomever
  5  outcome unknown: morphd was lost on the way, or Ctrl-C detached from what goes on

JSON (--output json): one object on one line, with a list under the verb's noun: {\"apps\": [{\"name\": ...}]}. Keys are
snake_case, numbers are numbers, datapath ids and the like are text. The nouns are those of the verbs: apps, releases
(also of `app install`), logs, events, switches, ports, flows, topology, hosts, config, store, migrations, schema,
stats, changes (of `store watch`, a line each), findings (of `store check`), backups; `app
start|stop|remove` say apps; `switch clean` says cleaned, `doctor` checks, `decode` messages;
`upgrade`, `commit`, `rollback` and `status` say upgrades. `upgrade` and `status --follow` print such an object, with one
status in its list, a line as each status comes; so does `logs --follow` with lines.";

/// Looks at Morpheus and changes it: apps, upgrades, switches, configuration and state.
#[derive(Debug, Parser)]
#[command(name = "morphctl", version, after_help = AFTER)]
pub(crate) struct Cli {
    /// Where morphd listens: unix:PATH or http://HOST:PORT. Default: $MORPH_ENDPOINT, else the socket api.sock in the
    /// user's run directory ($XDG_RUNTIME_DIR/morpheus or /tmp/morpheus-UID), else /run/morpheus/api.sock
    #[arg(
        long,
        global = true,
        value_name = "URI",
        help_heading = "Common options"
    )]
    pub(crate) endpoint: Option<Endpoint>,
    /// How to print
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORM",
        help_heading = "Common options",
        default_value = "table"
    )]
    pub(crate) output: Format,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people, and for grep and awk: a line a row, no colours, no frames
    Table,
    /// For programs: see below
    Json,
}

/// What morphctl can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The apps: release, status, epoch, process, backlog and rate of events
    Apps,
    /// The releases that are installed, and which of them are staged, current, permanent or old
    Releases {
        /// Only those of this app
        #[arg(value_name = "app=NAME")]
        app: Option<App>,
    },
    /// Installs a release; starts, stops and removes an app
    #[command(subcommand)]
    App(AppVerb),
    /// What an app's instances wrote on standard error
    Logs {
        /// Of which app
        #[arg(value_name = "app=NAME")]
        app: App,
        /// How many lines, from the end [default: 200]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        tail: Option<u32>,
        /// Go on with every later line, whichever instance writes it, until Ctrl-C
        #[arg(long)]
        follow: bool,
    },
    /// Replaces an app's release while the network runs; returns when it is committed or rolled back
    ///
    /// Several apps are upgraded as one: all are ready before any is held, then all hand over, their first changes of rules
    /// leave together, and one that fails takes all back.
    ///
    /// Prints each status when it has become true, with its time. The commit comes by itself when the probation ends;
    /// `morphctl commit` ends it at once, and `morphctl rollback` goes back. Ctrl-C detaches: the upgrade goes on.
    Upgrade {
        /// The app and the release to go to, also an older one; without @VERSION the newest staged
        #[arg(value_name = "app=NAME[@VERSION]", required = true)]
        releases: Vec<Release>,
        /// How long the old release stands by, with its unit: 500ms, 30s, 5m [default: 30s]
        #[arg(long, value_name = "TIME", value_parser = argument::duration)]
        probation: Option<Duration>,
        /// Go back by itself, unless `morphctl commit` is said within this time; instead of a probation that ends in the
        /// commit. It goes on over a restart of morphd, and begins anew after one of the machine
        #[arg(long, value_name = "TIME", value_parser = argument::duration, conflicts_with = "probation")]
        confirm_within: Option<Duration>,
        /// How long a step may take, once for each; `[upgrade]` in app.toml says it for a release, and the defaults are
        /// shadow=60s (without progress), start=20s, probe=2s, quiesce=1s (then the old instance is treated as crashed),
        /// hold=5s (the proxy ends it by itself), fence=2s, rules=3s (of several apps as one); at the end of any other
        /// one the old release stays or comes back
        #[arg(long = "deadline", value_name = "STEP=TIME", value_parser = argument::deadline)]
        deadlines: Vec<(String, Duration)>,
        /// Go to an older release even where rows of the state would lose something, see `morphctl store migrations`
        #[arg(long)]
        allow_loss: bool,
        /// Only say what would be done: steps, change of the state, readers, tables and switches, and what is refused
        #[arg(long, conflicts_with = "no_wait")]
        dry_run: bool,
        /// Return once the upgrade has begun
        #[arg(long)]
        no_wait: bool,
    },
    /// Ends the probation of an upgrade now: the new release becomes permanent
    Commit {
        /// Of which app
        #[arg(value_name = "app=NAME")]
        app: App,
    },
    /// Takes an upgrade back, until it is committed
    Rollback {
        /// Of which app
        #[arg(value_name = "app=NAME")]
        app: App,
    },
    /// The upgrades that have ended: who, when, from, to, how they ended, and what they cost; oldest first
    Upgrades {
        /// Only those of this app
        #[arg(value_name = "app=NAME")]
        app: Option<App>,
        /// Only the newest so many [default: all that are kept, 100 of each app]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// The upgrades that run, and each app's last one
    Status {
        /// Only that of this app
        #[arg(value_name = "app=NAME")]
        app: Option<App>,
        /// Go on with every later status, a line each, until Ctrl-C
        #[arg(long)]
        follow: bool,
    },
    /// Events that killed their app three times and were set aside, so that it goes on with the others
    #[command(subcommand)]
    Events(EventsVerb),
    /// The switches that are connected
    Switches,
    /// Cleans a switch
    #[command(subcommand)]
    Switch(SwitchVerb),
    /// The ports of a switch, with their counters
    Ports {
        /// Datapath id, in hex: 0000000000000001, 00:00:00:00:00:00:00:01, of:0000000000000001, 0x1 or 1
        #[arg(value_name = "DPID", value_parser = argument::dpid)]
        dpid: String,
    },
    /// The rules in a switch, and whose each is: an app, morpheus, or foreign
    Flows {
        /// Datapath id, in hex: 0000000000000001, 00:00:00:00:00:00:00:01, of:0000000000000001, 0x1 or 1
        #[arg(value_name = "DPID", value_parser = argument::dpid)]
        dpid: String,
        /// Only the rules of this app
        #[arg(value_name = "app=NAME")]
        app: Option<App>,
    },
    /// What would stop a switch from attaching here, and what mends it; also without morphd
    ///
    /// Each check is ok, a warning (a switch attaches all the same) or trouble (it does not); the exit code is 1 where there
    /// is trouble. The checks: morphd, its apps, switches that were refused of late, the ports, folders, disk, descriptors,
    /// the clock, and the bridges of Open vSwitch on this machine.
    Doctor(Doctor),
    /// The links between switches, each direction by itself
    Topology,
    /// The hosts that were learned, and where they are
    Hosts,
    /// Prints OpenFlow messages that are given as bytes; asks nobody
    ///
    /// Reads hexadecimal digits, dumps with offsets (xxd, hexdump -C, od, ovs-ofctl, Wireshark), raw bytes, and several
    /// messages one after the other, of OpenFlow 1.0 and 1.3. An error says which field, at which byte, and why; the other
    /// messages are printed all the same.
    Decode {
        /// Digits, a file, or - for standard input, which is read too where nothing is named
        #[arg(value_name = "HEX|FILE|-", num_args = 0..)]
        message: Vec<String>,
    },
    /// An app's tables that people may write
    #[command(subcommand)]
    Config(ConfigVerb),
    /// The stored state of the apps, to look at
    #[command(subcommand)]
    Store(StoreVerb),
    /// The shapes of releases' tables
    #[command(subcommand)]
    Schema(SchemaVerb),
}

/// Verbs of `morphctl app`.
#[derive(Debug, Subcommand)]
pub(crate) enum AppVerb {
    /// Copies a bundle, a folder with app.toml and executables, and stages its release
    Install {
        /// The bundle's folder, on morphd's machine; a relative one is taken from here
        path: PathBuf,
    },
    /// Starts an app that is stopped or was only installed
    Start {
        /// Without @VERSION: the permanent release, else the newest
        #[arg(value_name = "NAME[@VERSION]", value_parser = argument::start)]
        release: Release,
    },
    /// Ends an app's process; its rules and its state stay
    Stop {
        /// Which app
        #[arg(value_parser = argument::name)]
        name: String,
    },
    /// Takes an app out: it is bypassed, its process ends, its rules are deleted; its state stays
    Remove {
        /// Which app
        #[arg(value_parser = argument::name)]
        name: String,
        /// Leave its rules in the switches: no packet reaches them, and the app finds them when it is started again.
        /// (On a switch of OpenFlow 1.0, whose one table cannot be bypassed, they go all the same.)
        #[arg(long)]
        keep_rules: bool,
    },
}

/// Verbs of `morphctl events`.
#[derive(Debug, Subcommand)]
pub(crate) enum EventsVerb {
    /// Those that are set aside: which release died of each, when, how, and what it is
    Quarantined {
        /// Only those of this app
        #[arg(value_name = "app=NAME")]
        app: Option<App>,
        /// Print each message too, as `morphctl decode` does, and its bytes
        #[arg(long)]
        message: bool,
    },
    /// Delivers one again, behind all others of its app, best after an upgrade that mends it
    ///
    /// It goes from the list once the app has applied it, and is set aside again if it kills three times more.
    Retry {
        /// As `morphctl events quarantined` lists it
        id: String,
    },
    /// Forgets one: its app never hears of it
    Drop {
        /// As `morphctl events quarantined` lists it
        id: String,
    },
}

/// Verbs of `morphctl switch`.
#[derive(Debug, Subcommand)]
pub(crate) enum SwitchVerb {
    /// Deletes all of Morpheus's rules on a switch; foreign rules stay
    ///
    /// Apps that run compare the switch anew and put back what they want there, so forwarding stops for a moment; rules of
    /// apps that are stopped or removed stay away.
    Clean {
        /// Datapath id, in hex: 0000000000000001, 00:00:00:00:00:00:00:01, of:0000000000000001, 0x1 or 1
        #[arg(value_name = "DPID", value_parser = argument::dpid)]
        dpid: String,
    },
}

/// Verbs of `morphctl config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Prints the entries of an app's configuration
    Get {
        /// Of which app
        #[arg(value_name = "app=NAME")]
        app: App,
        /// Only this entry (TABLE.KEY), or all of a table (TABLE)
        key: Option<String>,
    },
    /// Writes entries of an app's configuration, all or none
    Set {
        /// Of which app
        #[arg(value_name = "app=NAME")]
        app: App,
        /// VALUE is JSON; a bare word is text; nothing after the = deletes the entry
        #[arg(value_name = "TABLE.KEY=VALUE", required = true)]
        entries: Vec<Entry>,
    },
}

/// Verbs of `morphctl schema`.
#[derive(Debug, Subcommand)]
pub(crate) enum SchemaVerb {
    /// Compares the tables of two bundles, and begins the source of the migration between them
    ///
    /// Runs the executable of each with --schema, which a release built with the SDK answers. Needs no morphd.
    Diff {
        /// The older release's bundle, a folder with app.toml and executables
        old: PathBuf,
        /// The newer release's bundle
        new: PathBuf,
    },
}

/// Verbs of `morphctl store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// Prints one row of an app's state
    Get {
        /// Of which app
        #[arg(value_name = "app=NAME")]
        app: App,
        /// Which table
        table: String,
        /// Which key
        key: String,
    },
    /// Lists the rows of an app's state; without an app, the keyspaces that the store holds
    List {
        /// Of which app
        #[arg(value_name = "app=NAME")]
        app: Option<App>,
        /// Only this table
        table: Option<String>,
        /// Only keys that begin so
        prefix: Option<String>,
        /// At most so many rows [default: 1000]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// The shadows of apps' states in another schema version: how far each is, and what a way back would lose
    ///
    /// STATUS: filling, following (whole, and kept up), failed, swapped (it is the primary now), dropped. GROUPS are mapped
    /// there and back one by one; LOSSY counts those that do not come back as they were.
    Migrations {
        /// Only those of this app
        #[arg(value_name = "app=NAME")]
        app: Option<App>,
    },
    /// The store's figures: backend, revision, how much it holds
    Stats,
    /// Prints each row of an app's state when it changes, until Ctrl-C: revision, table, key, value
    Watch {
        /// Of which app
        #[arg(value_name = "app=NAME")]
        app: App,
        /// Only this table
        table: Option<String>,
    },
    /// Writes all that the store holds, at one revision, into a file; everything goes on meanwhile
    Backup {
        /// A file that is not there yet, on this machine
        file: PathBuf,
    },
    /// Makes the store of a backup again, in the state directory of a morphd that is stopped, or in etcd, where there is none
    ///
    /// Stop morphd, move STATE_DIR/store away, restore, start morphd. In etcd, stop each morphd on it and empty the prefix, or
    /// name another one. It is done by morph-stored, which has to stand beside morphctl or in $PATH.
    Restore {
        /// The backup, on this machine
        file: PathBuf,
        /// The state directory, as morphd is started with it
        #[arg(long, value_name = "DIR", required_unless_present = "store")]
        state_dir: Option<PathBuf>,
        /// etcd, as morphd is started with it: etcd://HOST:PORT[,HOST:PORT...][/PREFIX][?OPTION=VALUE&...]
        #[arg(long, value_name = "URL", conflicts_with = "state_dir")]
        store: Option<String>,
    },
    /// Looks at everything in the store and names what is wrong: damaged or dangling rows, schema versions that no release
    /// declares, counts that differ. Exit code 1 if anything is
    Check,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(
            std::iter::once("morphctl").chain(line.split(' ').filter(|word| !word.is_empty())),
        )
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_upgrade_has_its_parts() {
        let cli = parse("upgrade app=router@2.0.0 --probation 5s --output json").unwrap();
        assert_eq!(cli.output, Format::Json);
        let Verb::Upgrade {
            releases,
            probation,
            no_wait,
            ..
        } = cli.verb
        else {
            panic!("{:?}", cli.verb);
        };
        assert_eq!(releases[0].app, "router");
        assert_eq!(releases[0].version.clone().unwrap().to_string(), "2.0.0");
        assert_eq!(probation, Some(Duration::from_secs(5)));
        assert!(!no_wait);
    }

    #[test]
    fn wrong_usage_says_what_is_right() {
        for (line, said) in [
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
        ] {
            let error = parse(line).map(|cli| cli.verb).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(said), "{line}: {error}");
        }
    }
}
