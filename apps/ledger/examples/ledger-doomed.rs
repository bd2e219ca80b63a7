//! Executable of a ledger that each packet kills.

mod deadly;

use std::process::ExitCode;

use deadly::Deadly;
use ledger::number;
use morph_sdk::PacketIn;

struct Doomed;

impl Deadly for Doomed {
    fn die_of(packet: &PacketIn) {
        let number = number(&packet.data).unwrap_or_default();
        assert!(number == 0, "doomed by packet {number}");
    }
}

fn main() -> ExitCode {
    deadly::run::<Doomed>()
}
