//! Statistics (section 5.3.5): requests, and replies in one or more parts.

mod counters;
mod flow;

pub use crate::shared::counters::AggregateStats;
pub use counters::{PortStats, QueueStats, TableStats};
pub use flow::{FlowStats, FlowStatsRequest};

use bytes::Bytes;

use super::Desc;
use crate::error::{DecodeError, SkippedRule, strictly};
use crate::wire::{Reader, Writer, fixed};

/// Types of statistics: `OFPST_*`.
pub mod kind {
    /// Description of the switch.
    pub const DESC: u16 = 0;
    /// Individual rules with their counters.
    pub const FLOW: u16 = 1;
    /// Sums over rules.
    pub const AGGREGATE: u16 = 2;
    /// Counters of tables.
    pub const TABLE: u16 = 3;
    /// Counters of ports.
    pub const PORT: u16 = 4;
    /// Counters of queues.
    pub const QUEUE: u16 = 5;
    /// Type defined by a vendor.
    pub const VENDOR: u16 = 0xffff;
}

/// `OFPSF_REPLY_MORE`: more parts follow.
const MORE: u16 = 1;

fixed! {
    /// `ofp_stats_request` and `ofp_stats_reply` from their header to their body.
    struct StatsFixed = "stats" {
        kind: u16,
        flags: u16,
    }
}

fixed! {
    /// `ofp_port_stats_request`: a port number.
    struct PortRequestFixed = "stats.port_request" {
        port_no: u16,
        pad: [u8; 6],
    }
}

fixed! {
    /// `ofp_queue_stats_request`: a port and a queue.
    struct QueueRequestFixed = "stats.queue_request" {
        port_no: u16,
        pad: [u8; 2],
        queue_id: u32,
    }
}

fixed! {
    /// Vendor id at the start of vendor statistics.
    struct StatsVendorFixed = "stats.vendor" {
        vendor: u32,
    }
}

