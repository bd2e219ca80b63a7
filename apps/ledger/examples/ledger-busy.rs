//! Executable of a ledger that takes 2 ms for each packet.

use std::process::ExitCode;
use std::time::Duration;

use ledger::{Rows1, Slow};

fn main() -> ExitCode {
    morph_sdk::run(|| Slow::new(Rows1, Duration::from_millis(2)))
}
