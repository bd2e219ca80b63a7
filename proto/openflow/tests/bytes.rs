//! Property tests on arbitrary bytes: no panic, no endless loop, and a decoded message survives encoding and
//! decoding.

use bytes::{Bytes, BytesMut};
use morph_openflow::v13::{self, Message, OxmField};
use morph_openflow::{Header, frame};
use proptest::prelude::*;

fn check(frame: &Bytes) -> Result<(), TestCaseError> {
    let Ok((header, message)) = v13::decode(frame) else {
        return Ok(());
    };
    let again = message.try_encode(header.xid);
    let again = again.map_err(|e| TestCaseError::fail(format!("{message:?}: {e}")))?;
    let (second, twice) = v13::decode(&again).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(second.xid, header.xid);
    prop_assert_eq!(&twice, &message);
    prop_assert_eq!(&twice.encode(header.xid), &again);
    let text = format!("{message:?}");
    prop_assert!(!text.is_empty());
    if let Message::FlowMod(flow_mod) = &message {
        let normal = flow_mod.match_.normal();
        prop_assert!(normal.is_normal(), "{:?}", normal);
        prop_assert_eq!(normal.normal(), normal.clone());
        prop_assert_eq!(flow_mod.match_.is_normal(), flow_mod.match_ == normal);
        let _ = flow_mod.match_.to_string();
        let _ = morph_openflow::text::Instructions(&flow_mod.instructions).to_string();
    }
    Ok(())
}

/// Frame with a correct header and this body.
fn framed(kind: u8, body: &[u8]) -> Bytes {
    let length = (Header::LEN + body.len()) as u16;
    let mut frame = vec![v13::VERSION, kind];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 7]);
    frame.extend_from_slice(body);
    frame.into()
}

/// Bytes that are likely lengths and types, so that decoding gets beyond the first check.
fn likely_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => Just(0_u8),
        2 => 0_u8..=32,
        1 => Just(0x80_u8),
        1 => Just(0xff_u8),
        2 => any::<u8>(),
    ]
}

/// OXM whose length is correct in some cases.
fn oxm() -> impl Strategy<Value = Vec<u8>> {
    let class = prop_oneof![8 => Just(OxmField::BASIC), 1 => Just(OxmField::EXPERIMENTER), 1 => any::<u16>()];
    let length = prop_oneof![
        Just(1_u8),
        Just(2),
        Just(4),
        Just(6),
        Just(8),
        Just(12),
        Just(16),
        any::<u8>()
    ];
    (
        class,
        0_u8..90,
        length,
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(class, field_mask, length, mut value)| {
            value.resize(usize::from(length), 0x5a);
            let mut oxm = class.to_be_bytes().to_vec();
            oxm.extend_from_slice(&[field_mask, length]);
            oxm.extend_from_slice(&value);
            oxm
        })
}

/// TLV whose 16-bit length is mostly correct.
fn tlv(
    kinds: std::ops::RangeInclusive<u16>,
    body: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = Vec<u8>> {
    let wrong = prop_oneof![9 => Just(None), 1 => any::<u16>().prop_map(Some)];
    (kinds, body, wrong).prop_map(|(kind, mut body, wrong)| {
        body.resize((body.len() + 4).next_multiple_of(8) - 4, 0);
        let length = wrong.unwrap_or(body.len() as u16 + 4);
        let mut tlv = kind.to_be_bytes().to_vec();
        tlv.extend_from_slice(&length.to_be_bytes());
        tlv.extend_from_slice(&body);
        tlv
    })
}

fn action() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        tlv(0..=30, prop::collection::vec(likely_byte(), 0..20)),
        tlv(25..=25, oxm()),
        tlv(0xffff..=0xffff, prop::collection::vec(any::<u8>(), 0..20)),
    ]
}

fn concat<T: Strategy<Value = Vec<u8>>>(item: T) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(item, 0..5).prop_map(|items| items.concat())
}

fn instruction() -> impl Strategy<Value = Vec<u8>> {
    let list = concat(action()).prop_map(|actions| [vec![0; 4], actions].concat());
    prop_oneof![
        tlv(0..=7, prop::collection::vec(likely_byte(), 0..24)),
        tlv(3..=5, list),
        tlv(0xffff..=0xffff, prop::collection::vec(any::<u8>(), 0..20)),
    ]
}

/// Padded match whose length is mostly correct.
fn a_match() -> impl Strategy<Value = Vec<u8>> {
    let wrong = prop_oneof![9 => Just(None), 1 => any::<u16>().prop_map(Some)];
    (concat(oxm()), wrong).prop_map(|(fields, wrong)| {
        let length = fields.len() + 4;
        let mut bytes = vec![0, 1];
        bytes.extend_from_slice(&wrong.unwrap_or(length as u16).to_be_bytes());
        bytes.extend_from_slice(&fields);
        bytes.resize(length.next_multiple_of(8), 0);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&Bytes::from(bytes.clone()))?;
        let _ = v13::peek::flow_mod(&bytes);
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(frame)) = frame::split(&mut buffer) {
            prop_assert!(frame.len() >= Header::LEN);
        }
    }

    #[test]
    fn any_body(kind in 0_u8..32, body in prop::collection::vec(likely_byte(), 0..300)) {
        check(&framed(kind, &body))?;
    }

    #[test]
    fn any_multipart(
        kind in 18_u8..20,
        which in prop_oneof![8 => 0_u8..14, 1 => any::<u8>()],
        flags in 0_u8..3,
        body in prop::collection::vec(likely_byte(), 0..300),
    ) {
        check(&framed(kind, &[&[0, which, 0, flags, 0, 0, 0, 0], &body[..]].concat()))?;
    }

    #[test]
    fn flow_mods_that_are_nearly_right(
        fixed in prop::collection::vec(any::<u8>(), 40),
        command in 0_u8..6,
        match_ in a_match(),
        instructions in concat(instruction()),
    ) {
        let mut body = [fixed, match_, instructions].concat();
        body[17] = command;
        check(&framed(14, &body))?;
    }

    #[test]
    fn flow_stats_that_are_nearly_right(
        fixed in prop::collection::vec(any::<u8>(), 48),
        wrong in prop_oneof![9 => Just(None), 1 => any::<u16>().prop_map(Some)],
        match_ in a_match(),
        instructions in concat(instruction()),
    ) {
        let mut entry = [fixed, match_, instructions].concat();
        let length = wrong.unwrap_or(entry.len() as u16);
        entry[..2].copy_from_slice(&length.to_be_bytes());
        check(&framed(19, &[&[0, 1, 0, 0, 0, 0, 0, 0], &entry[..], &entry[..]].concat()))?;
    }

    #[test]
    fn packets_that_are_nearly_right(
        kind in prop_oneof![Just(10_u8), Just(11), Just(13)],
        fixed in prop::collection::vec(likely_byte(), 16),
        match_ in a_match(),
        actions in concat(action()),
    ) {
        let rest = if kind == 13 { actions } else { [match_, actions].concat() };
        let mut body = [fixed, rest].concat();
        if kind == 13 {
            let length = body.len() as u16 - 16;
            body[8..10].copy_from_slice(&length.to_be_bytes());
        }
        check(&framed(kind, &body))?;
    }
}
