//! Rows that the API has no message for: what became of a request.

use morph_api::management::{ConfigEntry, QuarantinedEvent, Release};
use morph_openflow::text::PortName;
use morph_openflow::{AnyMessage, decode, type_name, v13};

use crate::schema::Table;

/// An event that was set aside.
pub(crate) struct Quarantined(pub(crate) QuarantinedEvent);

impl Quarantined {
    /// What it is, in a few words.
    pub(crate) fn summary(&self) -> String {
        let event = &self.0;
        match (decode(&event.message), event.count) {
            (Ok((_, AnyMessage::V13(v13::Message::PacketIn(packet)))), _) => {
                let port = packet
                    .in_port()
                    .map(|port| format!(" by port {}", PortName(port)));
                let (port, bytes) = (port.unwrap_or_default(), packet.data.len());
                format!("packet_in{port}, {bytes} bytes")
            }
            (Ok((header, _)), _) => type_name(&header)
                .map_or_else(|| event.kind.clone(), |name| name.to_ascii_lowercase()),
            (Err(_), 0) => event.kind.clone(),
            (Err(_), count) => format!("{} {count}", event.kind),
        }
    }
}

/// After `app install`.
pub(crate) struct Installed {
    pub(crate) release: Release,
    /// It was there before, with the same digest.
    pub(crate) already: bool,
}

/// After `app stop`.
pub(crate) struct Stopped {
    pub(crate) name: String,
}

/// After `app remove`.
pub(crate) struct Removed {
    pub(crate) name: String,
    /// From how many its rules were deleted.
    pub(crate) switches: u32,
}

/// After `store backup`.
pub(crate) struct Kept {
    pub(crate) file: String,
    pub(crate) revision: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// After `config set`.
pub(crate) struct Written {
    pub(crate) entry: ConfigEntry,
    /// The store's, of the transaction.
    pub(crate) revision: u64,
}

/// Of `schema diff`: a table in two releases.
pub(crate) struct TableChange {
    pub(crate) table: String,
    /// same, changed, added, removed.
    pub(crate) change: &'static str,
    pub(crate) old: Option<Table>,
    pub(crate) new: Option<Table>,
}
