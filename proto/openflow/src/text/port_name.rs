//! Port numbers as text.

use std::fmt::{self, Display, Formatter};

use crate::v13::port;

/// Displays a port number; reserved ports (`OFPP_*`) by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortName(
    /// Port number in OpenFlow 1.3.
    pub u32,
);

impl Display for PortName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            port::IN_PORT => "IN_PORT",
            port::TABLE => "TABLE",
            port::NORMAL => "NORMAL",
            port::FLOOD => "FLOOD",
            port::ALL => "ALL",
            port::CONTROLLER => "CONTROLLER",
            port::LOCAL => "LOCAL",
            port::ANY => "ANY",
            number => return write!(f, "{number}"),
        })
    }
}
