//! Executable of a ledger that each packet kills.

use std::process::ExitCode;

use ledger::{Ledger, PORT, Rows1, number};
use morph_sdk::{App, AppError, Dpid, Event, RuleInput, Rules, Turn, View};

struct Doomed(Ledger<Rows1>);

impl App for Doomed {
    type Group = Dpid;

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if let Event::PacketIn(packet) = event {
            let number = number(&packet.data).unwrap_or_default();
            assert!(number == 0, "doomed by packet {number}");
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
    morph_sdk::run(|| Doomed(Ledger::new(PORT, Rows1)))
}
