//! Requests.

use bytes::Bytes;

use super::{FlowStatsRequest, MORE, MultipartFixed, QueueStatsRequest, TableFeatures, kind};
use crate::error::DecodeError;
use crate::v13::Experimenter;
use crate::wire::{Reader, Writer, fixed};

fixed! {
    /// `ofp_port_stats_request`, `ofp_group_stats_request` and `ofp_meter_multipart_request`: whose.
    struct WhichFixed = "multipart.request" {
        id: u32,
        pad: [u8; 4],
    }
}

/// Asks for something that may not fit into one message.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum MultipartRequest {
    /// The description of the switch.
    Desc,
    /// Rules, one by one.
    Flow(FlowStatsRequest),
    /// Rules, summed up.
    Aggregate(FlowStatsRequest),
    /// Counters of ports.
    PortStats {
        /// Which, or `port::ANY`.
        port_no: u32,
    },
    /// Ports.
    PortDesc,
    /// Counters of tables.
    Table,
    /// Counters of queues.
    Queue(QueueStatsRequest),
    /// Counters of groups.
    Group {
        /// Which, or `group::ALL`.
        group_id: u32,
    },
    /// Groups.
    GroupDesc,
    /// What groups the switch can have.
    GroupFeatures,
    /// Counters of meters.
    Meter {
        /// Which, or `meter::ALL`.
        meter_id: u32,
    },
    /// Meters.
    MeterConfig {
        /// Which, or `meter::ALL`.
        meter_id: u32,
    },
    /// What meters the switch can have.
    MeterFeatures,
    /// What tables can do; with features, what they shall.
    TableFeatures {
        /// More parts of the request follow.
        more: bool,
        /// None: asks only.
        tables: Vec<TableFeatures>,
    },
    /// An experimenter's own.
    Experimenter {
        /// More parts of the request follow.
        more: bool,
        /// What it says.
        body: Experimenter,
    },
    /// One that this module does not know.
    Unknown {
        /// Its type.
        #[serde(rename = "type")]
        kind: u16,
        /// Its flags.
        flags: u16,
        /// After `ofp_multipart_request`.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl MultipartRequest {
    /// Its type, a constant of [`kind`].
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

    /// Of the known requests, two can come in parts. Any other with flags is kept as it is.
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
        let which = |reader: &mut Reader<'_>| Ok(reader.fixed::<WhichFixed>()?.id());
        Ok(match kind {
            kind::DESC => MultipartRequest::Desc,
            kind::FLOW => MultipartRequest::Flow(FlowStatsRequest::decode(reader)?),
            kind::AGGREGATE => MultipartRequest::Aggregate(FlowStatsRequest::decode(reader)?),
            kind::TABLE => MultipartRequest::Table,
            kind::PORT_STATS => MultipartRequest::PortStats {
                port_no: which(reader)?,
            },
            kind::QUEUE => MultipartRequest::Queue(QueueStatsRequest::decode(reader)?),
            kind::GROUP => MultipartRequest::Group {
                group_id: which(reader)?,
            },
            kind::GROUP_DESC => MultipartRequest::GroupDesc,
            kind::GROUP_FEATURES => MultipartRequest::GroupFeatures,
            kind::METER => MultipartRequest::Meter {
                meter_id: which(reader)?,
            },
            kind::METER_CONFIG => MultipartRequest::MeterConfig {
                meter_id: which(reader)?,
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
            | MultipartRequest::MeterConfig { meter_id: id } => w.fixed(&WhichFixed {
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
