//! What others may know of a channel.

use super::*;

/// What it is.
impl Channel {
    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// 0 while it is not known.
    pub(crate) fn dpid(&self) -> u64 {
        self.features
            .as_ref()
            .map_or(0, |features| features.datapath_id)
    }

    /// Of the wire.
    pub(crate) fn version(&self) -> u8 {
        match self.edge {
            Some(_) => v10::VERSION,
            None => v13::VERSION,
        }
    }

    /// It speaks OpenFlow 1.0: all rules are in one table.
    pub(crate) fn has_one_table(&self) -> bool {
        self.edge.is_some()
    }

    /// Which of the apps' tables the one table of such a switch is.
    pub(crate) fn place(&mut self, table: u8) {
        self.table = table;
        if let Some(edge) = &mut self.edge {
            edge.place(table);
        }
    }

    /// How many tables the switch has.
    pub(crate) fn tables(&self) -> u8 {
        self.features
            .as_ref()
            .map_or(0, |features| features.n_tables)
    }

    /// For apps.
    pub(crate) fn switch_up(&self, channel: u32) -> session::SwitchUp {
        session::SwitchUp {
            channel,
            dpid: self.dpid(),
            version: u32::from(self.version()),
            tables: u32::from(self.tables()),
            capabilities: self.features.as_ref().map_or(0, |f| f.capabilities),
            ports: self.ports.values().map(port_record).collect(),
        }
    }

    /// How often its ports have changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The port with this number, as it was described last.
    pub(crate) fn port(&self, number: u32) -> Option<session::Port> {
        self.ports.get(&number).map(port_record)
    }

    /// For morphd's table.
    pub(crate) fn report(&self, disconnects: u64, now: Instant) -> morph_api::supervisor::Switch {
        let connected = now.saturating_duration_since(self.connected);
        let desc = |field: fn(&Desc) -> &String| {
            self.desc.as_ref().map(field).cloned().unwrap_or_default()
        };
        morph_api::supervisor::Switch {
            dpid: self.dpid(),
            remote: self.remote.clone(),
            version: u32::from(self.version()),
            tables: u32::from(self.tables()),
            ports: self.ports.len() as u32,
            manufacturer: desc(|d| &d.mfr_desc),
            hardware: desc(|d| &d.hw_desc),
            software: desc(|d| &d.sw_desc),
            serial: desc(|d| &d.serial_num),
            description: desc(|d| &d.dp_desc),
            connected_ms: connected.as_millis() as u64,
            disconnects,
            messages_in: self.messages_in,
            messages_out: self.messages_out,
            errors: self.errors,
            role: self.role_name(),
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
