//! Tables: typed names of rows in the store.

use std::fmt;
use std::marker::PhantomData;

use crate::Key;

/// A table of the app itself, or one of another app, which can only be read.
///
/// Declared as a constant: `const MACS: Table<(Dpid, MacAddr), u32> = Table::new("macs");`
///
/// ```
/// use morph_sdk::{Dpid, MacAddr, Table, View};
///
/// /// A table of this app: the port of each host, by switch.
/// const PORTS: Table<(Dpid, MacAddr), u32> = Table::new("ports");
/// /// A table of topology, which the manifest names under `reads`.
/// const SWITCHES: Table<Dpid, String> = Table::of("topology", "switches");
///
/// fn port(view: &View<'_>, dpid: Dpid, host: MacAddr) -> Option<u32> {
///     view.get(&SWITCHES, &dpid)?;
///     view.get(&PORTS, &(dpid, host))
/// }
/// ```
pub struct Table<K, V> {
    app: Option<&'static str>,
    name: &'static str,
    kind: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    /// Declares a table of this app.
    pub const fn new(name: &'static str) -> Self {
        Table {
            app: None,
            name,
            kind: PhantomData,
        }
    }

    /// Declares a table of another app, which the manifest names under `reads`.
    pub const fn of(app: &'static str, name: &'static str) -> Self {
        Table {
            app: Some(app),
            name,
            kind: PhantomData,
        }
    }

    /// App that owns the table; `None` for this app.
    pub const fn app(&self) -> Option<&'static str> {
        self.app
    }

    /// Name of the table in the store.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<K: Key, V> Table<K, V> {
    /// Parsed key, if `app` and `table` name this table.
    pub(crate) fn key_of(&self, app: Option<&str>, table: &str, key: &str) -> Option<K> {
        (self.app == app && self.name == table)
            .then(|| K::parse_exact(key))
            .flatten()
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.app {
            Some(app) => write!(f, "{app}.{}", self.name),
            None => f.write_str(self.name),
        }
    }
}
