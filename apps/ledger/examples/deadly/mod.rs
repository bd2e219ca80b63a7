//! A ledger that some packets kill.

use std::marker::PhantomData;
use std::process::ExitCode;

use ledger::{Ledger, PORT, Rows1};
use morph_sdk::{App, AppError, Dpid, Event, PacketIn, RuleInput, Rules, Turn, View};

/// Packets that kill the ledger.
pub(crate) trait Deadly: Send + 'static {
    /// Ends the process, if the packet is deadly.
    fn die_of(packet: &PacketIn);
}

struct Mortal<D>(Ledger<Rows1>, PhantomData<D>);

impl<D: Deadly> App for Mortal<D> {
    type Group = Dpid;

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if let Event::PacketIn(packet) = event {
            D::die_of(packet);
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

/// Runs a ledger that these packets kill.
pub(crate) fn run<D: Deadly>() -> ExitCode {
    morph_sdk::run(|| Mortal(Ledger::new(PORT, Rows1), PhantomData::<D>))
}
