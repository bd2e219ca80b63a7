//! Values as others read them, in JSON for one (`serde::Serialize`): fields by the specification's names, in wire order; bytes as
//! hexadecimal digits, addresses as text.

use std::fmt;

use bytes::Bytes;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::addr::Dpid;
use crate::header::MessageType;
use crate::text;
use crate::v13::{Oxm, OxmField};

/// Bytes as text: two hexadecimal digits each.
pub(crate) fn hex<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{bytes:x}"))
}

/// A number of 64 bits that is no count, as text: 0x and hexadecimal digits. Not all programs have such numbers.
pub(crate) fn hex_number<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:#x}"))
}

/// A datapath id as text.
pub(crate) fn datapath<S: Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Dpid(*id))
}

/// Of an error: its numbers, and the names of both.
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

/// By its number: the names are those of a version.
impl Serialize for MessageType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

/// By its name, or class and number.
impl Serialize for OxmField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The value as what the field is, and behind a slash its mask.
impl Serialize for Oxm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Oxm", 2)?;
        fields.serialize_field("field", &self.field)?;
        fields.serialize_field("value", &text::OxmValue(self).to_string())?;
        fields.end()
    }
}
