//! Multipart requests by type.

use bytes::Bytes;

use super::header::MORE;
use super::{FlowStatsRequest, MultipartFixed, QueueStatsRequest, TableFeatures, kind};
use crate::error::DecodeError;
use crate::v13::Experimenter;
use crate::wire::{Reader, Writer, fixed};

fixed! {
    /// Body of requests for one port, group or meter: `ofp_port_stats_request`, `ofp_group_stats_request` and
    /// `ofp_meter_multipart_request`.
    struct IdRequestFixed = "multipart.request" {
        id: u32,
        pad: [u8; 4],
    }
}

/// Multipart request, which may be answered by several replies.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum MultipartRequest {
    /// Asks for the description of the switch.
    Desc,
    /// Asks for individual rules.
    Flow(FlowStatsRequest),
    /// Asks for sums over rules.
    Aggregate(FlowStatsRequest),
    /// Asks for the counters of ports.
    PortStats {
        /// Port number, or `port::ANY`.
        port_no: u32,
    },
    /// Asks for the descriptions of all ports.
    PortDesc,
    /// Asks for the counters of all tables.
    Table,
    /// Asks for the counters of queues.
    Queue(QueueStatsRequest),
    /// Asks for the counters of groups.
    Group {
        /// Group id, or `group::ALL`.
        group_id: u32,
    },
    /// Asks for the descriptions of all groups.
    GroupDesc,
    /// Asks for the group capabilities of the switch.
    GroupFeatures,
    /// Asks for the counters of meters.
    Meter {
        /// Meter id, or `meter::ALL`.
        meter_id: u32,
    },
    /// Asks for the configurations of meters.
    MeterConfig {
        /// Meter id, or `meter::ALL`.
        meter_id: u32,
    },
    /// Asks for the meter capabilities of the switch.
    MeterFeatures,
    /// Asks for the capabilities of tables; with a list, configures the tables.
    TableFeatures {
        /// Tells whether more parts of the request follow.
        more: bool,
        /// Capabilities to configure; empty for a query.
        tables: Vec<TableFeatures>,
    },
    /// Request defined by an experimenter.
    Experimenter {
        /// Tells whether more parts of the request follow.
        more: bool,
        /// Contents defined by the experimenter.
        body: Experimenter,
    },
    /// Request of an unknown type or with undefined flags, kept as bytes.
    Unknown {
        /// Multipart type on the wire.
        #[serde(rename = "type")]
        kind: u16,
        /// Flags of the request.
        flags: u16,
        /// Bytes after `ofp_multipart_request`.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl MultipartRequest {
    /// Multipart type, a constant of [`kind`].
    pub fn kind(&self) -> u16 {
        match self {
            MultipartRequest::Desc => kind::DESC,
            MultipartRequest::Flow(_) => kind::FLOW,
            MultipartRequest::Aggregate(_) => kind::AGGREGATE,
            MultipartRequest::PortStats { .. } => kind::PORT_STATS,
            MultipartRequest::PortDesc => kind::PORT_DESC,
            MultipartRequest::Table => kind::TABLE,
            MultipartRequest::Queue(_) => kind::QUEUE,
            MultipartRequest::Group { .. } => kind::GROUP,
            MultipartRequest::GroupDesc => kind::GROUP_DESC,
            MultipartRequest::GroupFeatures => kind::GROUP_FEATURES,
            MultipartRequest::Meter { .. } => kind::METER,
            MultipartRequest::MeterConfig { .. } => kind::METER_CONFIG,
            MultipartRequest::MeterFeatures => kind::METER_FEATURES,
            MultipartRequest::TableFeatures { .. } => kind::TABLE_FEATURES,
            MultipartRequest::Experimenter { .. } => kind::EXPERIMENTER,
            MultipartRequest::Unknown { kind, .. } => *kind,
        }
    }

    /// Only table features and experimenter requests can have several parts. Other requests with flags are kept as
    /// bytes.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<MultipartFixed>()?;
        let (kind, flags) = (fixed.kind(), fixed.flags());
        let more = flags & MORE != 0;
        Ok(match kind {
            kind::TABLE_FEATURES if flags & !MORE == 0 => MultipartRequest::TableFeatures {
                more,
                tables: reader.all(TableFeatures::decode)?,
            },
            kind::EXPERIMENTER if flags & !MORE == 0 => MultipartRequest::Experimenter {
                more,
                body: Experimenter::decode(reader)?,
            },
            _ if flags == 0 => Self::decode_plain(kind, reader)?,
            _ => Self::unknown(kind, flags, reader),
        })
    }

    fn unknown(kind: u16, flags: u16, reader: &mut Reader<'_>) -> Self {
        let body = reader.rest();
        MultipartRequest::Unknown { kind, flags, body }
    }

    fn decode_plain(kind: u16, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let id = |reader: &mut Reader<'_>| Ok(reader.fixed::<IdRequestFixed>()?.id());
        Ok(match kind {
            kind::DESC => MultipartRequest::Desc,
            kind::FLOW => MultipartRequest::Flow(FlowStatsRequest::decode(reader)?),
            kind::AGGREGATE => MultipartRequest::Aggregate(FlowStatsRequest::decode(reader)?),
            kind::TABLE => MultipartRequest::Table,
            kind::PORT_STATS => MultipartRequest::PortStats {
                port_no: id(reader)?,
            },
            kind::QUEUE => MultipartRequest::Queue(QueueStatsRequest::decode(reader)?),
            kind::GROUP => MultipartRequest::Group {
                group_id: id(reader)?,
            },
            kind::GROUP_DESC => MultipartRequest::GroupDesc,
            kind::GROUP_FEATURES => MultipartRequest::GroupFeatures,
            kind::METER => MultipartRequest::Meter {
                meter_id: id(reader)?,
            },
            kind::METER_CONFIG => MultipartRequest::MeterConfig {
                meter_id: id(reader)?,
            },
            kind::METER_FEATURES => MultipartRequest::MeterFeatures,
            kind::PORT_DESC => MultipartRequest::PortDesc,
            kind => Self::unknown(kind, 0, reader),
        })
    }

    fn flags(&self) -> u16 {
        match self {
            MultipartRequest::TableFeatures { more, .. }
            | MultipartRequest::Experimenter { more, .. } => u16::from(*more),
            MultipartRequest::Unknown { flags, .. } => *flags,
            _ => 0,
        }
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&MultipartFixed {
            kind: self.kind().into(),
            flags: self.flags().into(),
            pad: [0; 4],
        });
        match self {
            MultipartRequest::Desc
            | MultipartRequest::Table
            | MultipartRequest::GroupDesc
            | MultipartRequest::GroupFeatures
            | MultipartRequest::MeterFeatures
            | MultipartRequest::PortDesc => (),
            MultipartRequest::Flow(request) | MultipartRequest::Aggregate(request) => {
                request.encode(w);
            }
            MultipartRequest::PortStats { port_no: id }
            | MultipartRequest::Group { group_id: id }
            | MultipartRequest::Meter { meter_id: id }
            | MultipartRequest::MeterConfig { meter_id: id } => w.fixed(&IdRequestFixed {
                id: (*id).into(),
                pad: [0; 4],
            }),
            MultipartRequest::Queue(request) => request.encode(w),
            MultipartRequest::TableFeatures { tables, .. } => {
                tables.iter().for_each(|table| table.encode(w));
            }
            MultipartRequest::Experimenter { body, .. } => body.encode(w),
            MultipartRequest::Unknown { body, .. } => w.bytes(body),
        }
    }
}
