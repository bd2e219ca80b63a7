//! Description of an app by itself, for `--schema` and for the check against its manifest.

use morph_api::description::Description;

use crate::{App, TableShape};

/// Describes an app and its migrations, each by its older and newer schema version.
pub(crate) fn describe<A: App>(migrations: Vec<(u32, u32)>) -> Description {
    let described = |shapes: Vec<TableShape>| shapes.into_iter().map(Into::into).collect();
    Description {
        tables: described(A::tables()),
        reads: Some(described(A::reads())),
        migrations: Some(migrations),
    }
}
