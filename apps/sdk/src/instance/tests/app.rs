//! An app to run: cells of a matrix, and its neighbouring schema version, in which a row holds a whole line of them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::*;

pub(crate) const CELLS: Table<(u32, u32), u32> = Table::new("cells");
pub(crate) const LINES: Table<u32, BTreeMap<u32, u32>> = Table::new("lines");
/// Number of rows that the app `topo` has.
pub(crate) const COUNT: Table<u32, usize> = Table::new("count");
pub(crate) const PORTS: Table<u32, u32> = Table::of("topo", "ports");
/// Timers that set a cell to 77.
pub(crate) const LATER: Timer<(u32, u32)> = Timer::new("later");
pub(crate) const S: Dpid = Dpid(1);

pub(crate) struct Cells;

impl App for Cells {
    type Group = u32;

    fn reads() -> Vec<TableShape> {
        vec![PORTS.shape()]
    }

    fn alarms() -> &'static [&'static str] {
        &["big"]
    }

    /// Handles a packet of three bytes: line, column, value. It sets a cell, or deletes it with 0, and is sent back. 99
    /// panics, and 97 sets a timer of a second. An alarm lasts as long as a cell has 98. A cell whose rule ended for lack of packets is deleted.
    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if let Event::FlowRemoved(removed) = event
            && removed.is_idle()
            && let Some(line) = removed.matching.get_in_port()
            && let Some(column) = removed.matching.get_eth_type()
        {
            turn.delete(&CELLS, &(line, column.into()));
        }
        let Event::PacketIn(packet) = event else {
            return Ok(());
        };
        let [line, column, value] = packet.data[..] else {
            return Err(AppError::new("not three bytes"));
        };
        if value == 99 {
            panic!("99");
        }
        let key = (line.into(), column.into());
        match value {
            0 => turn.delete(&CELLS, &key),
            _ => turn.put(&CELLS, &key, &value.into()),
        }
        if value == 97 {
            turn.set_timer(&LATER, &key, Duration::from_secs(1));
        }
        let subject = format!("{line}/{column}");
        match value {
            98 => turn.raise(&Alarm::new("big", subject, "98", "set another value")),
            _ => turn.end_alarm("big", &subject),
        }
        let back = vec![Action::output(packet.in_port)];
        turn.forward(packet, packet.dpid, port::CONTROLLER, back);
        if value == 255 {
            return Err(AppError::new("255 is too much"));
        }
        Ok(())
    }

    fn timer(&mut self, timer: &DueTimer, turn: &mut Turn<'_>) -> Result<(), AppError> {
        let key = timer
            .key(&LATER)
            .ok_or_else(|| AppError::new("another timer"))?;
        turn.put(&CELLS, &key, &77);
        Ok(())
    }

    fn changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if changes.touch(&PORTS) {
            let count = turn.view().iter(&PORTS).count();
            turn.put(&COUNT, &0, &count);
        }
        Ok(())
    }

    fn groups(&self, input: &RuleInput<'_>, _: &View<'_>) -> Vec<u32> {
        input
            .key(&CELLS)
            .map(|(line, _)| line)
            .into_iter()
            .collect()
    }

    fn rules(&self, line: &u32, view: &View<'_>, rules: &mut Rules) {
        for ((line, column), value) in view.prefix(&CELLS, line) {
            let matching = Match::new().in_port(line).eth_type(column as u16);
            let rule = rules.on(S).priority(1).matching(matching);
            rule.actions(vec![Action::output(value)]);
        }
    }
}

pub(crate) struct V1ToV2;

impl Migration for V1ToV2 {
    const OLD: u32 = 1;
    const NEW: u32 = 2;

    fn group_of_old(table: &str, key: &str) -> String {
        match table {
            "lines" => format!("line {key}"),
            _ => format!("{table}/{key}"),
        }
    }

    fn group_of_new(table: &str, key: &str) -> String {
        match table {
            "cells" => format!("line {}", key.split('/').next().unwrap_or_default()),
            _ => format!("{table}/{key}"),
        }
    }

    fn up(old: &Rows) -> Result<Rows, MigrationError> {
        let mut new = Rows::new();
        new.pass(old, "weights");
        new.pass(old, "count");
        for (line, cells) in old.of(&LINES)? {
            for (column, value) in cells {
                new.put(&CELLS, &(line, column), &value)?;
            }
        }
        Ok(new)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        let mut old = Rows::new();
        old.pass(new, "weights");
        old.pass(new, "count");
        let mut lines: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
        for ((line, column), value) in new.of(&CELLS)? {
            if value == 13 {
                return Err(MigrationError::new("13 has no place in the old schema"));
            }
            if value == 14 {
                panic!("14");
            }
            lines.entry(line).or_default().insert(column, value);
        }
        for (line, cells) in lines {
            old.put(&LINES, &line, &cells)?;
        }
        Ok(old)
    }
}
