//! The annotated frames in `vectors10`, both ways, each with its truncated and over-long twins; and the table of what
//! there is, in the module's README.
//!
//! A line of a vector is bytes in hexadecimal, `BYTE x N` for N times the same, and a comment after `#`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use morph_openflow::v10::*;

use crate::cases;

const XID: u32 = 42;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("vectors10")
}

fn parse(text: &str) -> Vec<u8> {
    let byte = |word: &str| u8::from_str_radix(word, 16).unwrap();
    let mut bytes = Vec::new();
    for line in text.lines() {
        let words = line.split('#').next().unwrap();
        let words: Vec<&str> = words.split_whitespace().collect();
        match words[..] {
            [value, "x", count] => {
                let count: usize = count.parse().unwrap();
                bytes.resize(bytes.len() + count, byte(value));
            }
            _ => bytes.extend(words.into_iter().map(byte)),
        }
    }
    bytes
}

pub(crate) fn frame(name: &str) -> Bytes {
    let path = folder().join(format!("{name}.hex"));
    parse(&std::fs::read_to_string(path).unwrap()).into()
}

#[test]
fn each_vector_is_its_value_and_each_value_its_vector() {
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
fn no_vector_is_left_out_and_no_message_without_one() {
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let values = cases::all()
        .into_iter()
        .map(|(name, _)| format!("{name}.hex"));
    assert_eq!(files, values.collect());
    let seen: BTreeSet<u8> = cases::all().iter().map(|(_, m)| m.kind().0).collect();
    for kind in kind::ALL {
        assert!(seen.contains(&kind.0), "{:?}", kind::name(*kind));
    }
    println!("{} vectors of OpenFlow 1.0", files.len());
}

/// With another length in the header, and just as many bytes.
fn resized(bytes: &[u8], length: usize) -> Bytes {
    let mut twin = bytes.to_vec();
    twin.resize(length, 0);
    twin[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    twin.into()
}

/// Messages that end with bytes of any length: another length is another value.
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
fn a_truncated_and_an_over_long_twin_is_refused_or_is_another_value() {
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

/// Rows are `| name | decode | encode | vectors |`.
#[test]
fn the_table_in_the_readme_names_every_vector_and_has_no_empty_cell() {
    let text = std::fs::read_to_string(root().join("src/v10/README.md")).unwrap();
    let mut named = BTreeSet::new();
    let mut names = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, decode, encode, vectors] = cells[..] else {
            panic!("{line}");
        };
        assert_eq!((decode, encode), ("yes", "yes"), "{line}");
        assert!(!vectors.is_empty(), "{line}");
        names.push(name.trim_matches('`').to_owned());
        named.extend(vectors.split(", ").map(|v| v.trim_matches('`').to_owned()));
    }
    let there = cases::all().into_iter().map(|(name, _)| name.to_owned());
    assert_eq!(named, there.collect());
    for kind in kind::ALL {
        let name = kind::name(*kind).unwrap();
        assert!(
            names.iter().any(|row| row.split(' ').next() == Some(name)),
            "{name}"
        );
    }
}
