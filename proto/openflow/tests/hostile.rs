//! Hostile input: each frame gives a message or an error that names field, offset and value. Decoding time and
//! memory are bounded by the size of the frame, not by the lengths stated in it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod hex;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use morph_openflow::v13::*;
use morph_openflow::{DecodeError, Header, MessageType, frame, v10};

/// Allocator that counts a thread's bytes in use, and their maximum.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // The counters may be gone when an ending thread frees memory.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        MOST.with(|most| most.set(most.get().max(now.get())));
    });
}

// SAFETY: all calls are passed on to the system allocator unchanged.
#[allow(
    unsafe_code,
    reason = "an allocator is unsafe, and this one only counts"
)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Time limit for decoding a frame; debug builds are many times slower.
const TIME: Duration = match cfg!(debug_assertions) {
    true => Duration::from_millis(200),
    false => Duration::from_millis(10),
};
/// Maximum bytes in use for each byte of the frame, reached by owned lists of the shortest elements.
const MEMORY: isize = 64;

fn measured(frame: &Bytes) -> Result<(Header, Message), DecodeError> {
    measured_by(decode, frame)
}

fn measured_by<T>(
    decode: fn(&Bytes) -> Result<T, DecodeError>,
    frame: &Bytes,
) -> Result<T, DecodeError> {
    let before = NOW.get();
    MOST.set(before);
    let mut result = decode(frame);
    let memory = MOST.get() - before;
    let bound = MEMORY * frame.len() as isize + 1024;
    assert!(
        memory <= bound,
        "{memory} bytes for {} of frame",
        frame.len()
    );
    // Best of several runs, because other processes take CPU time too.
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        result = decode(frame);
        best = best.min(start.elapsed());
    }
    assert!(best <= TIME, "{best:?} for {} bytes", frame.len());
    result
}

fn framed(kind: MessageType, body: &[u8]) -> Bytes {
    let length = (Header::LEN + body.len()) as u16;
    let header = [&[VERSION, kind.0][..], &length.to_be_bytes(), &[0; 4]];
    [&header.concat(), body].concat().into()
}

/// Multipart reply of a type with this body.
fn reply(kind: u16, body: &[u8]) -> Bytes {
    let head = [&kind.to_be_bytes()[..], &[0; 6]].concat();
    framed(MessageType::MULTIPART_REPLY, &[&head, body].concat())
}

fn error_of(frame: &Bytes) -> String {
    measured(frame).unwrap_err().to_string()
}

#[test]
fn a_length_of_zero_is_an_error_and_not_a_loop() {
    use MessageType as T;
    let flow_mod = |rest: &[u8]| framed(T::FLOW_MOD, &[&[0; 40], rest].concat());
    let empty = [0, 1, 0, 4, 0, 0, 0, 0];
    let features = |property: &[u8]| {
        let mut entry = [vec![0; 64], property.to_vec()].concat();
        let length = (entry.len() as u16).to_be_bytes();
        entry[..2].copy_from_slice(&length);
        reply(12, &entry)
    };
    let queue = [
        vec![0; 8],
        [&[0; 8][..], &[0, 24], &[0; 6], &[0; 8]].concat(),
    ]
    .concat();
    for (frame, text) in [
        (
            flow_mod(&[0; 8]),
            "match.type at byte 48: value 0 is not allowed",
        ),
        (
            flow_mod(&[&empty[..], &[0, 4, 0, 0, 0, 0, 0, 0]].concat()),
            "instruction at byte 58: length 0 is less than 8",
        ),
        (
            flow_mod(&[&empty[..], &[0, 4, 0, 16, 0, 0, 0, 0], &[0; 8]].concat()),
            "action at byte 66: length 0 is less than 8",
        ),
        (
            framed(T::GROUP_MOD, &[0; 24]),
            "bucket.len at byte 16: length 0 is less than 16",
        ),
        (
            framed(T::METER_MOD, &[0; 24]),
            "meter_band at byte 18: length 0 is less than 4",
        ),
        (
            framed(T::QUEUE_GET_CONFIG_REPLY, &[0; 24]),
            "packet_queue.len at byte 24: length 0 is less than 16",
        ),
        (
            framed(T::QUEUE_GET_CONFIG_REPLY, &queue),
            "queue_prop at byte 34: length 0 is less than 4",
        ),
        (
            framed(T::HELLO, &[0; 8]),
            "hello.element at byte 10: length 0 is less than 4",
        ),
        (
            reply(1, &[0; 64]),
            "multipart.flow.length at byte 16: length 0 is less than 48",
        ),
        (
            reply(6, &[0; 64]),
            "multipart.group.length at byte 16: length 0 is less than 40",
        ),
        (
            reply(7, &[0; 64]),
            "multipart.group_desc.length at byte 16: length 0 is less than 8",
        ),
        (
            reply(9, &[0; 64]),
            "multipart.meter.len at byte 20: length 0 is less than 40",
        ),
        (
            reply(10, &[0; 64]),
            "multipart.meter_config.length at byte 16: length 0 is less than 8",
        ),
        (
            reply(12, &[0; 64]),
            "table_features.length at byte 16: length 0 is less than 64",
        ),
        (
            features(&[0; 8]),
            "table_feature_prop at byte 82: length 0 is less than 4",
        ),
        (
            features(&[0, 0, 0, 8, 0, 0, 0, 0]),
            "table_feature_prop at byte 86: length 0 is less than 4",
        ),
    ] {
        assert_eq!(error_of(&frame), text);
    }
}

