//! Executable of ledger 1.0.0.

use std::process::ExitCode;

use ledger::{Ledger, PORT, Rows1};

fn main() -> ExitCode {
    morph_sdk::run(|| Ledger::new(PORT, Rows1))
}
