//! Hosts behind a bond without LACP, which sends by both members in turn. It is a program: kernels without the module `bonding` are
//! common.
//!
//! ```text
//! h8: eth0 ---- bond8 == bond.py == bond8-1 ---- s1
//!                                == bond8-2 ---- s2
//! ```

use crate::lab::Lab;
use crate::program::{Program, plan_open_cable};
use crate::shape::plan_host;
use anyhow::Result;
use std::fmt::Write as _;

/// Bond that is running. Dropping the value ends it.
pub struct Bond(#[expect(dead_code, reason = "its end is the bond's")] Program);

impl Lab {
    /// Adds a host behind a bond, with a member at a port of each of these switches.
    pub fn add_bond(&self, host: usize, to: [usize; 2]) -> Result<Bond> {
        let near = format!("bond{host}");
        let cables = [(1, to[0]), (2, to[1])];
        let cables = cables.map(|(n, to)| (format!("{near}-{n}"), format!("s{to}-{near}-{n}"), to));
        let mut script = String::new();
        plan_host(&mut script, host, &near);
        let _ = writeln!(script, "ip link set {near} promisc on");
        for (here, there, _) in &cables {
            plan_open_cable(&mut script, here, there);
        }
        self.sandbox().script(&script)?;
        let members = cables.each_ref().map(|(here, _, _)| here.as_str());
        let program = self.start_program("bond.py", &[&near, members[0], members[1]])?;
        for (_, there, switch) in &cables {
            self.ovs()
                .vsctl(&["add-port", &format!("s{switch}"), there])?;
        }
        Ok(Bond(program))
    }
}
