//! Properties of a channel for reports and for the mediator.

use super::*;

impl Channel {
    pub(crate) fn is_ready(&self) -> bool {
        self.state == ChannelState::Ready
    }

    pub(crate) fn awaits_hello(&self) -> bool {
        self.state == ChannelState::Hello
    }

    /// Returns the datapath id; 0 while it is unknown.
    pub(crate) fn dpid(&self) -> u64 {
        self.description.dpid()
    }

    pub(super) fn display_dpid(&self) -> Dpid {
        Dpid(self.dpid())
    }

    pub(crate) fn tables(&self) -> u8 {
        self.description.tables()
    }

    pub(crate) fn may_write(&self) -> bool {
        self.roles.may_write()
    }

    /// Describes the switch for apps.
    pub(crate) fn switch_up(&self, channel: u32) -> session::SwitchUp {
        self.description
            .switch_up(channel, self.transport.version())
    }

    pub(crate) fn port_changes(&self) -> u64 {
        self.description.port_changes()
    }

    /// Returns the port with this number, as it was reported last.
    pub(crate) fn port(&self, number: u32) -> Option<session::Port> {
        self.description.port(number)
    }

    /// Describes the switch for morphd.
    pub(crate) fn report(&self, disconnects: u64, now: Instant) -> supervisor::Switch {
        let connected = now.saturating_duration_since(self.connected);
        supervisor::Switch {
            dpid: self.dpid(),
            remote: self.remote.clone(),
            version: u32::from(self.transport.version()),
            tables: u32::from(self.tables()),
            ports: self.description.port_count() as u32,
            manufacturer: self.description.text(|desc| &desc.mfr_desc),
            hardware: self.description.text(|desc| &desc.hw_desc),
            software: self.description.text(|desc| &desc.sw_desc),
            serial: self.description.text(|desc| &desc.serial_num),
            description: self.description.text(|desc| &desc.dp_desc),
            connected_ms: connected.as_millis() as u64,
            disconnects,
            messages_in: self.received.messages,
            messages_out: self.transport.messages_out,
            errors: self.received.errors,
            role: self.roles.name(),
            refuses: self.refusals.names(),
            vanishing_ms: None,
        }
    }
}
