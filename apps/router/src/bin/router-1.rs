//! Executable of router 1.0.0.

use std::process::ExitCode;

use router::{Router, V1};

fn main() -> ExitCode {
    morph_sdk::run(Router::<V1>::new)
}
