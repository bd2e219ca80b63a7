//! The trait that an application implements, and the changes that it is told about.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{AppError, Dpid, DueTimer, Event, Key, Rules, Table, TableShape, Turn, View};

/// An application. Events and the view go in; state changes and packet-outs come out; rules are a function of the view.
///
/// All state stands in the app's tables: another instance may take over between any two calls. Fields of the
/// implementing type are for what may be forgotten, such as caches and timers of probes.
///
/// ```
/// use morph_sdk::bench::Bench;
/// use morph_sdk::{
///     App, AppError, Dpid, Event, Pipeline, RuleInput, Rules, Table, TableShape, Turn, View,
/// };
///
/// /// Packets by switch.
/// const COUNTS: Table<Dpid, u64> = Table::new("counts");
///
/// struct Counter;
///
/// impl App for Counter {
///     type Group = Dpid;
///
///     fn tables() -> Vec<TableShape> {
///         vec![COUNTS.shape()]
///     }
///
///     fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
///         if let Event::PacketIn(packet) = event {
///             let count = turn.get(&COUNTS, &packet.dpid).unwrap_or(0) + 1;
///             turn.put(&COUNTS, &packet.dpid, &count);
///         }
///         Ok(())
///     }
///
///     fn groups(&self, input: &RuleInput<'_>, _: &View<'_>) -> Vec<Dpid> {
///         match input {
///             RuleInput::Switch(dpid) => vec![*dpid],
///             RuleInput::Row(_) => Vec::new(),
///         }
///     }
///
///     fn rules(&self, dpid: &Dpid, view: &View<'_>, rules: &mut Rules) {
///         if view.switch(*dpid).is_some() {
///             rules.on(*dpid).punt_and_next();
///         }
///     }
/// }
///
/// let mut bench = Bench::new(Counter, Pipeline::default());
/// bench.switch(Dpid(1), [1, 2]);
/// let outcome = bench.packet_in(Dpid(1), 2, vec![0; 60]);
/// assert_eq!(outcome.put(&COUNTS), [(Dpid(1), 1)]);
/// ```
pub trait App: Send + 'static {
    /// Name of a set of rules that are computed together: those of a destination, a connection, a switch.
    type Group: Ord + Clone + Debug + Send;

    /// Handles one event. Its changes are applied exactly once to the state.
    ///
    /// An error drops what this call changed and wanted to send. The error is logged and counted, and the next event
    /// follows.
    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError>;

    /// Brings derived state in line after other apps or people changed rows. Level-triggered: one call may stand for
    /// many changes, and there is one call after this instance has become the live one.
    fn changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        let _ = (changes, turn);
        Ok(())
    }

    /// Runs every 100 ms while this instance is the live one: probes, expiry.
    fn tick(&mut self, turn: &mut Turn<'_>) -> Result<(), AppError> {
        let _ = turn;
        Ok(())
    }

    /// Handles a timer that is due ([`Turn::set_timer`]). Its effect on the state is exactly once, also over upgrades, rollbacks and
    /// crashes. An error drops what this call changed, and the timer is past. Timers of a kind that the app does not know, which
    /// another release has set, come here too.
    fn timer(&mut self, timer: &DueTimer, turn: &mut Turn<'_>) -> Result<(), AppError> {
        let _ = (timer, turn);
        Ok(())
    }

    /// Shapes of the app's own tables, as in `vec![MACS.shape()]`. Rows of these tables are in memory as values of their
    /// types, and `morphctl schema diff` compares their shapes. Tables left out are read from JSON at each use.
    fn tables() -> Vec<TableShape>
    where
        Self: Sized,
    {
        Vec::new()
    }

    /// Shapes of the tables of other apps that the app reads, as in `vec![HOSTS.shape()]` with
    /// `const HOSTS: Table<MacAddr, Host> = Table::of("topology", "hosts");`. The manifest names these apps under `reads`.
    /// Reading any other table of another app ends the instance: it would look empty.
    fn reads() -> Vec<TableShape>
    where
        Self: Sized,
    {
        Vec::new()
    }

    /// Kinds of the alarms that the app raises: lower-case words joined by `-`, as in `&["host-limit"]`. Alarms of other kinds,
    /// which another release has raised, end when this one becomes live.
    fn alarms() -> &'static [&'static str]
    where
        Self: Sized,
    {
        &[]
    }

    /// Checks the app as a whole, every second while this instance is the live one. An error rolls back an upgrade in
    /// probation; outside of one it is logged.
    fn healthy(&self, view: &View<'_>) -> Result<(), AppError> {
        let _ = view;
        Ok(())
    }

    /// Groups whose rules depend on this switch or row. Called for each one that changed and, at the start, for each
    /// one there is.
    fn groups(&self, input: &RuleInput<'_>, view: &View<'_>) -> Vec<Self::Group>;

    /// States the rules of a group, on all switches. Rules in the switches that no group states any more are removed.
    fn rules(&self, group: &Self::Group, view: &View<'_>, rules: &mut Rules);
}

