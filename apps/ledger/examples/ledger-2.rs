//! Executable of ledger 2.0.0.

use std::process::ExitCode;

use ledger::{Ledger, PORT, Rows2, V1ToV2};

fn main() -> ExitCode {
    morph_sdk::run_with_migration::<_, V1ToV2>(|| Ledger::new(PORT, Rows2))
}
