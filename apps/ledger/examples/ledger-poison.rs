//! Executable of a ledger that one packet of each switch kills.

use std::process::ExitCode;

use ledger::{Ledger, PORT, Rows1, number};
use morph_sdk::{App, AppError, Dpid, Event, RuleInput, Rules, Turn, View};

/// Number of the packet that kills the app.
const POISON: u64 = 50;

struct Poisoned(Ledger<Rows1>);

impl App for Poisoned {
    type Group = Dpid;

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if let Event::PacketIn(packet) = event {
            assert!(number(&packet.data) != Some(POISON), "packet {POISON}");
        }
        self.0.event(event, turn)
    }

    fn groups(&self, input: &RuleInput<'_>, view: &View<'_>) -> Vec<Dpid> {
        self.0.groups(input, view)
    }

    fn rules(&self, dpid: &Dpid, view: &View<'_>, rules: &mut Rules) {
        self.0.rules(dpid, view, rules);
    }
}

fn main() -> ExitCode {
    morph_sdk::run(|| Poisoned(Ledger::new(PORT, Rows1)))
}
