//! Tables that every app has beside those of its schema.

use crate::{alarm, timer};

/// Whether a table belongs to no schema: the SDK writes it, and migrations pass its rows unchanged.
pub fn is_beside_schema(table: &str) -> bool {
    [alarm::TABLE, timer::TABLE].contains(&table)
}
