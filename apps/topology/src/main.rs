//! Executable of topology 1.0.0.

use std::process::ExitCode;

fn main() -> ExitCode {
    morph_sdk::run(topology::Topology::new)
}
