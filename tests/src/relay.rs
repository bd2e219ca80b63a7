//! A relay between two ports of a switch: a loop that no probe of Morpheus passes.

use crate::lab::Lab;
use crate::program::{Program, plan_open_cable};
use anyhow::{Context, Result};

/// Relay that is running. Dropping the value ends it.
pub struct Relay(Program);

impl Lab {
    /// Adds two ports to a switch, and passes all frames on between these except for probes.
    pub fn relay(&self, switch: usize) -> Result<Relay> {
        let mut script = String::new();
        let bridge = format!("s{switch}");
        let cables = ["relay-1", "relay-2"].map(|here| (here, format!("{bridge}-{here}")));
        for (here, there) in &cables {
            plan_open_cable(&mut script, here, there);
        }
        self.sandbox().script(&script)?;
        let program = self.start_program("relay.py", &cables.each_ref().map(|(here, _)| *here))?;
        for (_, there) in &cables {
            self.ovs().vsctl(&["add-port", &bridge, there])?;
        }
        Ok(Relay(program))
    }
}

impl Relay {
    /// Number of frames that were passed on so far.
    pub fn passed(&mut self) -> Result<u64> {
        let line = self.0.ask()?;
        line.trim().parse().context("relay.py printed no number")
    }
}
