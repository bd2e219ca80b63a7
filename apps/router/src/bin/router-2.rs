//! Executable of router 2.0.0.

use std::process::ExitCode;

use router::{Router, V1ToV2, V2};

fn main() -> ExitCode {
    morph_sdk::run_with_migration::<_, V1ToV2>(Router::<V2>::new)
}
