//! `morphctl doctor`: what would stop a switch from attaching here, and what mends it. Every check is made for real, as far as
//! it can be from here, and all of them without morphd too.
//!
//! | file | looks at |
//! |---|---|
//! | `morphd.rs` | morphd, its apps and switches, and whom the proxy has refused |
//! | `port.rs` | where switches connect |
//! | `machine.rs` | folders, disk, descriptors, clock |
//! | `ovs.rs`, `ovsdb.rs` | the bridges of Open vSwitch on this machine |

mod machine;
mod morphd;
mod ovs;
mod ovsdb;
mod port;

use std::net::SocketAddr;

use clap::Args;
use serde::ser::SerializeMap;
use tonic::transport::Channel;

use crate::failure::Failure;
use crate::print::{Cells, Object, Output};

/// Where switches connect if nothing else is said; the first is the one that counts.
const PORTS: [u16; 2] = [6653, 6633];

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Where switches are to connect, as IP:PORT (may be repeated) [default: what morphd says, else ports 6653 and 6633]
    #[arg(long, value_name = "ADDR")]
    openflow: Vec<SocketAddr>,
    /// The database of Open vSwitch, as ovs-vsctl's --db
    #[arg(long, value_name = "SERVER")]
    ovs_db: Option<String>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// A switch attaches all the same.
    Warning,
    /// A switch does not attach.
    Trouble,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Trouble => "trouble",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Of what.
    check: String,
    state: State,
    found: String,
    /// Empty where there is nothing to mend.
    mend: String,
}

impl Finding {
    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Finding {
            check: check.into(),
            state: State::Ok,
            found: found.into(),
            mend: String::new(),
        }
    }

    fn bad(
        check: impl Into<String>,
        state: State,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Finding {
            check: check.into(),
            state,
            found: found.into(),
            mend: mend.into(),
        }
    }
}

impl Cells for Finding {
    const HEADER: &'static [&'static str] = &["CHECK", "STATE", "FOUND"];
    fn cells(&self) -> Vec<String> {
        let found = match self.mend.as_str() {
            "" => self.found.clone(),
            mend => format!("{} (mend: {mend})", self.found),
        };
        vec![self.check.clone(), self.state.name().to_owned(), found]
    }
}

impl Object for Finding {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        object.serialize_entry("check", &self.check)?;
        object.serialize_entry("state", self.state.name())?;
        object.serialize_entry("found", &self.found)?;
        object.serialize_entry("mend", &self.mend)
    }
}

/// Looks at all, prints what was found, and fails where a switch would not attach.
pub(crate) async fn run(
    what: &Doctor,
    reached: Result<Channel, Failure>,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut found = Vec::new();
    let seen = morphd::look(reached, &mut found).await;
    let addresses = addresses(what, &seen);
    let holder = port::look(&addresses, seen.is_there(), &mut found).await;
    machine::look(&seen, holder, &mut found);
    let ports: Vec<u16> = addresses
        .iter()
        .map(|(address, _)| address.port())
        .collect();
    ovs::look(what.ovs_db.as_deref(), &ports, &seen, &mut found).await;
    out.list("checks", &found)?;
    let troubles = found.iter().filter(|f| f.state == State::Trouble).count();
    match troubles {
        0 => Ok(()),
        1 => Err(Failure::Refused("one thing would stop a switch".into())),
        many => Err(Failure::Refused(format!(
            "{many} things would stop a switch"
        ))),
    }
}

/// Where switches connect, and how bad it is when they cannot.
fn addresses(what: &Doctor, seen: &morphd::Seen) -> Vec<(SocketAddr, State)> {
    let here = |port: u16| SocketAddr::from(([0, 0, 0, 0], port));
    let defaults = PORTS.map(here).to_vec();
    let named = match (what.openflow.is_empty(), seen.listens.is_empty()) {
        (false, _) => what.openflow.clone(),
        (true, false) => seen.listens.clone(),
        (true, true) => defaults,
    };
    let mut addresses: Vec<(SocketAddr, State)> = Vec::new();
    for address in named {
        // One that stands for all addresses is looked at in one family.
        let twin = |(other, _): &(SocketAddr, State)| {
            other.port() == address.port()
                && other.ip().is_unspecified()
                && address.ip().is_unspecified()
        };
        if addresses.iter().any(twin) {
            continue;
        }
        let old = address.port() == PORTS[1] && !addresses.is_empty();
        addresses.push((address, if old { State::Warning } else { State::Trouble }));
    }
    addresses
}
