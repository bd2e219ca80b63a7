//! Topology with the tables of schema 1, which knew no VLANs, as release 1.1.0 had it: the end-to-end tests upgrade from it what
//! installed networks run. Its sources are those of topology, but for the tables of hosts.

#![allow(dead_code, unreachable_pub)]

#[path = "../../src/app.rs"]
pub mod app;
#[path = "../../src/bonds.rs"]
pub mod bonds;
#[path = "../../src/bounds.rs"]
pub mod bounds;
#[path = "../../src/clock.rs"]
pub mod clock;
#[path = "../../src/edges.rs"]
pub mod edges;
#[path = "../../src/forged.rs"]
pub mod forged;
pub mod host_tables;
#[path = "../../src/hosts.rs"]
pub mod hosts;
#[path = "../../src/islands.rs"]
pub mod islands;
#[path = "../../src/lateness.rs"]
pub mod lateness;
#[path = "../../src/links.rs"]
pub mod links;
#[path = "../../src/moves.rs"]
pub mod moves;
#[path = "../../src/ports.rs"]
pub mod ports;
#[path = "../../src/probing.rs"]
pub mod probing;
#[path = "../../src/rules.rs"]
pub mod rules;
#[path = "../../src/secrets.rs"]
pub mod secrets;
#[path = "../../src/segments.rs"]
pub mod segments;
#[path = "../../src/sender.rs"]
pub mod sender;
#[path = "../../src/sightings.rs"]
pub mod sightings;
#[path = "../../src/strays.rs"]
pub mod strays;
#[path = "../../src/tables.rs"]
pub mod tables;

use std::process::ExitCode;

use morph_sdk::AppError;

pub use app::Topology;

fn main() -> ExitCode {
    morph_sdk::run(|| Topology::new(random))
}

fn random() -> Result<[u8; 32], AppError> {
    let mut bytes = [0; 32];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| AppError::new(format!("no random bytes: {error}")))?;
    Ok(bytes)
}
