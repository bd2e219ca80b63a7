//! The trait that an author of a migration implements.

use super::rows::Rows;
use crate::error::MigrationError;

/// Mapping between two neighbouring schema versions of an app's tables, in both directions, by *groups* of rows.
///
/// A group is named by a function of the row's table and key alone, on either side, and is mapped whole. Resulting rows
/// must be of the same group. A group without rows has none on the other side either. If nothing is to be lost by going
/// back, `down(up(x)) == x` must hold for all that the old release can have written.
pub trait Migration {
    /// The older schema version.
    const OLD: u32;
    /// The newer schema version, `OLD + 1`.
    const NEW: u32;

    /// Group of an old row. By default each row is a group of its own.
    fn group_of_old(table: &str, key: &str) -> String {
        format!("{table}/{key}")
    }

    /// Group of a new row. By default each row is a group of its own.
    fn group_of_new(table: &str, key: &str) -> String {
        format!("{table}/{key}")
    }

    /// Maps a group's rows to the new schema version.
    fn up(old: &Rows) -> Result<Rows, MigrationError>;

    /// Maps a group's rows to the old schema version.
    fn down(new: &Rows) -> Result<Rows, MigrationError>;
}
