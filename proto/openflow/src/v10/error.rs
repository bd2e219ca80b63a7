//! `OFPT_ERROR` (section 5.4.4): refusal of a request.

use std::fmt;

use crate::shared::error::{errors, show};

errors! {
    /// Hello exchange failed.
    hello_failed: HELLO_FAILED = 0:
        INCOMPATIBLE = 0, EPERM = 1;
    /// Request was not understood.
    bad_request: BAD_REQUEST = 1:
        BAD_VERSION = 0, BAD_TYPE = 1, BAD_STAT = 2, BAD_VENDOR = 3, BAD_SUBTYPE = 4, EPERM = 5,
        BAD_LEN = 6, BUFFER_EMPTY = 7, BUFFER_UNKNOWN = 8;
    /// Error in an action list.
    bad_action: BAD_ACTION = 2:
        BAD_TYPE = 0, BAD_LEN = 1, BAD_VENDOR = 2, BAD_VENDOR_TYPE = 3, BAD_OUT_PORT = 4,
        BAD_ARGUMENT = 5, EPERM = 6, TOO_MANY = 7, BAD_QUEUE = 8;
    /// Failure of a flow-mod.
    flow_mod_failed: FLOW_MOD_FAILED = 3:
        ALL_TABLES_FULL = 0, OVERLAP = 1, EPERM = 2, BAD_EMERG_TIMEOUT = 3, BAD_COMMAND = 4,
        UNSUPPORTED = 5;
    /// Failure of a port-mod.
    port_mod_failed: PORT_MOD_FAILED = 4:
        BAD_PORT = 0, BAD_HW_ADDR = 1;
    /// Failure of a queue operation.
    queue_op_failed: QUEUE_OP_FAILED = 5:
        BAD_PORT = 0, BAD_QUEUE = 1, EPERM = 2;
}

impl fmt::Display for ErrorMsg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, ALL, self.kind, self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_code_are_named_where_they_have_names() {
        for (kind, code, text) in [
            (kind::FLOW_MOD_FAILED, 5, "FLOW_MOD_FAILED/UNSUPPORTED"),
            (kind::QUEUE_OP_FAILED, 2, "QUEUE_OP_FAILED/EPERM"),
            (kind::HELLO_FAILED, 7, "HELLO_FAILED/code 7"),
            (99, 1, "type 99/code 1"),
        ] {
            let data = bytes::Bytes::new();
            assert_eq!(ErrorMsg { kind, code, data }.to_string(), text);
        }
    }
}
