//! Executable of a ledger that marked packets kill: it is aborted, without a word.

use std::process::ExitCode;

use ledger::{Ledger, PORT, Rows1, is_marked};
use morph_sdk::{App, AppError, Dpid, Event, RuleInput, Rules, Turn, View};

struct Mortal(Ledger<Rows1>);

impl App for Mortal {
    type Group = Dpid;

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if let Event::PacketIn(packet) = event
            && is_marked(&packet.data)
        {
            std::process::abort();
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
    morph_sdk::run(|| Mortal(Ledger::new(PORT, Rows1)))
}
