//! An app that reads the router's tables in schema 1, and writes what it sees into a table of its own: the reader of a
//! kept shadow in the end-to-end tests.

use std::process::ExitCode;

use morph_sdk::{App, AppError, Changes, Event, RuleInput, Rules, Table, TableShape, Turn, View};
use router::tree::Tree;

const TREES: Table<String, Tree> = Table::of("router", "trees");
const SEEN: Table<String, Tree> = Table::new("seen");

struct Reader;

impl App for Reader {
    type Group = ();

    fn reads() -> Vec<TableShape> {
        vec![TREES.shape()]
    }

    fn event(&mut self, _: &Event, _: &mut Turn<'_>) -> Result<(), AppError> {
        Ok(())
    }

    fn changed(&mut self, _: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        for (key, _) in turn.rows(&SEEN) {
            if turn.get(&TREES, &key).is_none() {
                turn.delete(&SEEN, &key);
            }
        }
        for (key, tree) in turn.rows(&TREES) {
            turn.put(&SEEN, &key, &tree);
        }
        Ok(())
    }

    fn groups(&self, _: &RuleInput<'_>, _: &View<'_>) -> Vec<()> {
        Vec::new()
    }

    fn rules(&self, (): &(), _: &View<'_>, _: &mut Rules) {}
}

fn main() -> ExitCode {
    morph_sdk::run(|| Reader)
}
