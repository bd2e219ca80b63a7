//! OpenFlow codec: decodes frames into values and encodes values into frames. No I/O, no clock, no async.
//!
//! | module | contents |
//! |---|---|
//! | [`frame`] | splits a byte stream into frames, without copying |
//! | [`decode`] | decodes a frame of any supported version |
//! | [`v10`] | messages of OpenFlow 1.0 |
//! | [`v13`] | messages of OpenFlow 1.3, and zero-copy views of frames that are only forwarded |
//! | [`lldp`] | LLDP probes for link discovery |
//! | [`entry`] | group entries and meter entries as values, and the messages that change them |
//! | [`rule`] | flow entries as values: normal form, difference, and the flow-mods for a difference |
//! | [`text`] | flow entries as text, in the syntax of `ovs-ofctl` |
//!
//! Section numbers are those of the OpenFlow Switch Specification 1.3.5, in [`v10`] those of 1.0.1.

#![warn(missing_docs)]

mod addr;
mod any;
pub mod entry;
mod error;
pub mod frame;
mod header;
pub mod lldp;
pub mod rule;
mod serial;
mod shared;
pub mod text;
pub mod v10;
pub mod v13;
mod wire;

pub use addr::{AddrParseError, Dpid, MacAddr, Vlan};
pub use any::{AnyMessage, decode, type_name};
pub use error::{DecodeError, EncodeError, Problem, SkippedRule};
pub use header::{Header, MessageType};
