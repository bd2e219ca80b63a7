//! End-to-end tests: real processes, real Open vSwitch, faults.
//!
//! A [`Lab`] is a network of its own: switches, hosts and one Morpheus in namespaces that end with the test, in whatever
//! way it ends.
//!
//! ```text
//!  +-- sandbox: pid, mount and network namespace --------------------------+
//!  |  ovsdb-server, ovs-vswitchd (datapath_type=netdev): s1 s2 ...         |
//!  |  morphd and all that it starts: 6653 and 6633 are free here           |
//!  |      veth |            | veth                                         |
//!  |  +- h1 ---+--+  +- h2 -+----+   network namespaces named in the       |
//!  |  |  ping ... |  |  echo ... |   sandbox's own /run/netns              |
//!  |  +-----------+  +-----------+                                         |
//!  +-----------------------------------------------------------------------+
//! ```

mod bond;
mod bundle;
mod copies;
mod delays;
mod earlier;
mod fill;
mod flows;
mod lab;
mod ledger;
mod metrics;
mod morpheus;
mod newflows;
mod ovs;
mod paths;
mod peer;
mod ping;
mod plain_switch;
mod processes;
mod program;
mod relay;
mod results;
mod rules;
mod sandbox;
mod shape;
mod switches;
mod vlan_hosts;
mod wait;

pub use bond::Bond;
pub use bundle::Bundle;
pub use copies::{Copies, Counter, Stream, StreamFaults};
pub use delays::DelayedChannels;
pub use earlier::earlier_build;
pub use flows::{Flow, FlowKey, read_flow};
pub use lab::Lab;
pub use ledger::{Books, DeathPlace, Delivery, LedgerLab};
pub use metrics::{METRICS, Metrics, TurnSizes};
pub use morpheus::{CtlOutput, Morpheus, bin, bundle_dir, repository};
pub use newflows::{Echo, LOST_AFTER, NewFlows, NewFlowsSummary};
pub use ovs::{ControllerRow, Ovs};
pub use paths::Paths;
pub use peer::Peer;
pub use ping::{Ping, PingSummary};
pub use processes::Process;
pub use relay::Relay;
pub use results::{long, result, result_row};
pub use rules::{Rules, touched};
pub use sandbox::Sandbox;
pub use shape::{Links, Shape};
pub use switches::{Load, Pace, Percentiles, SlowDump, Switches, Tally};
pub use wait::{pause, wait_until};
