//! Frames that other implementations wrote (of13/*.packet, beside the repository): all are read, their fields are those that are
//! written down beside them (*.json), and they are written again just as they were, with no exception.
//! Newer versions are refused as such.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod fields;
#[path = "../recorded/mod.rs"]
mod recorded;

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use morph_openflow::v13::{self, Message, MultipartBody, MultipartRequest};
use morph_openflow::{MessageType, frame};

fn is_modelled(message: &Message) -> bool {
    !matches!(
        message,
        Message::Unknown { .. }
            | Message::MultipartRequest(MultipartRequest::Unknown { .. })
            | Message::MultipartReply(v13::MultipartReply {
                body: MultipartBody::Unknown { .. },
                ..
            })
    )
}

#[test]
fn frames_of_newer_versions_are_refused_as_such() {
    for version in ["of14", "of15"] {
        let test = "frames_of_newer_versions_are_refused_as_such";
        let Some(files) = recorded::files_or_skip(version, test) else {
            continue;
        };
        let all = files.len();
        assert!(all > 0);
        for path in files {
            let frame = Bytes::from(std::fs::read(&path).unwrap());
            match v13::decode(&frame) {
                Err(error) => {
                    let said = format!("header.version at byte 0: version {} is not", frame[0]);
                    assert_eq!(error.to_string(), format!("{said} supported"));
                }
                // These are of all versions.
                Ok((_, Message::Hello(_) | Message::Error(_))) => (),
                Ok((_, other)) => panic!("{path:?}: {other:?}"),
            }
        }
        recorded::say(&format!(
            "{version}: {all} vectors of others refused, of {all} there"
        ));
    }
}

#[test]
fn frames_of_others_are_read_and_written_again() {
    let test = "frames_of_others_are_read_and_written_again";
    let Some(files) = recorded::files_or_skip("of13", test) else {
        return;
    };
    let (mut modelled, mut values, mut failures) = (0, 0, Vec::new());
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(path).unwrap();
        match check(&bytes).and_then(|known| Ok((known, compare(path, bytes.into())?))) {
            Ok((known, count)) => {
                modelled += usize::from(known);
                values += count;
            }
            Err(why) => failures.push((name, why)),
        }
    }
    for (name, why) in &failures {
        println!("{name}: {why}");
    }
    assert!(failures.is_empty(), "{} of {}", failures.len(), files.len());
    let known = files.len() - modelled;
    assert!(known <= 1, "{known} of {} are not modelled", files.len());
    let all = files.len();
    recorded::say(&format!(
        "of13: {all} vectors of others checked, of {all} there; {values} values compared"
    ));
}

/// Compares the fields with those beside the file; how many values they have.
fn compare(path: &Path, frame: Bytes) -> Result<usize, String> {
    let beside = PathBuf::from(format!("{}.json", path.display()));
    let text = std::fs::read_to_string(&beside).map_err(|e| format!("{beside:?}: {e}"))?;
    let json = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let (_, message) = v13::decode(&frame).map_err(|e| e.to_string())?;
    let mut theirs = fields::theirs(&json);
    if let Message::Error(error) = &message
        && let Some((exp_type, experimenter, _)) = error.experimenter()
    {
        // Theirs has it apart, ours in the code and the data.
        let own = [u32::from(exp_type), experimenter].map(|n| vec![n.to_string()]);
        let found = ["exp_type", "experimenter"].map(|name| theirs.remove(name));
        if found != own.map(Some) {
            return Err(format!("{found:?}"));
        }
    }
    let ours = fields::ours(&message);
    for (name, values) in &theirs {
        if ours.get(name) != Some(values) {
            let own = ours.get(name);
            return Err(format!("{name}: theirs {values:?}, ours {own:?}"));
        }
    }
    Ok(theirs.values().map(Vec::len).sum())
}

/// Whether all messages are modelled; a file may hold several.
fn check(bytes: &[u8]) -> Result<bool, String> {
    let mut buffer = BytesMut::from(bytes);
    let mut known = true;
    while let Some(frame) = frame::split(&mut buffer).map_err(|e| e.to_string())? {
        known &= check_frame(&frame)?;
    }
    match buffer.len() {
        0 => Ok(known),
        n => Err(format!("{n} bytes after the last frame")),
    }
}

fn check_frame(frame: &Bytes) -> Result<bool, String> {
    let (header, message) = v13::decode(frame).map_err(|e| format!("{e}\n{frame:02x?}"))?;
    let again = message.try_encode(header.xid).map_err(|e| e.to_string())?;
    if again != *frame {
        return Err(format!("{message:?}\n{frame:02x?}\n{again:02x?}"));
    }
    Ok(is_modelled(&message) && header.kind != MessageType::EXPERIMENTER)
}
