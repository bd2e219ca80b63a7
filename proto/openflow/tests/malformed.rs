//! Wrong lengths, one by one, with the exact error; and values that do not fit into a frame.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::{Bytes, BytesMut};
use morph_openflow::v13::*;
use morph_openflow::{MessageType, frame};

fn framed(version: u8, kind: MessageType, body: &[u8]) -> Bytes {
    let length = (8 + body.len()) as u16;
    let header = [&[version, kind.0][..], &length.to_be_bytes(), &[0; 4]];
    [&header.concat(), body].concat().into()
}

fn error_of(kind: MessageType, body: &[u8]) -> String {
    decode(&framed(VERSION, kind, body))
        .unwrap_err()
        .to_string()
}

/// Error of a flow-mod whose fixed part is followed by these bytes.
fn flow_mod_with(rest: &[u8]) -> String {
    error_of(MessageType::FLOW_MOD, &[&[0; 40], rest].concat())
}

const NO_FIELDS: [u8; 8] = [0, 1, 0, 4, 0, 0, 0, 0];

fn with_instruction(rest: &[u8]) -> String {
    flow_mod_with(&[&NO_FIELDS, rest].concat())
}

#[test]
fn a_header_that_disagrees_with_its_frame() {
    let mut frame = framed(VERSION, MessageType::BARRIER_REQUEST, &[]).to_vec();
    frame[3] = 9;
    assert_eq!(
        decode(&frame.into()).unwrap_err().to_string(),
        "header.length at byte 2: length 9, expected 8"
    );
    let newer = framed(6, MessageType::BARRIER_REQUEST, &[]);
    assert_eq!(
        decode(&newer).unwrap_err().to_string(),
        "header.version at byte 0: version 6 is not supported"
    );
}

#[test]
fn a_body_too_short_or_too_long() {
    assert_eq!(
        error_of(MessageType::FEATURES_REPLY, &[0; 23]),
        "features_reply at byte 8: needs 24 bytes, 23 are left"
    );
    assert_eq!(
        error_of(MessageType::BARRIER_REPLY, &[0; 3]),
        "message at byte 8: 3 unexpected bytes at the end"
    );
}

#[test]
fn a_match_with_wrong_lengths() {
    for (rest, text) in [
        (
            &[0, 0, 0, 4, 0, 0, 0, 0][..],
            "match.type at byte 48: value 0 is not allowed",
        ),
        (
            &[0, 1, 0, 0, 0, 0, 0, 0],
            "match.length at byte 50: length 0 is less than 4",
        ),
        (
            &[0, 1, 0xff, 0xff, 0, 0, 0, 0],
            "match.length at byte 52: needs 65531 bytes, 4 are left",
        ),
        (
            &[0, 1, 0, 8, 0x80, 0, 0, 4],
            "oxm.value at byte 56: needs 4 bytes, 0 are left",
        ),
        (
            &[0, 1, 0, 9, 0x80, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0],
            "oxm.length at byte 55: length 1, expected 4",
        ),
        (
            &[0, 1, 0, 11, 0, 9, 1, 3, 1, 2, 3, 0, 0, 0, 0, 0],
            "oxm.length at byte 55: length 3 is not a multiple of 2",
        ),
        (
            &[0, 1, 0, 8, 0xff, 0xff, 0, 0],
            "oxm.length at byte 55: length 0 is less than 4",
        ),
        (
            &[0, 1, 0, 12, 0x80, 0, 0, 4, 0, 0, 0, 7],
            "match.pad at byte 60: needs 4 bytes, 0 are left",
        ),
    ] {
        assert_eq!(flow_mod_with(rest), text);
    }
}

