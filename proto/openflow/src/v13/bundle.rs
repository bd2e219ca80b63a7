//! Bundles: messages that a switch carries out together or not at all. Extension 230 of the ONF to OpenFlow 1.3,
//! messages of [`experimenter::ONF`](super::experimenter::ONF).

use bytes::Bytes;

use super::experimenter::{ExperimenterFixed, ONF};
use super::message::{self, Message};
use crate::error::{DecodeError, EncodeError, Problem};
use crate::header::Header;
use crate::wire::{Padding, Reader, Tlv, Tlvs, Writer, fixed, padding};

/// `ONF_ET_BUNDLE_CONTROL`.
pub(crate) const CONTROL: u32 = 2300;
/// `ONF_ET_BUNDLE_ADD_MESSAGE`.
pub(crate) const ADD_MESSAGE: u32 = 2301;

/// What is asked or answered: `ONF_BCT_*`.
pub mod control {
    /// Opens a bundle.
    pub const OPEN_REQUEST: u16 = 0;
    /// It is open.
    pub const OPEN_REPLY: u16 = 1;
    /// Closes a bundle: nothing can be added any more.
    pub const CLOSE_REQUEST: u16 = 2;
    /// It is closed.
    pub const CLOSE_REPLY: u16 = 3;
    /// Carries out what is in it.
    pub const COMMIT_REQUEST: u16 = 4;
    /// It is done.
    pub const COMMIT_REPLY: u16 = 5;
    /// Forgets it.
    pub const DISCARD_REQUEST: u16 = 6;
    /// It is forgotten.
    pub const DISCARD_REPLY: u16 = 7;
}

/// How a bundle is carried out: `ONF_BF_*`.
pub mod flag {
    /// No packet sees a part of it.
    pub const ATOMIC: u16 = 1;
    /// In the order in which it came.
    pub const ORDERED: u16 = 1 << 1;
}

fixed! {
    /// `onf_bundle_ctrl_msg` from its type to its properties.
    struct ControlFixed = "bundle_control" {
        bundle_id: u32,
        kind: u16,
        flags: u16,
    }
}

fixed! {
    /// `onf_bundle_add_msg` from its type to its message.
    struct AddFixed = "bundle_add" {
        bundle_id: u32,
        pad: [u8; 2],
        flags: u16,
    }
}

/// Opens, closes, carries out or forgets a bundle.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BundleControl {
    /// Which.
    pub bundle_id: u32,
    /// `control::*`.
    #[serde(rename = "type")]
    pub kind: u16,
    /// `flag::*`.
    pub flags: u16,
    /// All of them experimenters', so far.
    pub properties: Vec<BundleProperty>,
}

impl BundleControl {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<ControlFixed>()?;
        Ok(BundleControl {
            bundle_id: fixed.bundle_id(),
            kind: fixed.kind(),
            flags: fixed.flags(),
            properties: properties(reader)?,
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        head(w, CONTROL);
        w.fixed(&ControlFixed {
            bundle_id: self.bundle_id.into(),
            kind: self.kind.into(),
            flags: self.flags.into(),
        });
        self.properties.iter().for_each(|p| p.encode(w));
    }
}

/// Adds a message to a bundle.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BundleAdd {
    /// Which.
    pub bundle_id: u32,
    /// As when it was opened.
    pub flags: u16,
    /// The frame that is added; it has the xid of the message that adds it.
    #[serde(serialize_with = "crate::serial::hex")]
    pub frame: Bytes,
    /// All of them experimenters', so far.
    pub properties: Vec<BundleProperty>,
}

impl BundleAdd {
    /// Adds a message, which has to be sent with this xid.
    pub fn new(
        bundle_id: u32,
        flags: u16,
        message: &Message,
        xid: u32,
    ) -> Result<BundleAdd, EncodeError> {
        Ok(BundleAdd {
            bundle_id,
            flags,
            frame: message.try_encode(xid)?,
            properties: Vec::new(),
        })
    }

    /// The message that is added.
    pub fn message(&self) -> Result<(Header, Message), DecodeError> {
        message::decode(&self.frame)
    }

    /// The message within is not looked into: bundles in bundles end here.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<AddFixed>()?;
        let offset = reader.offset();
        let (what, needed, left) = ("bundle_add.message", Header::LEN, reader.left());
        let header = { *reader }
            .slice(what, needed)
            .map_err(|_| DecodeError::new(what, offset, Problem::Short { needed, left }))?;
        let header = Header::read(header).map_err(|e| DecodeError {
            offset: e.offset + offset,
            ..e
        })?;
        let length = usize::from(header.length);
        let frame = reader.sub(what, length)?.rest();
        if !reader.is_empty() {
            reader.skip("bundle_add.pad", padding(length))?;
        }
        Ok(BundleAdd {
            bundle_id: fixed.bundle_id(),
            flags: fixed.flags(),
            frame,
            properties: properties(reader)?,
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        head(w, ADD_MESSAGE);
        w.fixed(&AddFixed {
            bundle_id: self.bundle_id.into(),
            pad: [0; 2],
            flags: self.flags.into(),
        });
        w.bytes(&self.frame);
        if !self.properties.is_empty() {
            w.zeros(padding(self.frame.len()));
        }
        self.properties.iter().for_each(|p| p.encode(w));
    }
}

/// A property of a bundle or of an addition, as it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BundleProperty {
    /// Its type; 0xffff is an experimenter's.
    #[serde(rename = "type")]
    pub kind: u16,
    /// After type and length.
    #[serde(serialize_with = "crate::serial::hex")]
    pub body: Bytes,
}

impl BundleProperty {
    fn encode(&self, w: &mut Writer<'_>) {
        w.tlv_with(Padding::Follows, "bundle_prop", self.kind, |w| {
            w.bytes(&self.body);
        });
    }
}

fn properties(reader: &mut Reader<'_>) -> Result<Vec<BundleProperty>, DecodeError> {
    let all = reader.sub("bundle_prop", reader.left())?;
    let property = |mut tlv: Tlv<'_>| BundleProperty {
        kind: tlv.kind,
        body: tlv.body.rest(),
    };
    Tlvs::padded("bundle_prop", all)
        .map(|tlv| tlv.map(property))
        .collect()
}

fn head(w: &mut Writer<'_>, exp_type: u32) {
    w.fixed(&ExperimenterFixed {
        experimenter: ONF.into(),
        exp_type: exp_type.into(),
    });
}
