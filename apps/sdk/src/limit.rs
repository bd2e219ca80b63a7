//! Limits of tables' rows.

use std::fmt;

/// Most rows of a table: a number, or a [`Setting`](crate::Setting) that operators may set.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Table and key of the setting, if it is one.
    pub(crate) setting: Option<(&'static str, &'static str)>,
    /// The number, or the setting's default.
    pub(crate) rows: u32,
}

impl From<u32> for Limit {
    fn from(rows: u32) -> Self {
        Limit {
            setting: None,
            rows,
        }
    }
}

/// Action of an operator that allows more rows.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.setting {
            Some((table, name)) => write!(f, "allow more by the setting {table}.{name}"),
            None => f.write_str("use a release with a higher limit"),
        }
    }
}

/// Bound of a table's rows in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableBound {
    pub(crate) limit: Limit,
    /// Index whose first row gives way; `None` where new rows are left out.
    pub(crate) oldest: Option<&'static str>,
}
