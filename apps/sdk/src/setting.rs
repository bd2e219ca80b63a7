//! Settings of an app: whole numbers that operators may set, with defaults.

use crate::{Changes, Limit, Table, View};

/// A whole number that operators may set: a row of one of the app's tables, or its default where there is no such row.
///
/// Declared as a constant: `const MOST: Setting = Setting::new(LIMITS, "most", 1000);`. The manifest lets operators write the
/// table: `config = ["limits"]`, with `checks.limits`.
///
/// ```
/// use morph_sdk::{AppError, Changes, Setting, Table, Turn};
///
/// const LIMITS: Table<String, u32> = Table::new("limits");
/// const MOST: Setting = Setting::new(LIMITS, "most", 1000);
///
/// fn changed(changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
///     Setting::check(&LIMITS, &[MOST], changes, &turn.view());
///     if turn.view().count(&LIMITS) as u32 > MOST.get(&turn.view()) {
///         return Err(AppError::new("too many rows"));
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    table: Table<String, u32>,
    name: &'static str,
    default: u32,
}

impl Setting {
    /// Declares a setting: its table, its key there, and its default.
    pub const fn new(table: Table<String, u32>, name: &'static str, default: u32) -> Self {
        Setting {
            table,
            name,
            default,
        }
    }

    /// Key of the setting in its table.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the value that operators set, or the default.
    pub fn get(&self, view: &View<'_>) -> u32 {
        let row = view.get(&self.table, &self.name.to_owned());
        row.unwrap_or(self.default)
    }

    /// Warns in the log of changed rows of a table that are none of its settings, as after a slip of the pen.
    pub fn check(
        table: &Table<String, u32>,
        settings: &[Setting],
        changes: &Changes,
        view: &View<'_>,
    ) {
        for name in unknown(table, settings, changes, view) {
            let known: Vec<&str> = settings.iter().map(Setting::name).collect();
            let known = known.join(", ");
            tracing::warn!("{table:?}.{name} has no effect: the settings are {known}");
        }
    }
}

impl From<Setting> for Limit {
    fn from(setting: Setting) -> Self {
        Limit {
            setting: Some((setting.table.name(), setting.name)),
            rows: setting.default,
        }
    }
}

/// Names of changed rows that are no settings.
fn unknown(
    table: &Table<String, u32>,
    settings: &[Setting],
    changes: &Changes,
    view: &View<'_>,
) -> Vec<String> {
    let changed = changes.keys(table);
    let all = changes.all.then(|| view.iter(table).map(|(name, _)| name));
    let names = changed.chain(all.into_iter().flatten());
    names
        .filter(|name| !settings.iter().any(|setting| setting.name == name))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Pipeline;
    use crate::view::Tables;

    const LIMITS: Table<String, u32> = Table::new("limits");
    const MOST: Setting = Setting::new(LIMITS, "most", 1000);

    #[test]
    fn a_setting_is_its_row_or_its_default_and_other_rows_are_named() {
        let mut tables = Tables::new([LIMITS.shape()], []);
        let switches = BTreeMap::new();
        let mut with = |key: &str, value: serde_json::Value| {
            tables.set(None, LIMITS.name(), key, Some(value));
            let view = View {
                tables: &tables,
                switches: &switches,
                pipeline: Pipeline::default(),
            };
            let unknown = unknown(&LIMITS, &[MOST], &Changes::all(), &view);
            (MOST.get(&view), unknown)
        };
        let none = Vec::<String>::new();
        assert_eq!(with("most", 7.into()), (7, none.clone()));
        assert_eq!(with("most", "seven".into()), (1000, none));
        assert_eq!(with("mots", 7.into()), (1000, vec!["mots".to_owned()]));
    }
}
