//! Splits a byte stream into frames, by the length field of the header.

use bytes::{Bytes, BytesMut};

use crate::error::DecodeError;
use crate::header::Header;

/// Maximum length of a frame in bytes: the length field has 16 bits.
pub const MAX: usize = 65535;

/// First frame of a byte slice, and the bytes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstFrame<'a> {
    /// Decoded header of the frame.
    pub header: Header,
    /// Whole frame, header included.
    pub frame: &'a [u8],
    /// Bytes that follow the frame.
    pub rest: &'a [u8],
}

/// Returns the first frame of a slice, without copying. `None`: the slice holds no whole frame yet. Fails on a
/// length below 8.
#[inline]
pub fn first(bytes: &[u8]) -> Result<Option<FirstFrame<'_>>, DecodeError> {
    if bytes.len() < Header::LEN {
        return Ok(None);
    }
    let header = Header::read(bytes)?;
    let cut = bytes.split_at_checked(header.length.into());
    Ok(cut.map(|(frame, rest)| FirstFrame {
        header,
        frame,
        rest,
    }))
}

/// Takes the first whole frame off a buffer, without copying. `None`: the frame is incomplete, and the buffer has
/// reserved room for the rest. A length below 8 is an error that cannot be recovered from, because the start of the
/// next frame is unknown.
pub fn split(buffer: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
    if buffer.len() < Header::LEN {
        return Ok(None);
    }
    let length = usize::from(Header::read(buffer)?.length);
    if buffer.len() < length {
        buffer.reserve(length - buffer.len());
        return Ok(None);
    }
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Overwrites the length of a frame by the one that it has. Longer ones than the field can say are left unchanged, and slices
/// shorter than a header.
pub fn set_length(frame: &mut [u8]) {
    let length = u16::try_from(frame.len());
    if let (Ok(length), true) = (length, frame.len() >= Header::LEN)
        && let Some(field) = frame.get_mut(2..4)
    {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Overwrites the xid of a frame. Slices shorter than a header are left unchanged.
pub fn set_xid(frame: &mut [u8], xid: u32) {
    if let Some(field) = frame.get_mut(4..Header::LEN) {
        field.copy_from_slice(&xid.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_whatever_pieces_they_arrive_in() {
        let stream = [4, 2, 0, 9, 0, 0, 0, 1, 0xaa, 4, 20, 0, 8, 0, 0, 0, 2];
        for piece in 1..stream.len() {
            let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
            for chunk in stream.chunks(piece) {
                buffer.extend_from_slice(chunk);
                while let Some(frame) = split(&mut buffer).unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [&stream[..9], &stream[9..]], "pieces of {piece}");
            assert!(buffer.is_empty());
        }
        let cut = first(&stream).unwrap().unwrap();
        assert_eq!((cut.header.xid, cut.frame), (1, &stream[..9]));
        assert_eq!(cut.rest, &stream[9..]);
        assert_eq!(first(&stream[9..16]), Ok(None));
        assert_eq!(first(&stream[..8]), Ok(None));
    }

    #[test]
    fn a_length_less_than_a_header_is_an_error_and_not_a_loop() {
        let mut buffer = BytesMut::from(&[4, 2, 0, 0, 0, 0, 0, 1][..]);
        assert_eq!(split(&mut buffer).unwrap_err().what, "header.length");
    }

    #[test]
    fn an_xid_is_replaced() {
        let mut frame = [4, 2, 0, 8, 0, 0, 0, 1];
        set_xid(&mut frame, 0xdead_beef);
        assert_eq!(frame, [4, 2, 0, 8, 0xde, 0xad, 0xbe, 0xef]);
        set_xid(&mut frame[..5], 1);
        assert_eq!(frame[4], 0xde);
    }
}
