//! Executable of router 3.0.0.

use std::process::ExitCode;

use router::{Router, V1ToV2, V2ToV3, V3};

fn main() -> ExitCode {
    morph_sdk::run_with_migration::<_, (V1ToV2, V2ToV3)>(Router::<V3>::new)
}
