//! Compares the codec with `ovs-ofctl`: it must print our messages without an error and with our values, and its
//! rules must decode to what was written. Needs no running switch.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod messages;
mod ofctl_rules;

use std::process::{Command, Stdio};

use bytes::Bytes;
use morph_openflow::v13::*;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Message, and the words that its printed form must contain.
pub(crate) type Case = (Message, Vec<String>);

const OFCTL: &str = "/usr/bin/ovs-ofctl";

fn ofctl(words: &[&str], input: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let path = file.path().display().to_string();
    let words = words.iter().map(|w| if *w == "FILE" { &path } else { *w });
    let output = Command::new(OFCTL)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("ovs-ofctl runs (make dependencies)");
    let error = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && error.is_empty(), "{error}{text}");
    text
}

/// Prints the frames by `ovs-ofctl`. The text for a message begins at the first line with its xid.
fn printed(frames: &[Bytes]) -> Vec<String> {
    // One function of `ovs-ofctl` prints a file of frames and the single frame of `ofp-print`.
    let text = ofctl(&["ofp-parse", "FILE"], &frames.concat());
    let mut texts = vec![String::new(); frames.len()];
    let mut at = 0;
    for line in text.lines() {
        let next = format!("(xid={:#x}):", at + 1);
        at += usize::from(line.contains(&next));
        assert!(at > 0, "{line}");
        texts[at - 1] += line;
        texts[at - 1] += "\n";
    }
    assert_eq!(at, frames.len(), "messages printed");
    texts
}

/// Encodes a message; a message added to a bundle gets the same xid.
fn with_xid(message: &Message, xid: u32) -> Bytes {
    let mut message = message.clone();
    if let Message::BundleAdd(add) = &mut message {
        let mut inside = add.frame.to_vec();
        morph_openflow::frame::set_xid(&mut inside, xid);
        add.frame = inside.into();
    }
    message.try_encode(xid).unwrap()
}

fn check(cases: &[Case]) {
    let frames: Vec<Bytes> = cases
        .iter()
        .zip(1..)
        .map(|((message, _), xid)| with_xid(message, xid))
        .collect();
    let mut wrong = Vec::new();
    for ((message, wanted), text) in cases.iter().zip(printed(&frames)) {
        let lacking: Vec<_> = wanted.iter().filter(|want| !text.contains(*want)).collect();
        if text.contains("***") || !lacking.is_empty() {
            wrong.push(format!("{lacking:?}\n{message:?}\n{text}"));
        }
    }
    let some = &wrong[..wrong.len().min(5)];
    assert!(wrong.is_empty(), "{}: {}", wrong.len(), some.join("\n"));
}

#[test]
fn random_messages_are_printed_with_their_values() {
    // Fixed seed, so that a failure can be repeated.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let any = messages::cases();
    let cases: Vec<Case> = (0..2000)
        .map(|_| any.new_tree(&mut runner).unwrap().current())
        .collect();
    check(&cases);
}

/// Name of an error in Open vSwitch, which has one name for equal errors of all versions, and newer words for
/// roles.
fn ovs_name(name: &str) -> &str {
    match name {
        "OFPBRC_BAD_MULTIPART" => "OFPBRC_BAD_STAT",
        "OFPBRC_BAD_EXPERIMENTER" => "OFPBRC_BAD_VENDOR",
        "OFPBRC_BAD_EXP_TYPE" => "OFPBRC_BAD_SUBTYPE",
        "OFPBRC_IS_SLAVE" => "OFPBRC_IS_SECONDARY",
        "OFPBAC_BAD_EXPERIMENTER" => "OFPBAC_BAD_VENDOR",
        "OFPBAC_BAD_EXP_TYPE" => "OFPBAC_BAD_VENDOR_TYPE",
        "OFPTFFC_BAD_TYPE" => "OFPBPC_BAD_TYPE",
        "OFPTFFC_BAD_LEN" => "OFPBPC_BAD_LEN",
        "OFPTFFC_BAD_ARGUMENT" => "OFPBPC_BAD_VALUE",
        name => name,
    }
}

#[test]
fn error_names_equal_those_of_open_vswitch() {
    let prefixes = [
        "OFPHFC", "OFPBRC", "OFPBAC", "OFPBIC", "OFPBMC", "OFPFMFC", "OFPGMFC", "OFPPMFC",
        "OFPTMFC", "OFPQOFC", "OFPSCFC", "OFPRRFC", "OFPMMFC", "OFPTFFC",
    ];
    let mut cases = Vec::new();
    for ((kind, _, codes), prefix) in error::ALL.iter().zip(prefixes) {
        for (code, name) in *codes {
            let wanted = vec![ovs_name(&format!("{prefix}_{name}")).to_owned()];
            let error = ErrorMsg {
                kind: *kind,
                code: *code,
                data: Bytes::new(),
            };
            cases.push((Message::Error(error), wanted));
        }
    }
    for (name, code) in error::BUNDLE_FAILED_NAMES.iter().zip(2300..) {
        let error = ErrorMsg {
            kind: error::kind::EXPERIMENTER,
            code,
            data: Bytes::from_static(b"ONF\0"),
        };
        cases.push((Message::Error(error), vec![format!("OFPBFC_{name}")]));
    }
    check(&cases);
}

/// Bytes in a hex dump whose lines are an offset, bytes, and text.
fn bytes_of_dump(text: &str) -> Bytes {
    let mut bytes = Vec::new();
    for line in text.lines().filter(|line| line.ends_with('|')) {
        let hex = line[8..58].replace('-', " ");
        let byte = |word: &str| u8::from_str_radix(word, 16).unwrap();
        bytes.extend(hex.split_whitespace().map(byte));
    }
    bytes.into()
}

#[test]
fn rules_encoded_by_ovs_ofctl_decode_to_the_requested_rules() {
    for (rule, wanted) in ofctl_rules::all() {
        let words = ["-mmmmm", "-O", "OpenFlow13", "parse-flow", rule];
        let frame = bytes_of_dump(&ofctl(&words, &[]));
        let (header, message) = decode(&frame).unwrap_or_else(|e| panic!("{rule}: {e}"));
        assert_eq!(message.encode(header.xid), frame, "{rule}");
        let Message::FlowMod(mut read) = message else {
            panic!("{message:?}");
        };
        // Order of fields is chosen by the encoder.
        read.match_ = read.match_.normal();
        assert_eq!(read, wanted, "{rule}");
    }
}