#[test]
fn lengths_that_disagree_are_named() {
    use MessageType as T;
    let bucket = |len: u8, action: u8| {
        let bucket = [&[0, len][..], &[0; 14], &[0, 22, 0, action, 0, 0, 0, 1]].concat();
        framed(T::GROUP_MOD, &[&[0; 8][..], &bucket].concat())
    };
    let add = |length: u8| {
        let head = [&b"ONF\0"[..], &2301_u32.to_be_bytes(), &[0; 8]].concat();
        framed(
            T::EXPERIMENTER,
            &[&head[..], &[4, 2, 0, length, 0, 0, 0, 0]].concat(),
        )
    };
    for (frame, text) in [
        (
            bucket(32, 8),
            "bucket.len at byte 16: needs 32 bytes, 24 are left",
        ),
        (
            bucket(23, 8),
            "bucket.len at byte 16: length 23 is not a multiple of 8",
        ),
        (
            bucket(24, 16),
            "action at byte 36: needs 12 bytes, 4 are left",
        ),
        (add(7), "header.length at byte 26: length 7 is less than 8"),
        (
            add(9),
            "bundle_add.message at byte 24: needs 9 bytes, 8 are left",
        ),
        (
            framed(
                T::METER_MOD,
                &[&[0; 8][..], &[0, 1, 0, 12], &[0; 8]].concat(),
            ),
            "meter_band.pad at byte 28: needs 4 bytes, 0 are left",
        ),
        (
            framed(
                T::METER_MOD,
                &[&[0; 8][..], &[0, 1, 0, 20], &[0; 16]].concat(),
            ),
            "meter_band at byte 32: 4 unexpected bytes at the end",
        ),
        (
            reply(3, &[0; 25]),
            "multipart.table at byte 40: needs 24 bytes, 1 are left",
        ),
        (
            reply(8, &[0; 41]),
            "message at byte 56: 1 unexpected bytes at the end",
        ),
        (
            framed(T::SET_ASYNC, &[0; 23]),
            "async_config at byte 8: needs 24 bytes, 23 are left",
        ),
        (
            framed(T::PORT_MOD, &[0; 33]),
            "message at byte 40: 1 unexpected bytes at the end",
        ),
    ] {
        assert_eq!(error_of(&frame), text);
    }
}