/// Request for statistics.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum StatsRequest {
    /// Asks for the description of the switch.
    Desc,
    /// Asks for individual rules.
    Flow(FlowStatsRequest),
    /// Asks for sums over rules.
    Aggregate(FlowStatsRequest),
    /// Asks for the counters of all tables.
    Table,
    /// Asks for the counters of ports.
    Port {
        /// Port number, or `port::NONE` for all.
        port_no: u16,
    },
    /// Asks for the counters of queues.
    Queue {
        /// Port number, or `port::ALL`.
        port_no: u16,
        /// Queue id, or all ones for all queues.
        queue_id: u32,
    },
    /// Request defined by a vendor.
    Vendor {
        /// Vendor id, as in `OFPT_VENDOR`.
        vendor: u32,
        /// Bytes after the vendor id.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
    /// Request of an unknown type or with flags, kept as bytes.
    Unknown {
        /// Statistics type on the wire.
        #[serde(rename = "type")]
        kind: u16,
        /// Flags of the request.
        flags: u16,
        /// Bytes after `ofp_stats_request`.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl StatsRequest {
    /// Statistics type, a constant of [`kind`].
    pub fn kind(&self) -> u16 {
        match self {
            StatsRequest::Desc => kind::DESC,
            StatsRequest::Flow(_) => kind::FLOW,
            StatsRequest::Aggregate(_) => kind::AGGREGATE,
            StatsRequest::Table => kind::TABLE,
            StatsRequest::Port { .. } => kind::PORT,
            StatsRequest::Queue { .. } => kind::QUEUE,
            StatsRequest::Vendor { .. } => kind::VENDOR,
            StatsRequest::Unknown { kind, .. } => *kind,
        }
    }

    /// No request flags are defined, so a request with flags is kept as bytes.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<StatsFixed>()?;
        let (kind, flags) = (fixed.kind(), fixed.flags());
        if flags != 0 {
            let body = reader.rest();
            return Ok(StatsRequest::Unknown { kind, flags, body });
        }
        Ok(match kind {
            kind::DESC => StatsRequest::Desc,
            kind::FLOW => StatsRequest::Flow(FlowStatsRequest::decode(reader)?),
            kind::AGGREGATE => StatsRequest::Aggregate(FlowStatsRequest::decode(reader)?),
            kind::TABLE => StatsRequest::Table,
            kind::PORT => StatsRequest::Port {
                port_no: reader.fixed::<PortRequestFixed>()?.port_no(),
            },
            kind::QUEUE => {
                let fixed = reader.fixed::<QueueRequestFixed>()?;
                StatsRequest::Queue {
                    port_no: fixed.port_no(),
                    queue_id: fixed.queue_id(),
                }
            }
            kind::VENDOR => StatsRequest::Vendor {
                vendor: reader.fixed::<StatsVendorFixed>()?.vendor(),
                body: reader.rest(),
            },
            kind => StatsRequest::Unknown {
                kind,
                flags,
                body: reader.rest(),
            },
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        let flags = match self {
            StatsRequest::Unknown { flags, .. } => *flags,
            _ => 0,
        };
        w.fixed(&StatsFixed {
            kind: self.kind().into(),
            flags: flags.into(),
        });
        match self {
            StatsRequest::Desc | StatsRequest::Table => (),
            StatsRequest::Flow(request) | StatsRequest::Aggregate(request) => request.encode(w),
            StatsRequest::Port { port_no } => w.fixed(&PortRequestFixed {
                port_no: (*port_no).into(),
                pad: [0; 6],
            }),
            StatsRequest::Queue { port_no, queue_id } => w.fixed(&QueueRequestFixed {
                port_no: (*port_no).into(),
                pad: [0; 2],
                queue_id: (*queue_id).into(),
            }),
            StatsRequest::Vendor { vendor, body } => {
                vendor_body(w, *vendor, body);
            }
            StatsRequest::Unknown { body, .. } => w.bytes(body),
        }
    }
}

fn vendor_body(w: &mut Writer<'_>, vendor: u32, body: &[u8]) {
    w.fixed(&StatsVendorFixed {
        vendor: vendor.into(),
    });
    w.bytes(body);
}

/// Statistics reply, or one part of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StatsReply {
    /// Tells whether more parts follow.
    pub more: bool,
    /// Contents of this part.
    pub body: StatsBody,
}

/// Contents of a statistics reply, or of one part.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum StatsBody {
    /// Description of the switch.
    Desc(Desc),
    /// Individual rules with their counters.
    Flow(Vec<FlowStats>),
    /// Sums over the selected rules.
    Aggregate(AggregateStats),
    /// Counters of tables.
    Table(Vec<TableStats>),
    /// Counters of ports.
    Port(Vec<PortStats>),
    /// Counters of queues.
    Queue(Vec<QueueStats>),
    /// Body defined by a vendor.
    Vendor {
        /// Vendor id, as in `OFPT_VENDOR`.
        vendor: u32,
        /// Bytes after the vendor id.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
    /// Body of an unknown type, kept as bytes.
    Unknown {
        /// Statistics type on the wire.
        #[serde(rename = "type")]
        kind: u16,
        /// Bytes after `ofp_stats_reply`.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl StatsReply {
    /// Undefined flags are dropped.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        strictly(|skipped| Self::decode_lenient(reader, skipped))
    }

    /// Decodes a reply, without the rules that cannot be decoded.
    pub(crate) fn decode_lenient(
        reader: &mut Reader<'_>,
        skipped: &mut Vec<SkippedRule>,
    ) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<StatsFixed>()?;
        let body = match fixed.kind() {
            kind::DESC => StatsBody::Desc(Desc::decode(reader)?),
            kind::FLOW => StatsBody::Flow(reader.rules(FlowStats::decode, skipped)),
            kind::AGGREGATE => StatsBody::Aggregate(AggregateStats::decode(reader)?),
            kind::TABLE => StatsBody::Table(reader.all(TableStats::decode)?),
            kind::PORT => StatsBody::Port(reader.all(PortStats::decode)?),
            kind::QUEUE => StatsBody::Queue(reader.all(QueueStats::decode)?),
            kind::VENDOR => StatsBody::Vendor {
                vendor: reader.fixed::<StatsVendorFixed>()?.vendor(),
                body: reader.rest(),
            },
            kind => StatsBody::Unknown {
                kind,
                body: reader.rest(),
            },
        };
        let more = fixed.flags() & MORE != 0;
        Ok(StatsReply { more, body })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&StatsFixed {
            kind: self.body.kind().into(),
            flags: u16::from(self.more).into(),
        });
        self.body.encode(w);
    }
}

impl StatsBody {
    /// Statistics type, a constant of [`kind`].
    pub fn kind(&self) -> u16 {
        match self {
            StatsBody::Desc(_) => kind::DESC,
            StatsBody::Flow(_) => kind::FLOW,
            StatsBody::Aggregate(_) => kind::AGGREGATE,
            StatsBody::Table(_) => kind::TABLE,
            StatsBody::Port(_) => kind::PORT,
            StatsBody::Queue(_) => kind::QUEUE,
            StatsBody::Vendor { .. } => kind::VENDOR,
            StatsBody::Unknown { kind, .. } => *kind,
        }
    }

    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            StatsBody::Desc(desc) => desc.encode(w),
            StatsBody::Flow(rules) => rules.iter().for_each(|rule| rule.encode(w)),
            StatsBody::Aggregate(sum) => sum.encode(w),
            StatsBody::Table(tables) => tables.iter().for_each(|table| table.encode(w)),
            StatsBody::Port(ports) => ports.iter().for_each(|port| port.encode(w)),
            StatsBody::Queue(queues) => queues.iter().for_each(|queue| queue.encode(w)),
            StatsBody::Vendor { vendor, body } => vendor_body(w, *vendor, body),
            StatsBody::Unknown { body, .. } => w.bytes(body),
        }
    }
}
