//! Executable of topology.

use std::process::ExitCode;

fn main() -> ExitCode {
    morph_sdk::run(topology::Topology::new)
}
