//! The app of the model: it writes down every numbered packet, in order, and answers it with a packet that bears its number.

use morph_sdk::{Action, App, AppError, Event, RuleInput, Rules, Table, Turn, View, port};

/// The numbers that were applied.
pub(crate) const BOOK: Table<u32, Vec<u8>> = Table::new("book");

/// It has no state of its own.
#[derive(Debug, Clone)]
pub(crate) struct Scribe;

impl App for Scribe {
    type Group = ();

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        let Event::PacketIn(packet) = event else {
            return Ok(());
        };
        let mut book = turn.get(&BOOK, &0).unwrap_or_default();
        // Which app's it is, and its number.
        book.extend(packet.data.get(1).copied());
        turn.put(&BOOK, &0, &book);
        let back = vec![Action::output(1)];
        turn.packet_out(packet.dpid, port::CONTROLLER, back, packet.data.clone());
        Ok(())
    }

    fn groups(&self, _: &RuleInput<'_>, _: &View<'_>) -> Vec<()> {
        Vec::new()
    }

    fn rules(&self, (): &(), _: &View<'_>, _: &mut Rules) {}
}
