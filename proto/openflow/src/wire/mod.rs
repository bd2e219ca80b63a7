//! Bounds-checked reading and writing, and zero-copy structs for the fixed parts of messages. All decoders take
//! bytes from a [`Reader`], which never goes beyond its end. All encoders append to a [`Writer`], which records a
//! length that exceeds its field.

mod fixed;
mod fixed_only;
mod read;
mod text;
mod tlv;
mod write;

#[allow(unreachable_pub)]
pub use fixed::Wire;
pub(crate) use fixed::{Fixed, fixed};
pub(crate) use fixed_only::fixed_only;
pub(crate) use read::{Reader, Tlv, Tlvs};
pub(crate) use text::{read_text, write_text};
pub(crate) use tlv::{ALIGN, Padding, padding};
pub(crate) use write::Writer;