#[test]
fn an_oxm_with_wrong_lengths_is_refused() {
    let with = |oxm: &[u8]| {
        let length = oxm.len() as u8 + 4;
        let match_ = [&[0, 1, 0, length][..], oxm, &[0; 8]].concat();
        let padded = usize::from(length).next_multiple_of(8);
        framed(
            MessageType::FLOW_MOD,
            &[&[0; 40], &match_[..padded]].concat(),
        )
    };
    for (oxm, text) in [
        (
            &[0x80, 0, 1, 4, 0, 0, 0, 1][..],
            "oxm.length at byte 55: length 4, expected 8",
        ),
        (
            &[0x80, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1],
            "oxm.length at byte 55: length 8, expected 4",
        ),
        (
            &[0x80, 0, 0, 255],
            "oxm.length at byte 55: length 255, expected 4",
        ),
        (
            &[0, 1, 0, 3, 0, 0, 0],
            "oxm.length at byte 55: length 3, expected 4",
        ),
        (
            &[0xff, 0xff, 1, 5, 0, 0, 0, 0, 1],
            "oxm.length at byte 55: length 5 is not a multiple of 2",
        ),
    ] {
        assert_eq!(error_of(&with(oxm)), text);
    }
    // Invalid masks and duplicate fields are decoded, so that the frame can be forwarded, but reported by `check`.
    let mask = with(&[0x80, 0, 1, 8, 0, 0, 0, 1, 255, 255, 255, 255]);
    let twice = with(&[0x80, 0, 0, 4, 0, 0, 0, 1, 0x80, 0, 0, 4, 0, 0, 0, 2]);
    for (frame, text) in [
        (mask, "match field in_port cannot have this mask"),
        (twice, "match field in_port occurs twice"),
    ] {
        let Ok((_, Message::FlowMod(flow_mod))) = measured(&frame) else {
            panic!("{text}");
        };
        assert_eq!(flow_mod.match_.check().unwrap_err().to_string(), text);
    }
}

#[test]
fn unknown_versions_are_refused_and_unknown_types_kept() {
    let mut barrier = framed(MessageType::BARRIER_REQUEST, &[]).to_vec();
    for version in (0..=255).filter(|v| *v != VERSION) {
        barrier[0] = version;
        let error = error_of(&barrier.clone().into());
        assert_eq!(
            error,
            format!("header.version at byte 0: version {version} is not supported")
        );
    }
    for kind in 30..=255 {
        let frame = framed(MessageType(kind), &[1, 2, 3]);
        let (_, message) = measured(&frame).unwrap();
        assert!(matches!(message, Message::Unknown { .. }));
        assert_eq!(message.encode(0), frame);
    }
    let bitmap = |body: &[u8]| measured(&framed(MessageType::HELLO, body));
    assert!(bitmap(&[0, 1, 0, 4]).is_err(), "an empty bitmap");
    assert!(bitmap(&[0, 1, 0, 7, 0, 0, 0, 0]).is_err());
    let absurd = [&[0, 1, 0xff, 0xf0][..], &[0xff; 0xffec]].concat();
    let (_, hello) = bitmap(&absurd).unwrap();
    assert_eq!(
        hello,
        Message::Hello(Hello {
            versions: Some(u32::MAX)
        })
    );
}

/// Longest frames, full of the shortest elements, which cost the most time and memory for each byte.
#[test]
fn the_longest_frames() {
    let full = |kind, head: &[u8], element: &[u8]| {
        let room = frame::MAX - Header::LEN - head.len();
        let elements = element.repeat(room / element.len());
        framed(kind, &[head, &elements].concat())
    };
    let list = |kind, at: usize, head: &[u8], element: &[u8]| {
        let mut frame = full(kind, head, element).to_vec();
        let length = ((frame.len() - at) as u16).to_be_bytes();
        frame[at + 2..at + 4].copy_from_slice(&length);
        Bytes::from(frame)
    };
    use MessageType as T;
    let flow_mod = [&[0; 40][..], &[0, 1, 0, 4, 0, 0, 0, 0]].concat();
    let apply = [&flow_mod[..], &[0, 4, 0, 0, 0, 0, 0, 0]].concat();
    let parts = |kind: u8| [0, kind, 0, 0, 0, 0, 0, 0];
    let oxms = [0; 40]
        .iter()
        .copied()
        .chain([0, 1, 0, 0])
        .collect::<Vec<u8>>();
    let frames = [
        full(T::FLOW_MOD, &flow_mod, &[0, 5, 0, 8, 0, 0, 0, 0]),
        list(T::FLOW_MOD, 56, &apply, &[0, 24, 0, 8, 0, 0, 0, 0]),
        list(T::FLOW_MOD, 48, &oxms, &[0x80, 0, 20, 1, 6]),
        list(T::FLOW_MOD, 48, &oxms, &[0, 9, 0, 0]),
        full(
            T::GROUP_MOD,
            &[0; 8],
            &[[0, 16].as_slice(), &[0; 14]].concat(),
        ),
        full(T::METER_MOD, &[0; 8], &[0, 9, 0, 4]),
        full(
            T::QUEUE_GET_CONFIG_REPLY,
            &[0; 8],
            &[&[0; 8][..], &[0, 16], &[0; 6]].concat(),
        ),
        full(T::MULTIPART_REPLY, &parts(7), &[0, 8, 0, 0, 0, 0, 0, 0]),
        full(T::MULTIPART_REPLY, &parts(10), &[0, 8, 0, 0, 0, 0, 0, 0]),
        full(T::MULTIPART_REPLY, &parts(3), &[0; 24]),
        full(T::ECHO_REQUEST, &[], &[0xff]),
        full(T::MULTIPART_REPLY, &parts(13), &[0x41; 64]),
    ];
    for (n, frame) in frames.iter().enumerate() {
        // Correct padding at the end does not matter here.
        let result = measured(frame);
        let end = [2, 3].contains(&n) && result.is_err();
        assert!(result.is_ok() || end, "{n}: {result:?}");
    }
    // Nested bundles are not decoded until asked for.
    let head = [&b"ONF\0"[..], &2301_u32.to_be_bytes(), &[0; 8]].concat();
    let mut inside = framed(T::BARRIER_REQUEST, &[]);
    while inside.len() + 24 <= frame::MAX {
        inside = framed(T::EXPERIMENTER, &[&head[..], &inside].concat());
    }
    let (_, message) = measured(&inside).unwrap();
    assert_eq!(message.encode(0), inside);
}

