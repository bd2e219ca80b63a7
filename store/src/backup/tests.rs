//! A backup is read exactly as it was written, or not at all.

use morph_api::store::{Checkpoint, Keyspace, Seq};

use super::{BackupError, BackupReader, BackupWriter, Entry};
use crate::core::RowKey;

fn entries() -> Vec<Entry> {
    let row = |key: &str, value: &str| {
        let at = RowKey {
            app: "router".into(),
            keyspace: 1,
            table: "trees".into(),
            key: key.into(),
        };
        Entry::Row(at, 7, value.into())
    };
    vec![
        Entry::Begin { revision: 9 },
        Entry::Checkpoint(Checkpoint {
            app: "router".into(),
            node: "node1".into(),
            epoch: 3,
            cursor: Some(Seq {
                incarnation: 1,
                n: 4,
            }),
            turn: 5,
            release: "1.0.0".into(),
        }),
        Entry::Keyspace(Keyspace {
            app: "router".into(),
            id: 1,
            schema: 1,
            primary: true,
            modified: 7,
            keys: 3,
            ..Keyspace::default()
        }),
        Entry::Used(("router".into(), 1)),
        row("a", "{\"x\": [1, 2.50]}"),
        row("ü\u{1}", "\"line\\n\""),
        row("c", "1\n"),
        Entry::End,
    ]
}

fn written() -> Vec<u8> {
    let (mut writer, mut out) = (BackupWriter::default(), Vec::new());
    for entry in entries() {
        writer.write(entry, &mut out).unwrap();
    }
    out
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>, BackupError> {
    let mut reader = BackupReader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        entries.push(entry);
    }
    Ok(entries)
}

#[test]
fn what_was_written_is_read() {
    assert_eq!(read(&written()).unwrap(), entries());
}

/// Checks against a file that the first version of the format wrote.
#[test]
fn a_backup_of_format_1_is_read_for_ever() {
    let pinned = include_bytes!("../../tests/pinned/backup-1.txt");
    assert_eq!(read(pinned).unwrap(), entries());
}

#[test]
fn every_flipped_bit_is_told() {
    let bytes = written();
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn a_torn_file_is_told_wherever_it_is_torn() {
    let bytes = written();
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).unwrap_err();
        let first = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
        match length < first {
            true => assert!(matches!(error, BackupError::Other), "{length}: {error}"),
            false => assert!(matches!(error, BackupError::Torn(_)), "{length}: {error}"),
        }
    }
}

#[test]
fn lines_that_are_lost_doubled_moved_or_added_are_told() {
    let bytes = written();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    for n in 0..lines.len() {
        let mut lost = lines.clone();
        lost.remove(n);
        assert!(read(&lost.concat()).is_err(), "without line {n}");
        let mut doubled = lines.clone();
        doubled.insert(n, lines[n]);
        assert!(read(&doubled.concat()).is_err(), "line {n} twice");
        let mut moved = lines.clone();
        moved.swap(n, (n + 1) % lines.len());
        assert!(read(&moved.concat()).is_err(), "line {n} later");
    }
}

#[test]
fn what_is_no_backup_or_a_newer_one_says_so() {
    for other in ["", "my diary\n", "{}\n", "00000000 {}\n"] {
        let error = read(other.as_bytes()).unwrap_err();
        assert!(matches!(error, BackupError::Other), "{other:?}: {error}");
    }
    let json = b"{\"backup\":{\"format\":2,\"by\":\"the future\"}}";
    let sum = super::line::chained(0, json);
    let newer = [format!("{sum:08x} ").as_bytes(), json, b"\n"].concat();
    let error = read(&newer).unwrap_err();
    assert!(matches!(error, BackupError::Format(2)), "{error}");
}
