//! Framing of a message: its header, and the check that its body ends where the frame does.

use bytes::{Bytes, BytesMut};

use crate::error::{DecodeError, EncodeError, Problem};
use crate::header::{Header, HeaderFixed, MessageType};
use crate::wire::{Fixed, Reader, Writer};

/// Decodes one whole frame. Fails if `known` refuses the header's version, if the length is not that of the frame,
/// or if the body leaves bytes over.
pub(crate) fn read<T>(
    frame: &Bytes,
    known: impl FnOnce(Header) -> bool,
    body: impl FnOnce(Header, &mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<(Header, T), DecodeError> {
    let header = Header::read(frame)?;
    if !known(header) {
        return Err(DecodeError::version(header.version));
    }
    let (found, expected) = (usize::from(header.length), frame.len());
    if found != expected {
        let problem = Problem::Length { found, expected };
        return Err(DecodeError::new("header.length", 2, problem));
    }
    let mut reader = Reader::new(frame);
    reader.skip(HeaderFixed::NAME, Header::LEN)?;
    let message = body(header, &mut reader)?;
    reader.finish("message")?;
    Ok((header, message))
}

/// Appends a frame with this body to a buffer. After an error the buffer is unchanged.
#[inline]
pub(crate) fn write(
    (version, kind): (u8, MessageType),
    xid: u32,
    out: &mut BytesMut,
    body: impl FnOnce(&mut Writer<'_>),
) -> Result<(), EncodeError> {
    let mut w = Writer::new(out);
    w.fixed(&HeaderFixed {
        version,
        kind: kind.0,
        length: 0.into(),
        xid: xid.into(),
    });
    body(&mut w);
    w.set_length("message", 2, w.position());
    w.end()
}

/// Declares the public encoders of a version's `Message`, which has a `kind` and an `encode_body`.
macro_rules! message_encoders {
    ($message:ident) => {
        impl $message {
            /// Encodes a frame. A message that does not fit into a frame gives no bytes; where that can happen, use
            /// `try_encode`.
            pub fn encode(&self, xid: u32) -> bytes::Bytes {
                self.try_encode(xid).unwrap_or_default()
            }

            /// Appends a frame to a buffer. A message that does not fit into a frame appends nothing.
            pub fn encode_into(&self, xid: u32, out: &mut bytes::BytesMut) {
                // After an error the buffer is unchanged; callers that must know use `try_encode_into`.
                let _ = self.try_encode_into(xid, out);
            }

            /// Encodes a frame. Fails if the message does not fit into one.
            pub fn try_encode(&self, xid: u32) -> Result<bytes::Bytes, $crate::EncodeError> {
                let mut out = bytes::BytesMut::new();
                self.try_encode_into(xid, &mut out)?;
                Ok(out.freeze())
            }

            /// Appends a frame to a buffer. After an error the buffer is unchanged.
            pub fn try_encode_into(
                &self,
                xid: u32,
                out: &mut bytes::BytesMut,
            ) -> Result<(), $crate::EncodeError> {
                let kind = (VERSION, self.kind());
                $crate::shared::message::write(kind, xid, out, |w| self.encode_body(w))
            }
        }
    };
}
pub(crate) use message_encoders;
