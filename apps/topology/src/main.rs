//! Executable of topology.

use std::process::ExitCode;

use morph_sdk::AppError;
use topology::{Topology, V1ToV2};

fn main() -> ExitCode {
    morph_sdk::run_with_migration::<_, V1ToV2>(|| Topology::new(random))
}

fn random() -> Result<[u8; 32], AppError> {
    let mut bytes = [0; 32];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| {
        AppError::new(format!(
            "no random bytes from the operating system for the secret of probes: {error}"
        ))
    })?;
    Ok(bytes)
}
