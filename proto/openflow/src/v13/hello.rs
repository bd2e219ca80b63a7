//! `OFPT_HELLO` (section 7.5.1): versions that the sender supports.

use super::VERSION;
use crate::error::DecodeError;
use crate::wire::{Reader, Tlvs, Writer, fixed};

/// Hello element type `OFPHET_VERSIONBITMAP`.
const VERSION_BITMAP: u16 = 1;

fixed! {
    /// First bitmap of `ofp_hello_elem_versionbitmap`: versions 0 to 31.
    struct Bitmap = "hello.versionbitmap" {
        versions: u32,
    }
}

/// First message of each side. The version in its header is the highest that the sender supports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Hello {
    /// Bitmap of supported versions: bit n for wire version n. `None`: the sender sent no bitmap.
    pub versions: Option<u32>,
}

impl Hello {
    /// Announces OpenFlow 1.3 and no other version.
    pub const V13: Hello = Hello {
        versions: Some(1 << VERSION),
    };

    /// Versions before 1.3 have no hello elements, so bytes after the header are ignored.
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
            // Four bytes of header and four of bitmap need no padding.
            w.tlv("hello.element", VERSION_BITMAP, |w| {
                w.fixed(&Bitmap { versions });
            });
        }
    }
}
