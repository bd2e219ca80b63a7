//! `OFPT_ERROR` (section 7.4.4): refusal of a request.

use std::fmt;

use bytes::Bytes;

use super::experimenter::ONF;
use super::{VERSION, port};
use crate::header::MessageType;
use crate::shared::error::{errors, show};
use crate::v10;

errors! {
    /// Hello exchange failed.
    hello_failed: HELLO_FAILED = 0:
        INCOMPATIBLE = 0, EPERM = 1;
    /// Request was not understood.
    bad_request: BAD_REQUEST = 1:
        BAD_VERSION = 0, BAD_TYPE = 1, BAD_MULTIPART = 2, BAD_EXPERIMENTER = 3, BAD_EXP_TYPE = 4,
        EPERM = 5, BAD_LEN = 6, BUFFER_EMPTY = 7, BUFFER_UNKNOWN = 8, BAD_TABLE_ID = 9,
        IS_SLAVE = 10, BAD_PORT = 11, BAD_PACKET = 12, MULTIPART_BUFFER_OVERFLOW = 13;
    /// Error in an action list.
    bad_action: BAD_ACTION = 2:
        BAD_TYPE = 0, BAD_LEN = 1, BAD_EXPERIMENTER = 2, BAD_EXP_TYPE = 3, BAD_OUT_PORT = 4,
        BAD_ARGUMENT = 5, EPERM = 6, TOO_MANY = 7, BAD_QUEUE = 8, BAD_OUT_GROUP = 9,
        MATCH_INCONSISTENT = 10, UNSUPPORTED_ORDER = 11, BAD_TAG = 12, BAD_SET_TYPE = 13,
        BAD_SET_LEN = 14, BAD_SET_ARGUMENT = 15;
    /// Error in an instruction list.
    bad_instruction: BAD_INSTRUCTION = 3:
        UNKNOWN_INST = 0, UNSUP_INST = 1, BAD_TABLE_ID = 2, UNSUP_METADATA = 3,
        UNSUP_METADATA_MASK = 4, BAD_EXPERIMENTER = 5, BAD_EXP_TYPE = 6, BAD_LEN = 7, EPERM = 8;
    /// Error in a match.
    bad_match: BAD_MATCH = 4:
        BAD_TYPE = 0, BAD_LEN = 1, BAD_TAG = 2, BAD_DL_ADDR_MASK = 3, BAD_NW_ADDR_MASK = 4,
        BAD_WILDCARDS = 5, BAD_FIELD = 6, BAD_VALUE = 7, BAD_MASK = 8, BAD_PREREQ = 9,
        DUP_FIELD = 10, EPERM = 11;
    /// Failure of a flow-mod.
    flow_mod_failed: FLOW_MOD_FAILED = 5:
        UNKNOWN = 0, TABLE_FULL = 1, BAD_TABLE_ID = 2, OVERLAP = 3, EPERM = 4, BAD_TIMEOUT = 5,
        BAD_COMMAND = 6, BAD_FLAGS = 7;
    /// Failure of a group-mod.
    group_mod_failed: GROUP_MOD_FAILED = 6:
        GROUP_EXISTS = 0, INVALID_GROUP = 1, WEIGHT_UNSUPPORTED = 2, OUT_OF_GROUPS = 3,
        OUT_OF_BUCKETS = 4, CHAINING_UNSUPPORTED = 5, WATCH_UNSUPPORTED = 6, LOOP = 7,
        UNKNOWN_GROUP = 8, CHAINED_GROUP = 9, BAD_TYPE = 10, BAD_COMMAND = 11, BAD_BUCKET = 12,
        BAD_WATCH = 13, EPERM = 14;
    /// Failure of a port-mod.
    port_mod_failed: PORT_MOD_FAILED = 7:
        BAD_PORT = 0, BAD_HW_ADDR = 1, BAD_CONFIG = 2, BAD_ADVERTISE = 3, EPERM = 4;
    /// Failure of a table-mod.
    table_mod_failed: TABLE_MOD_FAILED = 8:
        BAD_TABLE = 0, BAD_CONFIG = 1, EPERM = 2;
    /// Failure of a queue operation.
    queue_op_failed: QUEUE_OP_FAILED = 9:
        BAD_PORT = 0, BAD_QUEUE = 1, EPERM = 2;
    /// Failure of a set-config.
    switch_config_failed: SWITCH_CONFIG_FAILED = 10:
        BAD_FLAGS = 0, BAD_LEN = 1, EPERM = 2;
    /// Failure of a role request.
    role_request_failed: ROLE_REQUEST_FAILED = 11:
        STALE = 0, UNSUP = 1, BAD_ROLE = 2;
    /// Failure of a meter-mod.
    meter_mod_failed: METER_MOD_FAILED = 12:
        UNKNOWN = 0, METER_EXISTS = 1, INVALID_METER = 2, UNKNOWN_METER = 3, BAD_COMMAND = 4,
        BAD_FLAGS = 5, BAD_RATE = 6, BAD_BURST = 7, BAD_BAND = 8, BAD_BAND_VALUE = 9,
        OUT_OF_METERS = 10, OUT_OF_BANDS = 11;
    /// Failure of setting table features.
    table_features_failed: TABLE_FEATURES_FAILED = 13:
        BAD_TABLE = 0, BAD_METADATA = 1, BAD_TYPE = 2, BAD_LEN = 3, BAD_ARGUMENT = 4, EPERM = 5;
    /// Error defined by an experimenter; its code field holds the experimenter's error type.
    experimenter: EXPERIMENTER = 0xffff:
        ;
}

