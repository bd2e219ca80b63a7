//! `OFPT_HELLO` (section 7.5.1): which versions the sender speaks.

use super::VERSION;
use crate::error::DecodeError;
use crate::wire::{Reader, Tlvs, Writer, fixed};

/// `OFPHET_VERSIONBITMAP`.
const VERSION_BITMAP: u16 = 1;

fixed! {
    /// The first bitmap of `ofp_hello_elem_versionbitmap`: versions 0 to 31.
    struct Bitmap = "hello.versionbitmap" {
        versions: u32,
    }
}

/// The first message of each side. Its header bears the highest version that the sender speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Hello {
    /// All versions that it speaks, bit n for version n of the wire, where it says so.
    pub versions: Option<u32>,
}

impl Hello {
    /// That we speak OpenFlow 1.3 and nothing else.
    pub const V13: Hello = Hello {
        versions: Some(1 << VERSION),
    };

    /// Before version 1.3 there were no elements, and what follows the header does not count.
    pub(crate) fn decode(version: u8, reader: &mut Reader<'_>) -> Result<Hello, DecodeError> {
        let mut versions = None;
        if version >= VERSION {
            for element in Tlvs::padded("hello.element", *reader) {
                let mut element = element?;
                if element.kind == VERSION_BITMAP && versions.is_none() {
                    versions = Some(element.body.fixed::<Bitmap>()?.versions());
                }
            }
        }
        reader.rest();
        Ok(Hello { versions })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        if let Some(versions) = self.versions {
            let versions = versions.into();
            // Four bytes of header and four of bitmap: no padding.
            w.tlv("hello.element", VERSION_BITMAP, |w| {
                w.fixed(&Bitmap { versions });
            });
        }
    }
}
