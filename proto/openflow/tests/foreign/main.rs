//! Frames encoded by other implementations (of13/*.packet): all must be decoded, have the recorded fields (*.json),
//! and be encoded to the same bytes. Frames of newer versions must be refused.

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
fn recorded_frames_of_newer_versions_are_refused() {
    for version in ["of14", "of15"] {
        let test = "recorded_frames_of_newer_versions_are_refused";
        let Some(files) = recorded::files_or_skip(version, test) else {
            continue;
        };
        let all = files.len();
        assert!(all > 0);
        for path in files {
            let frame = Bytes::from(std::fs::read(&path).unwrap());
            match v13::decode(&frame) {
                Err(error) => {
                    let wanted = format!("header.version at byte 0: version {} is not", frame[0]);
                    assert_eq!(error.to_string(), format!("{wanted} supported"));
                }
                // Hello and error messages are decoded for all versions.
                Ok((_, Message::Hello(_) | Message::Error(_))) => (),
                Ok((_, other)) => panic!("{path:?}: {other:?}"),
            }
        }
        recorded::say(&format!("{version}: {all} recorded frames refused"));
    }
}

#[test]
fn recorded_frames_decode_and_encode_to_the_same_bytes() {
    let test = "recorded_frames_decode_and_encode_to_the_same_bytes";
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
        "of13: {all} recorded frames checked, {values} values compared"
    ));
}

/// Compares the fields with the recorded ones; returns the number of values compared.
fn compare(path: &Path, frame: Bytes) -> Result<usize, String> {
    let beside = PathBuf::from(format!("{}.json", path.display()));
    let text = std::fs::read_to_string(&beside).map_err(|e| format!("{beside:?}: {e}"))?;
    let json = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let (_, message) = v13::decode(&frame).map_err(|e| e.to_string())?;
    let mut expected = fields::recorded(&json);
    if let Message::Error(error) = &message
        && let Some((exp_type, experimenter, _)) = error.experimenter()
    {
        // The recording has them as fields of their own; the decoded error has them in code and data.
        let own = [u32::from(exp_type), experimenter].map(|n| vec![n.to_string()]);
        let found = ["exp_type", "experimenter"].map(|name| expected.remove(name));
        if found != own.map(Some) {
            return Err(format!("{found:?}"));
        }
    }
    let decoded = fields::decoded(&message);
    for (name, values) in &expected {
        if decoded.get(name) != Some(values) {
            let own = decoded.get(name);
            return Err(format!("{name}: expected {values:?}, decoded {own:?}"));
        }
    }
    Ok(expected.values().map(Vec::len).sum())
}

/// Tells whether all messages in a file are modelled; a file may hold several.
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
