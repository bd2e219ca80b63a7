//! Executable of a second app of the same kind, which takes the packets of another port.

use std::process::ExitCode;

use ledger::{Ledger, OTHER_PORT, Rows1};

fn main() -> ExitCode {
    morph_sdk::run(|| Ledger::new(OTHER_PORT, Rows1))
}
