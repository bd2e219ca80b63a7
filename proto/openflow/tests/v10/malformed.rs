//! Wrong lengths, one by one, with the exact error; and values that do not fit into a frame.

use bytes::Bytes;
use morph_openflow::v10::*;
use morph_openflow::{MessageType, frame};

fn framed(version: u8, kind: MessageType, body: &[u8]) -> Bytes {
    let length = (8 + body.len()) as u16;
    let header = [&[version, kind.0][..], &length.to_be_bytes(), &[0; 4]];
    [&header.concat(), body].concat().into()
}

fn error_of(kind: MessageType, body: &[&[u8]]) -> String {
    decode(&framed(VERSION, kind, &body.concat()))
        .unwrap_err()
        .to_string()
}

#[test]
fn a_header_that_disagrees_with_its_frame_or_version() {
    let mut frame = framed(VERSION, kind::BARRIER_REQUEST, &[]).to_vec();
    frame[3] = 9;
    let error = decode(&frame.into()).unwrap_err().to_string();
    assert_eq!(error, "header.length at byte 2: length 9, expected 8");
    for version in [0, 4, 255] {
        let other = framed(version, kind::BARRIER_REQUEST, &[]);
        assert_eq!(
            decode(&other).unwrap_err().to_string(),
            format!("header.version at byte 0: version {version} is not supported")
        );
    }
}

#[test]
fn fixed_parts_too_short_and_too_long() {
    for (kind, length, text) in [
        (kind::ERROR, 3, "error at byte 8: needs 4 bytes, 3 are left"),
        (
            kind::VENDOR,
            0,
            "vendor at byte 8: needs 4 bytes, 0 are left",
        ),
        (
            kind::FEATURES_REQUEST,
            1,
            "message at byte 8: 1 unexpected bytes at the end",
        ),
        (
            kind::FEATURES_REPLY,
            23,
            "features_reply at byte 8: needs 24 bytes, 23 are left",
        ),
        (
            kind::FEATURES_REPLY,
            71,
            "phy_port at byte 32: needs 48 bytes, 47 are left",
        ),
        (
            kind::SET_CONFIG,
            5,
            "message at byte 12: 1 unexpected bytes at the end",
        ),
        (
            kind::PACKET_IN,
            9,
            "packet_in at byte 8: needs 10 bytes, 9 are left",
        ),
        (
            kind::FLOW_REMOVED,
            39,
            "match at byte 8: needs 40 bytes, 39 are left",
        ),
        (
            kind::FLOW_REMOVED,
            79,
            "flow_removed at byte 48: needs 40 bytes, 39 are left",
        ),
        (
            kind::PORT_STATUS,
            8,
            "phy_port at byte 16: needs 48 bytes, 0 are left",
        ),
        (
            kind::FLOW_MOD,
            63,
            "flow_mod at byte 48: needs 24 bytes, 23 are left",
        ),
        (
            kind::PORT_MOD,
            25,
            "message at byte 32: 1 unexpected bytes at the end",
        ),
        (
            kind::STATS_REQUEST,
            3,
            "stats at byte 8: needs 4 bytes, 3 are left",
        ),
        (
            kind::BARRIER_REPLY,
            1,
            "message at byte 8: 1 unexpected bytes at the end",
        ),
        (
            kind::QUEUE_GET_CONFIG_REPLY,
            12,
            "packet_queue at byte 16: needs 8 bytes, 4 are left",
        ),
    ] {
        assert_eq!(error_of(kind, &[&vec![0; length]]), text);
    }
}

#[test]
fn actions_with_wrong_lengths() {
    for (rest, text) in [
        (
            &[0, 0, 0, 0, 0, 0, 0, 0][..],
            "action at byte 74: length 0 is less than 8",
        ),
        (
            &[0, 0, 0, 12, 0, 0, 0, 0],
            "action at byte 74: length 12 is not a multiple of 8",
        ),
        (
            &[0, 0, 0, 16, 0, 0, 0, 0],
            "action at byte 76: needs 12 bytes, 4 are left",
        ),
        (&[0, 0, 0], "action at byte 72: needs 4 bytes, 3 are left"),
        (
            &[0, 4, 0, 8, 0, 0, 0, 0],
            "action.dl_addr at byte 76: needs 12 bytes, 4 are left",
        ),
        (
            &[0, 11, 0, 8, 0, 0, 0, 0],
            "action.enqueue at byte 76: needs 12 bytes, 4 are left",
        ),
        (
            &[0, 0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            "action at byte 80: 8 unexpected bytes at the end",
        ),
    ] {
        assert_eq!(error_of(kind::FLOW_MOD, &[&[0; 64], rest]), text);
    }
    let out = error_of(kind::PACKET_OUT, &[&[0; 6], &[0, 9], &[0; 8]]);
    assert_eq!(
        out,
        "packet_out.actions_len at byte 16: needs 9 bytes, 8 are left"
    );
    let mut command = [0; 64];
    command[49] = 5;
    let command = error_of(kind::FLOW_MOD, &[&command]);
    assert_eq!(
        command,
        "flow_mod.command at byte 56: value 5 is not allowed"
    );
}

#[test]
fn lists_in_statistics_and_queues_with_wrong_lengths() {
    let flows = |entry: &[u8]| error_of(kind::STATS_REPLY, &[&[0, 1, 0, 0], entry]);
    assert_eq!(
        flows(&[0; 88]),
        "stats.flow.length at byte 12: length 0 is less than 88"
    );
    let mut entry = [0; 88];
    entry[1] = 89;
    assert_eq!(
        flows(&entry),
        "stats.flow.length at byte 12: needs 89 bytes, 88 are left"
    );
    let table = error_of(kind::STATS_REPLY, &[&[0, 3, 0, 0], &[0; 63]]);
    assert_eq!(table, "stats.table at byte 12: needs 64 bytes, 63 are left");
    let queue = |len: u8, rest: &[u8]| {
        error_of(
            kind::QUEUE_GET_CONFIG_REPLY,
            &[&[0; 8], &[0, 0, 0, 1, 0, len, 0, 0], rest],
        )
    };
    assert_eq!(
        queue(0, &[]),
        "packet_queue.len at byte 20: length 0 is less than 8"
    );
    assert_eq!(
        queue(9, &[]),
        "packet_queue.len at byte 16: needs 9 bytes, 8 are left"
    );
    assert_eq!(
        queue(16, &[0, 0, 0, 0, 0, 0, 0, 0]),
        "queue_prop at byte 26: length 0 is less than 8"
    );
    assert_eq!(
        queue(16, &[0, 1, 0, 8, 0, 0, 0, 0]),
        "queue_prop.min_rate at byte 28: needs 12 bytes, 4 are left"
    );
    let role = error_of(kind::VENDOR, &[&[0, 0, 0x23, 0x20], &[0, 0, 0, 10]]);
    assert_eq!(role, "vendor.nx_role at byte 12: needs 8 bytes, 4 are left");
}

#[test]
fn values_too_long_for_a_frame_are_not_encoded() {
    let too_long = Message::EchoRequest(Bytes::from(vec![0; frame::MAX - 7]));
    let error = too_long.try_encode(1).unwrap_err().to_string();
    assert_eq!(error, "message is too long: 65536 bytes, at most 65535 fit");
    assert!(too_long.encode(1).is_empty());
    let actions = vec![Action::output(1); 9000];
    let long_list = FlowMod {
        actions,
        ..FlowMod::default()
    };
    assert!(Message::FlowMod(long_list).try_encode(1).is_err());
}
