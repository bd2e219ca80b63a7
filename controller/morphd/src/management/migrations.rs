//! Shadows of apps' states as `morphctl store migrations` shows them: the progress that the instance reported, completed by
//! what the store holds now.

use morph_api::management::Migration;
use morph_api::store::Keyspace;

/// Completes a reported migration by what the store holds of its shadow.
pub(super) fn complete(mut migration: Migration, keyspaces: &[Keyspace]) -> Migration {
    let of_app = || {
        keyspaces
            .iter()
            .filter(|keyspace| keyspace.app == migration.app)
    };
    let primary = of_app().find(|keyspace| keyspace.primary);
    let own = of_app().find(|keyspace| keyspace.id == migration.keyspace);
    let status = match own {
        None => "dropped",
        Some(keyspace) if keyspace.primary => "swapped",
        Some(_) if !migration.error.is_empty() => "failed",
        Some(_) if migration.complete => "following",
        Some(_) => "filling",
    };
    if let Some(keyspace) = own {
        migration.to_schema = keyspace.schema;
        migration.rows = keyspace.keys;
    }
    if let (Some(keyspace), Some(primary)) = (own.filter(|keyspace| !keyspace.primary), primary) {
        migration.from_schema = primary.schema;
        migration.watermark = keyspace.watermark;
        migration.lag = primary.modified.saturating_sub(keyspace.watermark);
    }
    migration.status = status.to_owned();
    migration
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyspace(id: u32, primary: bool) -> Keyspace {
        Keyspace {
            app: "router".into(),
            id,
            primary,
            schema: id,
            watermark: 5,
            modified: 7,
            keys: 40,
            ..Keyspace::default()
        }
    }

    #[test]
    fn the_status_follows_from_the_store() {
        let known = Migration {
            app: "router".into(),
            keyspace: 2,
            ..Migration::default()
        };
        let filled = Migration {
            complete: true,
            ..known.clone()
        };
        let failed = Migration {
            error: "why".into(),
            ..known.clone()
        };
        let both = [keyspace(1, true), keyspace(2, false)];
        for (migration, keyspaces, status, lag) in [
            (&known, &both[..], "filling", 2),
            (&filled, &both, "following", 2),
            (&failed, &both, "failed", 2),
            (&filled, &[keyspace(2, true)], "swapped", 0),
            (&filled, &[keyspace(1, true)], "dropped", 0),
        ] {
            let shown = complete(migration.clone(), keyspaces);
            assert_eq!((shown.status.as_str(), shown.lag), (status, lag));
        }
    }
}