/// An input of the rules that came, changed or went.
///
/// ```
/// use morph_sdk::{Dpid, MacAddr, RuleInput, Table};
///
/// const HOSTS: Table<MacAddr, Dpid> = Table::new("hosts");
///
/// #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
/// enum Group {
///     Switch(Dpid),
///     Host(MacAddr),
/// }
///
/// /// The rules of a switch depend on the switch, those to a host on the host's row.
/// fn groups(input: &RuleInput<'_>) -> Vec<Group> {
///     match input {
///         RuleInput::Switch(dpid) => vec![Group::Switch(*dpid)],
///         RuleInput::Row(_) => input.key(&HOSTS).map(Group::Host).into_iter().collect(),
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub enum RuleInput<'a> {
    /// A switch that connected, disconnected, or has other ports.
    Switch(Dpid),
    /// A row that was set or deleted.
    Row(RowChange<'a>),
}

impl RuleInput<'_> {
    /// Key of the changed row, if it belongs to this table.
    pub fn key<K: Key, V>(&self, table: &Table<K, V>) -> Option<K> {
        match self {
            RuleInput::Switch(_) => None,
            RuleInput::Row(row) => table.key_of(row.app, row.table, row.key),
        }
    }
}

/// A changed row, with its values before and after.
///
/// ```
/// use morph_sdk::{Dpid, MacAddr, RowChange, Table};
///
/// const HOSTS: Table<MacAddr, Dpid> = Table::new("hosts");
///
/// /// Switches whose rules depend on where a host was, and on where it is.
/// fn switches(row: &RowChange<'_>) -> Vec<Dpid> {
///     match row.of(&HOSTS) {
///         Some((_, before, after)) => before.into_iter().chain(after).collect(),
///         None => Vec::new(),
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RowChange<'a> {
    /// App that owns the row; `None` for the app's own rows.
    pub app: Option<&'a str>,
    /// Name of the row's table.
    pub table: &'a str,
    /// Text form of the row's key.
    pub key: &'a str,
    /// Value before the change; `None` if the row is new.
    pub before: Option<&'a Value>,
    /// Value after the change; `None` if the row was deleted.
    pub after: Option<&'a Value>,
}

impl RowChange<'_> {
    /// Typed form of the change (key, before, after), or `None` if the row belongs to another table.
    pub fn of<K: Key, V: DeserializeOwned>(
        &self,
        table: &Table<K, V>,
    ) -> Option<(K, Option<V>, Option<V>)> {
        let key = table.key_of(self.app, self.table, self.key)?;
        let read = |value: Option<&Value>| value.and_then(|value| V::deserialize(value).ok());
        Some((key, read(self.before), read(self.after)))
    }
}

/// Rows that others changed.
///
/// ```
/// use morph_sdk::{AppError, Changes, Table, Turn};
///
/// const LIMITS: Table<String, u32> = Table::new("limits");
///
/// fn changed(changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
///     // `touch` is true as well where anything may have changed.
///     if changes.touch(&LIMITS) {
///         for (name, value) in turn.rows(&LIMITS) {
///             tracing::info!("{name} is {value}");
///         }
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// True if anything may have changed: look at all that counts. `rows` is empty then.
    pub all: bool,
    /// The changed rows, of tables of this app and of the apps that it reads.
    pub rows: Vec<ChangedRow>,
}

/// Name of a row that others changed.
///
/// ```
/// use morph_sdk::{ChangedRow, Changes, Dpid, Table};
///
/// const NAMES: Table<Dpid, String> = Table::new("names");
///
/// let row = ChangedRow {
///     app: None,
///     table: "names".to_owned(),
///     key: "0000000000000007".to_owned(),
/// };
/// let changes = Changes {
///     all: false,
///     rows: vec![row],
/// };
/// assert_eq!(changes.keys(&NAMES).collect::<Vec<_>>(), [Dpid(7)]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedRow {
    /// App that owns the row; `None` for the app's own rows, which people may change.
    pub app: Option<String>,
    /// Name of the row's table.
    pub table: String,
    /// Text form of the row's key.
    pub key: String,
}

impl Changes {
    /// Changes after which anything may be different.
    pub fn all() -> Self {
        Changes {
            all: true,
            rows: Vec::new(),
        }
    }

    /// Keys of a table's changed rows. Empty if `all` is set: look at the whole table then.
    pub fn keys<K: Key, V>(&self, table: &Table<K, V>) -> impl Iterator<Item = K> + use<'_, K, V> {
        let table = *table;
        self.rows
            .iter()
            .filter_map(move |row| table.key_of(row.app.as_deref(), &row.table, &row.key))
    }

    /// Whether rows of a table may have changed.
    pub fn touch<K, V>(&self, table: &Table<K, V>) -> bool {
        let is_of =
            |row: &ChangedRow| row.app.as_deref() == table.app() && row.table == table.name();
        self.all || self.rows.iter().any(is_of)
    }
}
