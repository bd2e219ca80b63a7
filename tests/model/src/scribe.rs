//! The app of the model: it writes down every numbered packet, in order, and answers it with a packet that bears its number.
//! It fails on one number, and answers another one without writing it down, where it is told to. For each packet that it is told
//! to be lost it writes a number that no packet bears.
//! In schema version 2 each number stands beside its place.

use std::cell::Cell;

use morph_sdk::{
    Action, App, AppError, Event, Migration, MigrationError, Rows, RuleInput, Rules, Table, Turn,
    View, port,
};

/// Number in the place of a lost packet.
pub(crate) const LOST: u8 = 0;

/// Numbers that were applied, in schema version 1.
pub(crate) const BOOK: Table<u32, Vec<u8>> = Table::new("book");
/// Places and numbers, in schema version 2.
pub(crate) const PLACES: Table<u32, Vec<(u8, u8)>> = Table::new("places");

thread_local! {
    static HAS_DIED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the app has died since the last call in this thread.
pub(crate) fn has_died() -> bool {
    HAS_DIED.take()
}

/// App without a state beside the store.
#[derive(Debug, Clone)]
pub(crate) struct Scribe {
    pub(crate) schema: u32,
    pub(crate) poison: Option<u8>,
    /// Rules that it wants on the switch.
    pub(crate) rules: u8,
    pub(crate) failing: Option<u8>,
    pub(crate) unwritten: Option<u8>,
}

impl Scribe {
    fn write_down(&self, number: u8, turn: &mut Turn<'_>) {
        if self.schema == 1 {
            let mut book = turn.get(&BOOK, &0).unwrap_or_default();
            book.push(number);
            turn.put(&BOOK, &0, &book);
        } else {
            let mut places = turn.get(&PLACES, &0).unwrap_or_default();
            places.push((places.len() as u8, number));
            turn.put(&PLACES, &0, &places);
        }
    }
}

impl App for Scribe {
    type Group = ();

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        let packet = match event {
            Event::PacketIn(packet) => packet,
            Event::Lost { count, .. } => {
                (0..*count).for_each(|_| self.write_down(LOST, turn));
                return Ok(());
            }
            _ => return Ok(()),
        };
        // The first byte names the app.
        let Some(number) = packet.data.get(1).copied() else {
            return Ok(());
        };
        if self.poison == Some(number) {
            HAS_DIED.set(true);
        }
        if self.unwritten != Some(number) {
            self.write_down(number, turn);
        }
        let back = vec![Action::output(1)];
        turn.packet_out(packet.dpid, port::CONTROLLER, back, packet.data.clone());
        match self.failing == Some(number) {
            true => Err(AppError::new("this number")),
            false => Ok(()),
        }
    }

    fn groups(&self, input: &RuleInput<'_>, _: &View<'_>) -> Vec<()> {
        match input {
            RuleInput::Switch(_) => vec![()],
            RuleInput::Row(_) => Vec::new(),
        }
    }

    fn rules(&self, (): &(), view: &View<'_>, rules: &mut Rules) {
        for switch in view.switches() {
            for number in 1..=self.rules {
                rules.on(switch.dpid).priority(number.into()).drop_();
            }
        }
    }
}

/// The two schema versions hold the same, so nothing is lost on the way back.
pub(crate) struct Placing;

impl Migration for Placing {
    const OLD: u32 = 1;
    const NEW: u32 = 2;

    fn group_of_old(_: &str, _: &str) -> String {
        String::new()
    }

    fn group_of_new(_: &str, _: &str) -> String {
        String::new()
    }

    fn up(old: &Rows) -> Result<Rows, MigrationError> {
        let mut new = Rows::new();
        if let Some(book) = old.get(&BOOK, &0)? {
            let places: Vec<(u8, u8)> = (0..).zip(book).collect();
            new.put(&PLACES, &0, &places)?;
        }
        Ok(new)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        let mut old = Rows::new();
        if let Some(places) = new.get(&PLACES, &0)? {
            let book: Vec<u8> = places.into_iter().map(|(_, number)| number).collect();
            old.put(&BOOK, &0, &book)?;
        }
        Ok(old)
    }
}
