//! The topology app: learns switches, ports, links and hosts, and keeps them in its tables.
//!
//! 1. Switches and ports are as the switches report them (`ports`).
//! 2. LLDP leaves by every port, at once when the port comes up and then periodically (`probing`). A port where it
//!    arrives is part of a link (`links`), other ports are host ports. Probes are signed (`secrets`) and believed for a short
//!    time (`clock`), and never at ports where an operator says that there are hosts only (`edges`); others raise an alarm
//!    (`forged`).
//! 3. Hosts are learned on host ports, from their first packets, for each VLAN (`hosts`, `host_tables`), up to bounds (`bounds`).
//!    One that two ports see in turn is held at one of them (`moves`), and the two may be a bond (`bonds`).
//! 4. The rules for a port and its hosts follow from the tables (`rules`).
//!
//! All that counts stands in the tables. The app itself holds the ages of probes, which start again at each resume.

pub mod app;
pub mod bonds;
pub mod bounds;
pub mod clock;
pub mod edges;
pub mod forged;
pub mod host_tables;
pub mod hosts;
pub mod islands;
pub mod lateness;
pub mod links;
pub mod migration;
pub mod moves;
pub mod ports;
pub mod probing;
pub mod rules;
pub mod secrets;
pub mod segments;
pub mod sender;
pub mod sightings;
pub mod strays;
pub mod tables;

pub use app::Topology;
pub use migration::V1ToV2;
