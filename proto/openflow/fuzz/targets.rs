//! Fuzz targets, shared by libFuzzer and by `tests/fuzz.rs`. A panic is a finding.

use bytes::{Bytes, BytesMut};
use morph_openflow::lldp::{self, Probe};
use morph_openflow::v13::{self, Message, MultipartBody, MultipartReply, PacketInView};
use morph_openflow::{MacAddr, frame, text, v10};

/// Name and function of a target.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
#[allow(dead_code, reason = "each target of libFuzzer names its own function")]
pub(crate) const TARGETS: [Target; 6] = [
    ("framer", framer),
    ("v10", v10),
    ("v13", v13),
    ("match", match_),
    ("action", action),
    ("lldp", lldp),
];

/// Splits a stream into frames in pieces of any size; no byte may be lost.
pub(crate) fn framer(data: &[u8]) {
    let piece = usize::from(data.first().copied().unwrap_or(1)).max(1);
    let (mut buffer, mut length) = (BytesMut::new(), 0);
    for chunk in data.chunks(piece) {
        buffer.extend_from_slice(chunk);
        loop {
            let first = frame::first(&buffer).map(|first| first.map(|f| f.frame.to_vec()));
            let split = frame::split(&mut buffer);
            match (first, split) {
                (Ok(Some(first)), Ok(Some(frame))) => {
                    assert_eq!(first, frame);
                    length += frame.len();
                }
                (Ok(None), Ok(None)) => break,
                (Err(first), Err(split)) => {
                    assert_eq!(first, split);
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(length + buffer.len(), data.len());
}

/// Decodes, encodes and decodes a message of OpenFlow 1.3; both values must be equal.
pub(crate) fn v13(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let view = PacketInView::new(&frame).map(|view| view.in_port());
    let Ok((header, message)) = v13::decode(&frame) else {
        return;
    };
    let Ok(again) = message.try_encode(header.xid) else {
        panic!("not written: {message:?}");
    };
    let Ok((_, twice)) = v13::decode(&again) else {
        panic!("not read again: {message:?}");
    };
    assert_eq!(twice, message);
    assert_eq!(twice.try_encode(header.xid), Ok(again));
    exercise(&message, view.ok().flatten());
}

/// Does the same as [`v13`] for OpenFlow 1.0, and converts to 1.3 and back.
pub(crate) fn v10(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let Ok((header, message)) = v10::decode(&frame) else {
        return;
    };
    let Ok(again) = message.try_encode(header.xid) else {
        panic!("not written: {message:?}");
    };
    let Ok((_, twice)) = v10::decode(&again) else {
        panic!("not read again: {message:?}");
    };
    assert_eq!(twice, message);
    assert_eq!(twice.try_encode(header.xid), Ok(again));
    match &message {
        v10::Message::FlowMod(m) => convert_both_ways(&m.match_, &m.actions),
        v10::Message::PacketOut(m) => convert_both_ways(&v10::Match::default(), &m.actions),
        v10::Message::PortStatus(m) => drop(v10::convert::port_desc_to_v13(&m.desc)),
        v10::Message::Error(m) => drop(v10::convert::error_to_v13(m).to_string()),
        _ => (),
    }
}

fn convert_both_ways(match_: &v10::Match, actions: &[v10::Action]) {
    let newer = v10::convert::match_to_v13(match_);
    if let Ok(back) = v10::convert::match_from_v13(&newer) {
        assert_eq!(v10::convert::match_to_v13(&back), newer);
    }
    let newer = v10::convert::actions_to_v13(actions, &newer);
    drop(v10::convert::actions_from_v13(&newer));
}

/// Exercises normal forms and text of a message.
fn exercise(message: &Message, in_port: Option<u32>) {
    match message {
        Message::FlowMod(m) => {
            let normal = m.match_.normal();
            assert!(normal.is_normal());
            if m.match_.check().is_ok() {
                assert_eq!(normal.check(), Ok(()));
            }
            let _ = m.match_.to_string();
            let _ = text::Instructions(&m.instructions).to_string();
        }
        Message::PacketIn(m) => assert_eq!(m.in_port(), in_port),
        Message::PacketOut(m) => drop(text::Actions(&m.actions).to_string()),
        Message::Error(m) => drop(m.to_string()),
        Message::BundleAdd(m) => drop(v13::decode(&m.frame)),
        Message::MultipartReply(MultipartReply { body, .. }) => {
            if let MultipartBody::Flow(rules) = body {
                rules.iter().for_each(|rule| drop(rule.to_string()));
            }
            assert!(body.clone().into_parts().is_ok());
        }
        _ => (),
    }
}

/// Frame of a type with this body and a correct length.
fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let most = frame::MAX - 8;
    let body = &body[..body.len().min(most)];
    let length = (body.len() + 8) as u16;
    let mut frame = vec![v13::VERSION, kind];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(body);
    frame
}

/// Decodes a flow-mod with this match.
pub(crate) fn match_(data: &[u8]) {
    let fields = &data[..data.len().min(60000)];
    let length = fields.len() + 4;
    let mut body = vec![0; 40];
    body.extend_from_slice(&[0, 1]);
    body.extend_from_slice(&(length as u16).to_be_bytes());
    body.extend_from_slice(fields);
    body.resize(40 + length.next_multiple_of(8), 0);
    v13(&framed(14, &body));
}

/// Decodes a packet-out with these actions.
pub(crate) fn action(data: &[u8]) {
    let actions = &data[..data.len().min(60000)];
    let mut body = vec![0; 8];
    body.extend_from_slice(&(actions.len() as u16).to_be_bytes());
    body.resize(16, 0);
    body.extend_from_slice(actions);
    v13(&framed(13, &body));
}

/// Decodes, encodes and decodes an LLDP probe.
pub(crate) fn lldp(data: &[u8]) {
    let Some(probe) = Probe::read(data) else {
        return;
    };
    assert!(lldp::is_lldp(data));
    assert_eq!(Probe::read(&probe.frame(MacAddr([2; 6]))), Some(probe));
}