#[test]
fn the_longest_frames_of_1_0() {
    use v10::kind as k;
    let entry = [&[0, 88][..], &[0; 86]].concat();
    for (kind, head, element) in [
        (k::FLOW_MOD, &[0; 64][..], &[0, 3, 0, 8, 0, 0, 0, 0][..]),
        (k::FLOW_MOD, &[0; 64], &[0, 77, 0, 8, 0, 0, 0, 0]),
        (k::FEATURES_REPLY, &[0; 24], &[0x41; 48]),
        (k::STATS_REPLY, &[0, 1, 0, 0], &entry),
        (k::STATS_REPLY, &[0, 3, 0, 0], &[0x41; 64]),
        (k::STATS_REPLY, &[0, 5, 0, 0], &[0; 32]),
        (
            k::QUEUE_GET_CONFIG_REPLY,
            &[0; 8],
            &[0, 0, 0, 1, 0, 8, 0, 0],
        ),
        (k::ECHO_REQUEST, &[], &[0xff]),
    ] {
        let room = frame::MAX - Header::LEN - head.len();
        let body = [head, &element.repeat(room / element.len())].concat();
        let mut frame = framed(kind, &body).to_vec();
        frame[0] = v10::VERSION;
        let result = measured_by(v10::decode, &frame.into());
        assert!(result.is_ok(), "{kind:?}: {result:?}");
    }
}

#[test]
fn a_large_length_reserves_no_more_than_one_frame() {
    let before = NOW.get();
    let mut buffer = BytesMut::from(&[4, 10, 0xff, 0xff, 0, 0, 0, 0][..]);
    assert_eq!(frame::split(&mut buffer).unwrap(), None);
    assert!(NOW.get() - before < 2 * frame::MAX as isize);
    for length in 0..8 {
        let mut buffer = BytesMut::from(&[4, 10, 0, length, 0, 0, 0, 0][..]);
        assert_eq!(frame::split(&mut buffer).unwrap_err().what, "header.length");
    }
}

/// Replaces each byte of each vector by 8 values; every result is decoded or refused within bounds.
#[test]
fn every_vector_with_every_byte_changed() {
    for name in hex::OF13.names() {
        let bytes = hex::OF13.load(&name);
        for at in 0..bytes.len().min(400) {
            for value in [0, 1, 4, 7, 8, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.to_vec();
                changed[at] = value;
                let frame = Bytes::from(changed);
                if let Ok((header, message)) = decode(&frame) {
                    let again = message.try_encode(header.xid);
                    let again = again.unwrap_or_else(|e| panic!("{name} {at} {value}: {e}"));
                    assert_eq!(decode(&again).unwrap().1, message, "{name} {at} {value}");
                }
            }
        }
    }
}
