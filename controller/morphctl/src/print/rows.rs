//! Rows for which the API has no message: mostly results of changes.

use morph_api::management::{ConfigEntry, QuarantinedEvent, Release};
use morph_openflow::text::PortName;
use morph_openflow::{AnyMessage, decode, type_name, v13};

pub(crate) struct QuarantineRow(pub(crate) QuarantinedEvent);

impl QuarantineRow {
    /// Describes the event in a few words: the type of its OpenFlow message, or the kind of event.
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

/// Result of `app install`.
pub(crate) struct InstallResult {
    pub(crate) release: Release,
    /// Tells that the release was installed before, with the same digest.
    pub(crate) already: bool,
}

/// Result of `app stop`.
pub(crate) struct StopResult {
    pub(crate) name: String,
}

/// Result of `app remove`.
pub(crate) struct RemoveResult {
    pub(crate) name: String,
    /// Number of switches on which rules were deleted.
    pub(crate) switches: u32,
}

/// Result of `store backup`.
pub(crate) struct BackupResult {
    pub(crate) file: String,
    pub(crate) revision: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// Result of `config set` for one entry.
pub(crate) struct ConfigResult {
    pub(crate) entry: ConfigEntry,
    /// Store revision of the transaction.
    pub(crate) revision: u64,
}
