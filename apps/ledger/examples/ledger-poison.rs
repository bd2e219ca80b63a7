//! Executable of a ledger that one packet of each switch kills.

mod deadly;

use std::process::ExitCode;

use deadly::Deadly;
use ledger::number;
use morph_sdk::PacketIn;

/// Number of the packet that kills the app.
const POISON: u64 = 50;

struct Poisoned;

impl Deadly for Poisoned {
    fn die_of(packet: &PacketIn) {
        assert!(number(&packet.data) != Some(POISON), "packet {POISON}");
    }
}

fn main() -> ExitCode {
    deadly::run::<Poisoned>()
}
