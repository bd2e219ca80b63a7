//! Description of a switch: its features, texts and ports.
//!
//! A switch sends in order, so the message that comes last is the newest. From the hello on, each port is therefore as the last
//! message says that names it: a port-status is older than a part of the port description that comes after it and names the port,
//! and newer than all parts before it. A port that was added before, and that no part names, is kept: a switch that had deleted
//! it would have said so. Apps learn the result by `SwitchUp`, and from then on each port-status.

use std::collections::BTreeMap;

use bytes::Bytes;
use morph_api::session;
use morph_openflow::v13::{Desc, FeaturesReply, MultipartBody, MultipartReply, Port, PortStatus};

/// Port status reason `OFPPR_DELETE`.
const DELETE: u8 = 1;

/// Properties of a switch, as far as it has reported them.
#[derive(Debug, Clone, Default)]
pub(super) struct Description {
    features: Option<FeaturesReply>,
    desc: Option<Desc>,
    ports: BTreeMap<u32, Port>,
    port_changes: u64,
}

impl Description {
    pub(super) fn set_features(&mut self, features: FeaturesReply) {
        self.features = Some(features);
    }

    /// Returns the datapath id; 0 while it is unknown.
    pub(super) fn dpid(&self) -> u64 {
        self.features
            .as_ref()
            .map_or(0, |features| features.datapath_id)
    }

    pub(super) fn tables(&self) -> u8 {
        self.features
            .as_ref()
            .map_or(0, |features| features.n_tables)
    }

    /// Adds a part of a reply, and returns whether it is the last one. Ports in it replace what was said of them before.
    pub(super) fn add(&mut self, reply: MultipartReply) -> bool {
        match reply.body {
            MultipartBody::Desc(desc) => self.desc = Some(desc),
            MultipartBody::PortDesc(ports) => {
                self.ports
                    .extend(ports.into_iter().map(|port| (port.port_no, port)));
            }
            _ => {}
        }
        !reply.more
    }

    /// Applies a port-status to what was said of the port before, by the port description or by another port-status.
    pub(super) fn change_port(&mut self, status: PortStatus) {
        self.port_changes += 1;
        if status.reason == DELETE {
            self.ports.remove(&status.port.port_no);
        } else {
            self.ports.insert(status.port.port_no, status.port);
        }
    }

    pub(super) fn port_changes(&self) -> u64 {
        self.port_changes
    }

    pub(super) fn port_count(&self) -> usize {
        self.ports.len()
    }

    /// Returns the port with this number, as it was reported last.
    pub(super) fn port(&self, number: u32) -> Option<session::Port> {
        self.ports.get(&number).map(port_record)
    }

    /// Returns a text of the description; empty if the switch gave none.
    pub(super) fn text(&self, field: fn(&Desc) -> &String) -> String {
        self.desc.as_ref().map(field).cloned().unwrap_or_default()
    }

    /// Describes the switch for apps.
    pub(super) fn switch_up(&self, channel: u32, version: u8) -> session::SwitchUp {
        session::SwitchUp {
            channel,
            dpid: self.dpid(),
            version: u32::from(version),
            tables: u32::from(self.tables()),
            capabilities: self.features.as_ref().map_or(0, |f| f.capabilities),
            ports: self.ports.values().map(port_record).collect(),
        }
    }
}

fn port_record(port: &Port) -> session::Port {
    session::Port {
        number: port.port_no,
        hw_addr: Bytes::copy_from_slice(&port.hw_addr.0),
        name: port.name.clone(),
        config: port.config,
        state: port.state,
        curr_speed_kbps: port.curr_speed,
    }
}
