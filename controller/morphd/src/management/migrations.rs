//! Copies of apps' states, as people see them: what their makers told, and what the store has of them now.

use morph_api::management::Migration;
use morph_api::store::Space;

/// Completes what is known of a copy by what the store has.
pub(super) fn shown(mut migration: Migration, spaces: &[Space]) -> Migration {
    let of_app = || spaces.iter().filter(|space| space.app == migration.app);
    let truth = of_app().find(|space| space.truth);
    let own = of_app().find(|space| space.id == migration.space);
    let status = match own {
        None => "dropped",
        Some(space) if space.truth => "swapped",
        Some(_) if !migration.error.is_empty() => "failed",
        Some(_) if migration.complete => "following",
        Some(_) => "copying",
    };
    if let Some(space) = own {
        migration.to_schema = space.schema;
        migration.rows = space.keys;
    }
    if let (Some(space), Some(truth)) = (own.filter(|space| !space.truth), truth) {
        migration.from_schema = truth.schema;
        migration.mark = space.mark;
        migration.lag = truth.modified.saturating_sub(space.mark);
    }
    migration.status = status.to_owned();
    migration
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(id: u32, truth: bool) -> Space {
        Space {
            app: "router".into(),
            id,
            truth,
            schema: id,
            mark: 5,
            modified: 7,
            keys: 40,
            ..Space::default()
        }
    }

    #[test]
    fn the_store_says_what_became_of_it() {
        let known = Migration {
            app: "router".into(),
            space: 2,
            ..Migration::default()
        };
        let complete = Migration {
            complete: true,
            ..known.clone()
        };
        let failed = Migration {
            error: "why".into(),
            ..known.clone()
        };
        let both = [space(1, true), space(2, false)];
        for (migration, spaces, status, lag) in [
            (&known, &both[..], "copying", 2),
            (&complete, &both, "following", 2),
            (&failed, &both, "failed", 2),
            (&complete, &[space(2, true)], "swapped", 0),
            (&complete, &[space(1, true)], "dropped", 0),
        ] {
            let shown = shown(migration.clone(), spaces);
            assert_eq!((shown.status.as_str(), shown.lag), (status, lag));
        }
    }
}