#[test]
fn instructions_and_actions_with_wrong_lengths() {
    for (rest, text) in [
        (
            &[0, 1, 0, 0, 0, 0, 0, 0][..],
            "instruction at byte 58: length 0 is less than 8",
        ),
        (
            &[0, 1, 0, 9, 0, 0, 0, 0],
            "instruction at byte 58: length 9 is not a multiple of 8",
        ),
        (
            &[0, 1, 0, 16, 0, 0, 0, 0],
            "instruction at byte 60: needs 12 bytes, 4 are left",
        ),
        (
            &[0, 1, 0],
            "instruction at byte 56: needs 4 bytes, 3 are left",
        ),
        (
            &[0, 2, 0, 8, 0, 0, 0, 0],
            "instruction.write_metadata at byte 60: needs 20 bytes, 4 are left",
        ),
        (
            &[0, 1, 0, 16, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            "instruction at byte 64: 8 unexpected bytes at the end",
        ),
        (
            &[0, 4, 0, 16, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1],
            "action at byte 68: needs 12 bytes, 4 are left",
        ),
        (
            &[0, 4, 0, 16, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1],
            "action.output at byte 68: needs 12 bytes, 4 are left",
        ),
        (
            &[0, 4, 0, 16, 0, 0, 0, 0, 0, 25, 0, 8, 0x80, 0, 0, 4],
            "oxm.value at byte 72: needs 4 bytes, 0 are left",
        ),
    ] {
        assert_eq!(with_instruction(rest), text);
    }
}

#[test]
fn lists_in_other_messages_with_wrong_lengths() {
    let packet_out = [&[0; 8][..], &[0, 9], &[0; 6], &[0; 8]].concat();
    assert_eq!(
        error_of(MessageType::PACKET_OUT, &packet_out),
        "packet_out.actions_len at byte 24: needs 9 bytes, 8 are left"
    );
    let flows = |entry: &[u8]| {
        error_of(
            MessageType::MULTIPART_REPLY,
            &[&[0, 1, 0, 0, 0, 0, 0, 0], entry].concat(),
        )
    };
    assert_eq!(
        flows(&[0; 48]),
        "multipart.flow.length at byte 16: length 0 is less than 48"
    );
    let mut entry = [0; 56];
    entry[1] = 57;
    assert_eq!(
        flows(&entry),
        "multipart.flow.length at byte 16: needs 57 bytes, 56 are left"
    );
    let mut command = [0; 48];
    command[17] = 5;
    assert_eq!(
        error_of(MessageType::FLOW_MOD, &command),
        "flow_mod.command at byte 25: value 5 is not allowed"
    );
    assert_eq!(
        error_of(MessageType::HELLO, &[0, 1, 0, 3]),
        "hello.element at byte 10: length 3 is less than 4"
    );
}

#[test]
fn hellos_of_other_versions_are_read() {
    let hello = |version, body: &[u8]| {
        decode(&framed(version, MessageType::HELLO, body))
            .unwrap()
            .1
    };
    let bare = Message::Hello(Hello { versions: None });
    let newest = Message::Hello(Hello {
        versions: Some(0x72),
    });
    assert_eq!(hello(1, &[]), bare);
    assert_eq!(
        hello(1, &[1, 2, 3]),
        bare,
        "what 1.0 puts there does not count"
    );
    assert_eq!(hello(6, &[0, 1, 0, 8, 0, 0, 0, 0x72]), newest);
    let unknown_first = [&[0, 9, 0, 5, 1, 0, 0, 0][..], &[0, 1, 0, 8, 0, 0, 0, 0x72]].concat();
    assert_eq!(hello(4, &unknown_first), newest);
}

#[test]
fn values_too_long_for_a_frame_are_not_encoded() {
    let too_long = Message::EchoRequest(Bytes::from(vec![0; frame::MAX - 7]));
    let mut out = BytesMut::from(&b"before"[..]);
    let error = too_long.try_encode_into(1, &mut out).unwrap_err();
    assert_eq!(
        error.to_string(),
        "message is too long: 65536 bytes, at most 65535 fit"
    );
    assert_eq!(&out[..], b"before");
    assert!(too_long.encode(1).is_empty());

    let longest = Message::EchoRequest(Bytes::from(vec![0; frame::MAX - 8]));
    assert_eq!(longest.encode(1).len(), frame::MAX);

    let with = |oxm| {
        let match_ = Match::new().with(oxm);
        let flow_mod = FlowMod {
            match_,
            ..FlowMod::default()
        };
        Message::FlowMod(flow_mod)
            .try_encode(1)
            .unwrap_err()
            .to_string()
    };
    let field = OxmField(9, 1);
    assert_eq!(
        with(Oxm::exact(field, &[0; 256])),
        "oxm is too long: 256 bytes, at most 255 fit"
    );
    assert_eq!(
        with(Oxm::masked(field, &[0; 4], &[0; 2])),
        "oxm.mask is too long: 2 bytes, at most 4 fit"
    );
    let instructions = vec![Instruction::ApplyActions(vec![Action::output(1); 5000])];
    let long_list = FlowMod {
        instructions,
        ..FlowMod::default()
    };
    assert!(Message::FlowMod(long_list).try_encode(1).is_err());
}

#[test]
fn invalid_utf_8_decodes_to_text_that_can_be_encoded() {
    let mut port = vec![0; 8 + 64];
    port[24..40].fill(0xff);
    let frame = framed(VERSION, MessageType::PORT_STATUS, &port);
    let (_, status) = decode(&frame).unwrap();
    assert!(matches!(&status, Message::PortStatus(s) if s.port.name == "?".repeat(15)));
    assert_eq!(decode(&status.encode(0)).unwrap().1, status);
}
