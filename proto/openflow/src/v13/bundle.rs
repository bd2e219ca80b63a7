//! Bundles: messages that a switch applies together or not at all. They are extension 230 of the ONF to OpenFlow
//! 1.3, encoded as experimenter messages with the id [`ONF`].

use bytes::Bytes;

use super::experimenter::{ExperimenterFixed, ONF};
use crate::error::{DecodeError, Problem};
use crate::header::Header;
use crate::wire::{Padding, Reader, Tlv, Tlvs, Writer, fixed, padding};

/// `ONF_ET_BUNDLE_CONTROL`: experimenter type.
pub(crate) const CONTROL: u32 = 2300;
/// `ONF_ET_BUNDLE_ADD_MESSAGE`: experimenter type.
pub(crate) const ADD_MESSAGE: u32 = 2301;

/// Types of bundle control messages: `ONF_BCT_*`.
pub mod control {
    /// Opens a bundle.
    pub const OPEN_REQUEST: u16 = 0;
    /// Confirms that the bundle is open.
    pub const OPEN_REPLY: u16 = 1;
    /// Closes a bundle: no more messages can be added.
    pub const CLOSE_REQUEST: u16 = 2;
    /// Confirms that the bundle is closed.
    pub const CLOSE_REPLY: u16 = 3;
    /// Applies the messages of the bundle.
    pub const COMMIT_REQUEST: u16 = 4;
    /// Confirms that the bundle was applied.
    pub const COMMIT_REPLY: u16 = 5;
    /// Discards the bundle with its messages.
    pub const DISCARD_REQUEST: u16 = 6;
    /// Confirms that the bundle was discarded.
    pub const DISCARD_REPLY: u16 = 7;
}

/// Flags of a bundle: `ONF_BF_*`.
pub mod flag {
    /// Applied atomically: no packet sees a part of the bundle.
    pub const ATOMIC: u16 = 1;
    /// Applied in the order in which messages were added.
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

/// Bundle control message: opens, closes, commits or discards a bundle.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BundleControl {
    /// Bundle id, chosen by the controller.
    pub bundle_id: u32,
    /// Control type, a constant of [`control`].
    #[serde(rename = "type")]
    pub kind: u16,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Properties; only experimenters have defined any.
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

/// Bundle message that adds another message to a bundle.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BundleAdd {
    /// Bundle id, as in the message that opened it.
    pub bundle_id: u32,
    /// Bits of [`flag`], equal to those at opening.
    pub flags: u16,
    /// Encoded message to add, for [`decode`](super::decode); its xid must equal that of the message that adds it.
    #[serde(serialize_with = "crate::serial::hex")]
    pub frame: Bytes,
    /// Properties; only experimenters have defined any.
    pub properties: Vec<BundleProperty>,
}

impl BundleAdd {
    /// Adds a message, encoded as `frame`. Must be sent with the xid of that frame.
    pub fn new(bundle_id: u32, flags: u16, frame: Bytes) -> BundleAdd {
        BundleAdd {
            bundle_id,
            flags,
            frame,
            properties: Vec::new(),
        }
    }

    /// The added message is not decoded, so nested bundles cause no recursion.
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

/// Property of a bundle message, kept as bytes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BundleProperty {
    /// Property type; 0xffff for experimenter properties.
    #[serde(rename = "type")]
    pub kind: u16,
    /// Bytes after type and length.
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
