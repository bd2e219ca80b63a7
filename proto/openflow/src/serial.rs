//! Functions for `#[serde(serialize_with)]`: JSON has the specification's field names in wire order, bytes as
//! hexadecimal digits, and addresses as text.

use std::fmt;

use bytes::Bytes;
use serde::Serializer;
use serde::ser::SerializeStruct;

use crate::addr::Dpid;

/// Serializes bytes as text, two hexadecimal digits a byte.
pub(crate) fn hex<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{bytes:x}"))
}

/// Serializes a 64-bit number as `0x` and hexadecimal digits: many JSON readers lose bits above 2^53. For cookies
/// and metadata, not for counters.
pub(crate) fn hex_number<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:#x}"))
}

/// Serializes a datapath id as 16 hexadecimal digits.
pub(crate) fn datapath<S: Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Dpid(*id))
}

/// Serializes an error message: type and code as numbers, both names as one text, and the data.
pub(crate) fn error<S: Serializer>(
    (kind, code): (u16, u16),
    names: &impl fmt::Display,
    data: &Bytes,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_struct("ErrorMsg", 4)?;
    fields.serialize_field("type", &kind)?;
    fields.serialize_field("code", &code)?;
    fields.serialize_field("name", &names.to_string())?;
    fields.serialize_field("data", &format_args!("{data:x}"))?;
    fields.end()
}
