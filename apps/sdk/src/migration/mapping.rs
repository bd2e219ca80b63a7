//! The trait that an author of a migration implements.

use super::rows::Rows;
use crate::error::MigrationError;

/// Mapping between two neighbouring schema versions of an app's tables, in both directions, by *groups* of rows.
///
/// A group is named by a function of the row's table and key alone, on either side, and is mapped whole. Resulting rows
/// must be of the same group. A group without rows has none on the other side either. If nothing is to be lost by going
/// back, `down(up(x)) == x` must hold for all that the old release can have written.
///
/// ```
/// use morph_sdk::bench::{down, up};
/// use morph_sdk::{Dpid, Migration, MigrationError, Rows, Table};
///
/// /// Idle times in seconds; the new release has them in milliseconds.
/// const SECONDS: Table<Dpid, u64> = Table::new("idle");
/// const MILLIS: Table<Dpid, u64> = Table::new("idle_ms");
///
/// struct ToMillis;
///
/// impl Migration for ToMillis {
///     const OLD: u32 = 1;
///     const NEW: u32 = 2;
///
///     // The key stays, the table does not: the row's group is named by its key on both sides.
///     fn group_of_old(_: &str, key: &str) -> String {
///         key.to_owned()
///     }
///
///     fn group_of_new(_: &str, key: &str) -> String {
///         key.to_owned()
///     }
///
///     fn up(old: &Rows) -> Result<Rows, MigrationError> {
///         let mut new = Rows::new();
///         old.map_each(&SECONDS, &mut new, &MILLIS, |dpid, s| Ok(Some((dpid, s * 1000))))?;
///         Ok(new)
///     }
///
///     fn down(new: &Rows) -> Result<Rows, MigrationError> {
///         let mut old = Rows::new();
///         new.map_each(&MILLIS, &mut old, &SECONDS, |dpid, ms| Ok(Some((dpid, ms / 1000))))?;
///         Ok(old)
///     }
/// }
///
/// let mut before = Rows::new();
/// before.put(&SECONDS, &Dpid(1), &60)?;
/// let after = up::<ToMillis>(&before)?;
/// assert_eq!(after.get(&MILLIS, &Dpid(1))?, Some(60_000));
/// assert_eq!(down::<ToMillis>(&after)?, before);
/// # Ok::<(), MigrationError>(())
/// ```
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
