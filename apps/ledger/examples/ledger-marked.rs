//! Executable of a ledger that marked packets kill: it is aborted, without a word.

mod deadly;

use std::process::ExitCode;

use deadly::Deadly;
use ledger::is_marked;
use morph_sdk::PacketIn;

struct Marked;

impl Deadly for Marked {
    fn die_of(packet: &PacketIn) {
        if is_marked(&packet.data) {
            std::process::abort();
        }
    }
}

fn main() -> ExitCode {
    deadly::run::<Marked>()
}
