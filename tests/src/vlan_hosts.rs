//! Hosts behind VLAN tags. A bridge of Open vSwitch with two rules puts a tag on what the host sends, and takes it away on the
//! way back; the lab's switch sees tagged frames.
//!
//! ```text
//! h11 ---- v11 (tags) ---- s2
//! ```

use crate::lab::Lab;
use crate::shape::{address, host, mac, plan_host};
use anyhow::Result;

impl Lab {
    /// Adds host `n` at a port of a switch. Its frames have a tag of this VLAN (0: of a priority alone), and it has the addresses
    /// of host `like`.
    pub fn add_vlan_host(&self, n: usize, switch: usize, vlan: u16, like: usize) -> Result<()> {
        let (name, bridge) = (host(n), format!("v{n}"));
        let (near, far) = (format!("v{n}-trunk"), format!("s{switch}-v{n}"));
        let mut script = String::new();
        plan_host(&mut script, n, &format!("{bridge}-host"));
        if like != n {
            let (address, own) = (address(like), address(n));
            let mac = mac(like);
            script += &format!(
                "ip -n {name} link set eth0 down\n\
                 ip -n {name} link set eth0 address {mac}\n\
                 ip -n {name} address del {own}/8 dev eth0\n\
                 ip -n {name} address add {address}/8 dev eth0\n\
                 ip -n {name} link set eth0 up\n"
            );
        }
        self.sandbox().script(&script)?;
        let vsctl = format!(
            "-- add-br {bridge} -- set bridge {bridge} datapath_type=netdev fail_mode=secure \
             -- add-port {bridge} {bridge}-host -- set interface {bridge}-host ofport_request=1 \
             -- add-port {bridge} {near} \
             -- set interface {near} type=patch options:peer={far} ofport_request=2 \
             -- add-port s{switch} {far} -- set interface {far} type=patch options:peer={near}"
        );
        let vsctl: Vec<&str> = vsctl.split_whitespace().collect();
        self.ovs().vsctl(&vsctl)?;
        // Answers to a frame with a priority alone have no tag.
        let (tag, untag) = match vlan {
            0 => ("mod_vlan_pcp:5".to_owned(), "actions=".to_owned()),
            _ => (
                format!("mod_vlan_vid:{vlan}"),
                format!("dl_vlan={vlan},actions=strip_vlan,"),
            ),
        };
        for flow in [
            format!("in_port=1,actions={tag},output:2"),
            format!("in_port=2,{untag}output:1"),
        ] {
            self.ovs().ofctl("add-flow", &bridge, &[&flow])?;
        }
        Ok(())
    }
}
