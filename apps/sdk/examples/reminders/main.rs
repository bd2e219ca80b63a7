//! Reminders: an app without rules that does something at a time that operators set.
//!
//! `morphctl config set app=reminders after.NAME=SECONDS` sets a timer. Once it is due, the number of times that the reminder came
//! is in row `NAME` of table `done`, whatever happened to the app's process meanwhile. Deleting the row cancels the timer.

use std::process::ExitCode;
use std::time::Duration;

use morph_sdk::{
    App, AppError, Changes, DueTimer, Event, RuleInput, Rules, Table, TableShape, Timer, Turn, View,
};

/// Delay of each reminder in seconds, as operators set it.
const AFTER: Table<String, u32> = Table::new("after");
/// Number of times that each reminder came.
const DONE: Table<String, u32> = Table::new("done");
/// Delays for which timers are set.
const SET: Table<String, u32> = Table::new("set");
/// Timers by the name of their reminder.
const REMIND: Timer<String> = Timer::new("remind");

struct Reminders;

impl App for Reminders {
    type Group = ();

    fn tables() -> Vec<TableShape> {
        vec![AFTER.shape(), DONE.shape(), SET.shape()]
    }

    fn event(&mut self, _: &Event, _: &mut Turn<'_>) -> Result<(), AppError> {
        Ok(())
    }

    /// Level-triggered: compares what is asked for with what is set.
    fn changed(&mut self, _: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        for (name, seconds) in turn.rows(&AFTER) {
            if turn.get(&SET, &name) != Some(seconds) {
                turn.put(&SET, &name, &seconds);
                turn.set_timer(&REMIND, &name, Duration::from_secs(seconds.into()));
            }
        }
        for (name, _) in turn.rows(&SET) {
            if turn.get(&AFTER, &name).is_none() {
                turn.delete(&SET, &name);
                turn.cancel_timer(&REMIND, &name);
            }
        }
        Ok(())
    }

    fn timer(&mut self, timer: &DueTimer, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if let Some(name) = timer.key(&REMIND) {
            let times = turn.get(&DONE, &name).unwrap_or(0);
            turn.put(&DONE, &name, &(times + 1));
        }
        Ok(())
    }

    fn groups(&self, _: &RuleInput<'_>, _: &View<'_>) -> Vec<()> {
        Vec::new()
    }

    fn rules(&self, (): &(), _: &View<'_>, _: &mut Rules) {}
}

fn main() -> ExitCode {
    morph_sdk::run(|| Reminders)
}