/// First experimenter error type for bundles (ONF extension 230); the others follow it.
const BUNDLE_FAILED: u16 = 2300;

/// Names of bundle errors (`ONFBFC_*`), by experimenter error type from 2300 on.
pub const BUNDLE_FAILED_NAMES: [&str; 16] = [
    "UNKNOWN",
    "EPERM",
    "BAD_ID",
    "BUNDLE_EXIST",
    "BUNDLE_CLOSED",
    "OUT_OF_BUNDLES",
    "BAD_TYPE",
    "BAD_FLAGS",
    "MSG_BAD_LEN",
    "MSG_BAD_XID",
    "MSG_UNSUP",
    "MSG_CONFLICT",
    "MSG_TOO_MANY",
    "MSG_FAILED",
    "TIMEOUT",
    "BUNDLE_IN_PROGRESS",
];

impl ErrorMsg {
    /// Splits an experimenter error into its type (stored in the code field), the experimenter id, and the
    /// remaining data.
    pub fn experimenter(&self) -> Option<(u16, u32, Bytes)> {
        if self.kind != kind::EXPERIMENTER {
            return None;
        }
        let experimenter: [u8; 4] = self.data.get(..4)?.try_into().ok()?;
        let experimenter = u32::from_be_bytes(experimenter);
        Some((self.code, experimenter, self.data.slice(4..)))
    }

    /// Name of a bundle error.
    fn bundle_failed(&self) -> Option<&'static str> {
        match self.experimenter()? {
            (code, ONF, _) => {
                let code = usize::from(code.checked_sub(BUNDLE_FAILED)?);
                BUNDLE_FAILED_NAMES.get(code).copied()
            }
            _ => None,
        }
    }
}

/// Refused messages, as far as errors quote them.
impl ErrorMsg {
    /// Type of the refused message in words, as in `packet-out`; empty if the error does not quote it.
    pub fn refused_type(&self) -> String {
        let [version, kind, ..] = self.data[..] else {
            return String::new();
        };
        let name = match version {
            v10::VERSION => v10::kind::name(MessageType(kind)),
            _ => MessageType(kind).name(),
        };
        name.map_or_else(String::new, |name| name.to_lowercase().replace('_', "-"))
    }

    /// Refused message in words, as in `packet-out to port 5`; empty if the error does not quote it.
    pub fn refused_message(&self) -> String {
        let name = self.refused_type();
        let kind = match self.data.get(..2) {
            Some(&[VERSION, kind]) => MessageType(kind),
            _ => return name,
        };
        match kind {
            // Header, buffer, ingress port, length of the actions; then the first action.
            MessageType::PACKET_OUT => match self.data.get(24..32) {
                Some(&[0, 0, _, _, p3, p2, p1, p0]) => {
                    format!("{name} to port {}", port_name([p3, p2, p1, p0]))
                }
                _ => name,
            },
            // Header, cookie and its mask.
            MessageType::FLOW_MOD => match self.data.get(24) {
                Some(table) => format!("{name} of table {table}"),
                None => name,
            },
            _ => name,
        }
    }
}

