//! Frames that other implementations wrote (of13/*.packet, beside the repository): all are read, and written again just as they
//! were, with no exception.
//!
//! They are looked for in `$MORPH_VECTORS` and in `shared/vectors/openflow` in or beside the repository's folder. Where
//! they are not there the test says so and passes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use morph_openflow::v13::{self, Message, MultipartBody, MultipartRequest};
use morph_openflow::{MessageType, frame};

fn folder() -> Result<PathBuf, Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap();
    let named = std::env::var_os("MORPH_VECTORS").map(PathBuf::from);
    let beside = root
        .parent()
        .map(|parent| parent.join("shared/vectors/openflow"));
    if let Some(named) = &named {
        assert!(
            named.is_dir(),
            "MORPH_VECTORS={} is no folder",
            named.display()
        );
    }
    let inside = root.join("shared/vectors/openflow");
    let places: Vec<PathBuf> = named
        .into_iter()
        .chain([inside])
        .chain(beside)
        .map(|place| place.join("of13"))
        .collect();
    match places.iter().find(|place| place.is_dir()) {
        Some(place) => Ok(place.clone()),
        None => Err(places),
    }
}

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
fn frames_of_others_are_read_and_written_again() {
    let folder = match folder() {
        Ok(folder) => folder,
        Err(places) => {
            // Past the capture of tests' output, so that it is seen.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED frames_of_others_are_read_and_written_again: none of {places:?} is there"
            );
            return;
        }
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "packet"))
        .collect();
    files.sort();
    let (mut modelled, mut failures) = (0, Vec::new());
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(path).unwrap();
        match check(&bytes) {
            Ok(known) => modelled += usize::from(known),
            Err(why) => failures.push((name, why)),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(modelled > 40, "{modelled} of {} are modelled", files.len());
    println!(
        "{} files, {modelled} with modelled messages only",
        files.len()
    );
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
