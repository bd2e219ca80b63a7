//! Splits the bytes of a peer into OpenFlow messages, and names what else they may be.

use std::fmt;

use bytes::{Bytes, BytesMut};
use morph_openflow::{DecodeError, frame};

/// Limit of the bytes of a foreign peer that are shown.
const SHOWN: usize = 32;
/// Message type `OFPT_HELLO`, which begins every connection (OpenFlow 1.3.5, section 6.3.1).
const HELLO: u8 = 0;
/// Wire versions of OpenFlow 1.0 to 1.5.
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=6;

/// Content of a connection that is not OpenFlow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotOpenFlow {
    /// First line of a text.
    Text(String),
    /// Start of a TLS handshake.
    Tls,
    /// Unknown bytes, shown in hexadecimal.
    Garbage(String),
    /// Header with an impossible length.
    Length(DecodeError),
}

impl NotOpenFlow {
    /// Recognizes the probe with which Mininet looks for a listener; not worth a log line.
    pub(crate) fn is_probe(&self) -> bool {
        matches!(self, NotOpenFlow::Text(line) if line.len() <= 2)
    }
}

impl fmt::Display for NotOpenFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotOpenFlow::Text(line) => write!(f, "not OpenFlow: a line of text, {line:?}"),
            NotOpenFlow::Tls => write!(
                f,
                "not OpenFlow: TLS, but this port speaks plain TCP (use tcp: instead of ssl: in the switch)"
            ),
            NotOpenFlow::Garbage(hex) => write!(f, "not OpenFlow: bytes {hex}"),
            NotOpenFlow::Length(error) => write!(f, "not OpenFlow: {error}"),
        }
    }
}

/// Cuts all whole messages off the front of the buffer. The `first` message of a connection must be a hello.
pub(crate) fn cut(
    buffer: &mut BytesMut,
    first: bool,
    frames: &mut Vec<Bytes>,
) -> Result<(), NotOpenFlow> {
    if first && !buffer.is_empty() && !begins_with_hello(buffer) {
        return Err(name(buffer));
    }
    while let Some(frame) = frame::split(buffer).map_err(NotOpenFlow::Length)? {
        if !VERSIONS.contains(&frame[0]) {
            return Err(name(&frame));
        }
        frames.push(frame);
    }
    // The rest is the beginning of a message: garbage in it is reported without waiting for more.
    match buffer.first() {
        Some(version) if !VERSIONS.contains(version) => Err(name(buffer)),
        _ => Ok(()),
    }
}

fn begins_with_hello(buffer: &[u8]) -> bool {
    let version = buffer.first().is_none_or(|v| VERSIONS.contains(v));
    version && buffer.get(1).is_none_or(|kind| *kind == HELLO)
}

fn name(bytes: &[u8]) -> NotOpenFlow {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let shown = &line[..line.len().min(SHOWN)];
    if shown
        .iter()
        .all(|b| (b' '..=b'~').contains(b) || *b == b'\t')
    {
        return NotOpenFlow::Text(String::from_utf8_lossy(shown).into_owned());
    }
    if bytes.starts_with(&[0x16, 0x03]) {
        return NotOpenFlow::Tls;
    }
    let shown = &bytes[..bytes.len().min(SHOWN / 2)];
    let hex: Vec<String> = shown.iter().map(|b| format!("{b:02x}")).collect();
    NotOpenFlow::Garbage(hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELLO: [u8; 8] = [4, 0, 0, 8, 0, 0, 0, 1];

    fn cut_all(bytes: &[u8], first: bool) -> (Vec<Bytes>, Result<(), NotOpenFlow>, usize) {
        let mut buffer = BytesMut::from(bytes);
        let mut frames = Vec::new();
        let result = cut(&mut buffer, first, &mut frames);
        (frames, result, buffer.len())
    }

    #[test]
    fn messages_are_cut_and_the_rest_stays() {
        let (frames, result, left) = cut_all(&[&HELLO[..], &HELLO[..], &HELLO[..3]].concat(), true);
        assert_eq!((frames.len(), result, left), (2, Ok(()), 3));
    }

    #[test]
    fn bytes_that_are_not_openflow_are_named() {
        for (bytes, expected) in [
            (
                &b"GET / HTTP/1.1\r\nHost: x\r\n"[..],
                "a line of text, \"GET / HTTP/1.1\"",
            ),
            (b"A\n", "a line of text, \"A\""),
            (b"\x16\x03\x01\x02\x00\x01", "TLS"),
            (b"\x00\xff\xfe", "bytes 00 ff fe"),
            (b"\x04\x0a\x00\x08\x00\x00\x00\x00", "bytes 04 0a"),
            (b"\x04\x00\x00\x07\x00\x00\x00\x00", "not OpenFlow"),
        ] {
            let (frames, result, _) = cut_all(bytes, true);
            let error = result.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(frames.is_empty());
            assert_eq!(error.is_probe(), bytes == b"A\n", "{error}");
        }
    }

    #[test]
    fn garbage_in_mid_stream_is_found_after_the_good_messages() {
        let (frames, result, _) = cut_all(&[&HELLO[..], b"garbage!!"].concat(), false);
        assert_eq!(frames.len(), 1);
        assert!(matches!(result, Err(NotOpenFlow::Text(_))), "{result:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_cut_or_named(bytes in prop::collection::vec(any::<u8>(), 0..300), first: bool) {
            let (frames, result, left) = cut_all(&bytes, first);
            let cut: usize = frames.iter().map(Bytes::len).sum();
            prop_assert!(frames.iter().all(|f| f.len() >= 8));
            prop_assert!(result.is_err() || cut + left == bytes.len());
        }
    }
}
