//! OpenFlow messages: values to bytes and back. Pure: no I/O, no clock, no async.
//!
//! | module | what |
//! |---|---|
//! | [`frame`] | cuts a byte stream into frames, without copying |
//! | [`decode`] | reads a frame of whatever version |
//! | [`v10`] | the messages of OpenFlow 1.0 |
//! | [`v13`] | the messages of OpenFlow 1.3, and peeks at the fixed parts of frames that are only passed on |
//! | [`lldp`] | the probes that find links |
//! | [`rule`] | rules as values: their normal form, their difference, and the flow-mods that make it |
//! | [`text`] | rules as people read them |
//!
//! Section numbers in the documentation are those of the OpenFlow Switch Specification 1.3.5.

#![warn(missing_docs)]

mod addr;
mod alike;
mod any;
mod error;
pub mod frame;
mod header;
pub mod lldp;
pub mod rule;
mod serial;
pub mod text;
pub mod v10;
pub mod v13;
mod wire;

pub use addr::{AddrParseError, Dpid, MacAddr};
pub use any::{AnyMessage, decode, type_name};
pub use error::{DecodeError, EncodeError, Problem};
pub use header::{Header, MessageType};
