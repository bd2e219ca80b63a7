//! Decodes the annotated frames in `vectors/of10`, encodes them again, and refuses truncated and over-long
//! variants.

use std::collections::BTreeSet;

use bytes::Bytes;
use morph_openflow::v10::*;

use crate::{cases, hex};

const XID: u32 = 42;

pub(crate) fn frame(name: &str) -> Bytes {
    hex::OF10.load(name)
}

#[test]
fn vectors_decode_to_their_values_and_back() {
    for (name, value) in cases::all() {
        let bytes = frame(name);
        let (header, decoded) = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((header.version, header.xid), (VERSION, XID), "{name}");
        assert_eq!(decoded, value, "{name}");
        assert_eq!(decoded.kind(), header.kind, "{name}");
        assert_eq!(value.encode(XID), bytes, "{name}");
    }
}

#[test]
fn every_vector_is_tested_and_every_message_has_one() {
    let files: BTreeSet<String> = hex::OF10.names().into_iter().collect();
    let values = cases::all().into_iter().map(|(name, _)| name.to_owned());
    assert_eq!(files, values.collect());
    let seen: BTreeSet<u8> = cases::all().iter().map(|(_, m)| m.kind().0).collect();
    for kind in kind::ALL {
        assert!(seen.contains(&kind.0), "{:?}", kind::name(*kind));
    }
}

/// Frame truncated or extended to `length`, which the header states too.
fn resized(bytes: &[u8], length: usize) -> Bytes {
    let mut twin = bytes.to_vec();
    twin.resize(length, 0);
    twin[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    twin.into()
}

/// Messages that end with any number of bytes, so that another length is another value.
fn open_ended(message: &Message) -> bool {
    let of_vendor =
        |body: &StatsBody| matches!(body, StatsBody::Vendor { .. } | StatsBody::Unknown { .. });
    match message {
        Message::Hello(_)
        | Message::Error(_)
        | Message::EchoRequest(_)
        | Message::EchoReply(_)
        | Message::PacketIn(_)
        | Message::PacketOut(_)
        | Message::Vendor(Vendor::Unknown { .. })
        | Message::StatsRequest(StatsRequest::Vendor { .. } | StatsRequest::Unknown { .. })
        | Message::Unknown { .. } => true,
        Message::StatsReply(reply) => of_vendor(&reply.body),
        _ => false,
    }
}

#[test]
fn truncated_and_over_long_vectors_are_refused_or_differ() {
    for (name, value) in cases::all() {
        let bytes = frame(name);
        for length in (8..bytes.len()).chain([bytes.len() + 1]) {
            let twin = resized(&bytes, length);
            match decode(&twin) {
                Err(error) => assert!(error.offset <= length, "{name}, {length}: {error}"),
                // Lists may end after any element.
                Ok((_, read)) => {
                    assert_ne!(read, value, "{name}, {length}");
                    assert_eq!(read.encode(XID), twin, "{name}, {length}");
                }
            }
        }
        if !open_ended(&value) {
            let long = resized(&bytes, bytes.len() + 1);
            assert!(decode(&long).is_err(), "{name} with a byte too many");
        }
        assert!(
            decode(&bytes.slice(..bytes.len() - 1)).is_err(),
            "{name} cut short"
        );
    }
}