fn port_name(number: [u8; 4]) -> String {
    match u32::from_be_bytes(number) {
        port::IN_PORT => "IN_PORT".into(),
        port::TABLE => "TABLE".into(),
        port::NORMAL => "NORMAL".into(),
        port::FLOOD => "FLOOD".into(),
        port::ALL => "ALL".into(),
        port::CONTROLLER => "CONTROLLER".into(),
        port::LOCAL => "LOCAL".into(),
        number => number.to_string(),
    }
}

impl fmt::Display for ErrorMsg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, code) = (self.kind, self.code);
        if let Some(code) = self.bundle_failed() {
            return write!(f, "BUNDLE_FAILED/{code}");
        }
        match kind {
            kind::EXPERIMENTER => write!(f, "EXPERIMENTER/{code}"),
            kind => show(f, ALL, kind, code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_message_is_named_as_far_as_it_is_quoted() {
        use crate::v13::{Action, FlowMod, Message, PacketOut};
        let out = |actions| {
            Message::PacketOut(PacketOut {
                buffer_id: crate::v13::NO_BUFFER,
                in_port: port::CONTROLLER,
                actions,
                data: Bytes::from_static(&[0; 60]),
            })
        };
        let flow = FlowMod {
            table_id: 8,
            ..FlowMod::default()
        };
        for (message, cut, text) in [
            (out(vec![Action::output(5)]), 64, "packet-out to port 5"),
            (
                out(vec![Action::output(port::FLOOD)]),
                64,
                "packet-out to port FLOOD",
            ),
            (out(vec![Action::Group(5)]), 64, "packet-out"),
            (out(vec![Action::output(5)]), 31, "packet-out"),
            (Message::FlowMod(flow), 64, "flow-mod of table 8"),
            (Message::BarrierRequest, 64, "barrier-request"),
            (Message::BarrierRequest, 1, ""),
        ] {
            let data = message.encode(1);
            let error = ErrorMsg {
                kind: 1,
                code: 1,
                data: data.slice(..cut.min(data.len())),
            };
            assert_eq!(error.refused_message(), text);
        }
        let stats_request_10 = Bytes::from_static(&[1, 16, 0, 8, 0, 0, 0, 0]);
        let error = ErrorMsg {
            kind: 1,
            code: 1,
            data: stats_request_10,
        };
        assert_eq!(error.refused_message(), "stats-request");
    }

    #[test]
    fn type_and_code_are_named_where_they_have_names() {
        for (kind, code, text) in [
            (kind::BAD_MATCH, 9, "BAD_MATCH/BAD_PREREQ"),
            (kind::METER_MOD_FAILED, 11, "METER_MOD_FAILED/OUT_OF_BANDS"),
            (kind::HELLO_FAILED, 7, "HELLO_FAILED/code 7"),
            (kind::EXPERIMENTER, 3, "EXPERIMENTER/3"),
            (99, 1, "type 99/code 1"),
        ] {
            let data = Bytes::new();
            assert_eq!(ErrorMsg { kind, code, data }.to_string(), text);
        }
        let bundle = ErrorMsg {
            kind: kind::EXPERIMENTER,
            code: 2303,
            data: Bytes::from_static(b"ONF\0refused"),
        };
        assert_eq!(bundle.to_string(), "BUNDLE_FAILED/BUNDLE_EXIST");
    }

    #[test]
    fn types_and_codes_are_numbered_consecutively() {
        for (place, (kind, _, codes)) in ALL.iter().enumerate() {
            assert!(usize::from(*kind) == place || codes.is_empty());
            let numbers: Vec<usize> = codes.iter().map(|(n, _)| usize::from(*n)).collect();
            assert_eq!(numbers, (0..codes.len()).collect::<Vec<_>>());
        }
        assert_eq!(code::bad_match::BAD_PREREQ, 9);
    }
}
