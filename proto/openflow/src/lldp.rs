//! LLDP probes for link discovery (IEEE 802.1AB). A probe names the switch port that it left by.
//!
//! ```text
//! 01:80:c2:00:00:0e | port's address | 88cc
//! TLV 1 chassis id: 7 (locally assigned), datapath id as 16 hex digits
//! TLV 2 port id: 7 (locally assigned), port number in decimal
//! TLV 3 time to live
//! TLV 127 organisationally specific: OUI 02:4d:6f, subtype 1, "morpheus", time of sending (ms since 1970, 8 octets)
//! TLV 127 OUI 02:4d:6f, subtype 2, tag by which the sender knows its own probes (16 octets); not in a probe without one
//! TLV 0 end
//! ```
//!
//! LLDP frames without the first TLV 127 come from other senders and prove no link between switch ports.
//!
//! Bridges keep LLDP to themselves. A *segment probe* has the same TLVs in a frame that they pass on: it shows that a network of
//! others connects two ports.

use bytes::Bytes;

use crate::addr::{Dpid, MacAddr};

/// EtherType of LLDP.
pub const ETHER_TYPE: u16 = 0x88cc;
/// EtherType of segment probes, which other controllers use for the same.
pub const SEGMENT_ETHER_TYPE: u16 = 0x8942;
/// Length of the shortest Ethernet frame without its checksum (IEEE 802.3, 3.2.8).
const LEAST: usize = 60;

/// "Nearest bridge" group address: bridges do not forward frames sent to it.
const DESTINATION: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e]);

/// Group address of segment probes, under a locally administered OUI.
const SEGMENT_DESTINATION: MacAddr = MacAddr([0x03, 0x4d, 0x6f, 0x00, 0x00, 0x01]);

const ETHERNET_HEADER: usize = 14;

const END: u8 = 0;
const CHASSIS_ID: u8 = 1;
const PORT_ID: u8 = 2;
const TIME_TO_LIVE: u8 = 3;
const ORGANISATION: u8 = 127;

/// Subtype of chassis and port ids: the rest is text in a format of our own.
const LOCALLY_ASSIGNED: u8 = 7;
/// Lifetime of the announcement for other LLDP receivers, in seconds.
const TTL: u16 = 4;
/// Organisation identifier: a locally administered OUI, subtype 1, and the text `morpheus`.
const MAGIC: &[u8] = b"\x02\x4d\x6f\x01morpheus";

/// Organisation identifier, subtype 2: a tag follows.
const TAG_MAGIC: &[u8] = b"\x02\x4d\x6f\x02";
/// Length of a tag.
pub const TAG: usize = 16;

/// Contents of a probe: the port that it left by, and the time of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Datapath id of the sending switch.
    pub dpid: Dpid,
    /// Port number on the sending switch.
    pub port: u32,
    /// Time of sending, in milliseconds since 1970.
    pub sent_ms: u64,
    /// Tag by which the sender knows its own probes, if there is one. The codec neither makes nor checks it.
    pub tag: Option<[u8; TAG]>,
}

impl Probe {
    /// Encodes the probe as an Ethernet frame; `source` is the Ethernet address of the port.
    pub fn frame(&self, source: MacAddr) -> Bytes {
        self.encode(DESTINATION, source, ETHER_TYPE)
    }

    /// Encodes the probe as a frame that bridges pass on.
    pub fn segment_frame(&self, source: MacAddr) -> Bytes {
        self.encode(SEGMENT_DESTINATION, source, SEGMENT_ETHER_TYPE)
    }

    fn encode(&self, destination: MacAddr, source: MacAddr, ether_type: u16) -> Bytes {
        let mut tlvs = Vec::new();
        put_id(&mut tlvs, CHASSIS_ID, &self.dpid.to_string());
        put_id(&mut tlvs, PORT_ID, &self.port.to_string());
        put(&mut tlvs, TIME_TO_LIVE, &TTL.to_be_bytes());
        put(
            &mut tlvs,
            ORGANISATION,
            &[MAGIC, &self.sent_ms.to_be_bytes()].concat(),
        );
        if let Some(tag) = &self.tag {
            put(&mut tlvs, ORGANISATION, &[TAG_MAGIC, tag].concat());
        }
        put(&mut tlvs, END, &[]);
        let mut frame = [destination.0, source.0].concat();
        frame.extend_from_slice(&ether_type.to_be_bytes());
        frame.extend_from_slice(&tlvs);
        frame.resize(frame.len().max(LEAST), 0);
        frame.into()
    }

    /// Decodes an Ethernet frame. `None`: no LLDP, not a probe of Morpheus, or malformed.
    pub fn read(frame: &[u8]) -> Option<Probe> {
        is_lldp(frame).then(|| Self::decode(frame)).flatten()
    }

    /// Decodes a segment probe. `None`: another frame, or malformed.
    pub fn read_segment(frame: &[u8]) -> Option<Probe> {
        is_segment_probe(frame)
            .then(|| Self::decode(frame))
            .flatten()
    }

    fn decode(frame: &[u8]) -> Option<Probe> {
        let (mut dpid, mut port, mut sent_ms, mut tag) = (None, None, None, None);
        let mut rest = frame.get(ETHERNET_HEADER..)?;
        loop {
            let (kind, value, after) = take(rest)?;
            match kind {
                END => break,
                CHASSIS_ID => dpid = Some(Dpid(u64::from_str_radix(id(value)?, 16).ok()?)),
                PORT_ID => port = Some(id(value)?.parse().ok()?),
                ORGANISATION => {
                    sent_ms = sent_ms.or(sent_time(value));
                    tag = tag.or(tag_of(value));
                }
                _ => {}
            }
            rest = after;
        }
        Some(Probe {
            dpid: dpid?,
            port: port?,
            sent_ms: sent_ms?,
            tag,
        })
    }
}

/// Tells whether a frame has the EtherType of LLDP, from any sender.
pub fn is_lldp(frame: &[u8]) -> bool {
    frame.get(12..ETHERNET_HEADER) == Some(&ETHER_TYPE.to_be_bytes())
}

/// Tells whether a frame has the EtherType of segment probes, from any sender.
pub fn is_segment_probe(frame: &[u8]) -> bool {
    frame.get(12..ETHERNET_HEADER) == Some(&SEGMENT_ETHER_TYPE.to_be_bytes())
}

/// Appends a TLV: seven bits of type, nine of length. Values of probes are far shorter than 512 bytes.
fn put(tlvs: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let header = u16::from(kind) << 9 | (value.len() as u16 & 0x1ff);
    tlvs.extend_from_slice(&header.to_be_bytes());
    tlvs.extend_from_slice(value);
}

fn put_id(tlvs: &mut Vec<u8>, kind: u8, text: &str) {
    let mut value = vec![LOCALLY_ASSIGNED];
    value.extend_from_slice(text.as_bytes());
    put(tlvs, kind, &value);
}

/// Splits off the first TLV: its type, its value, and the rest.
fn take(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<2>()?;
    let header = u16::from_be_bytes(*header);
    let (value, after) = rest.split_at_checked(usize::from(header & 0x1ff))?;
    Some(((header >> 9) as u8, value, after))
}

/// Time of sending in a TLV 127 of sent_time; `None` for other organisations.
fn sent_time(value: &[u8]) -> Option<u64> {
    let time = value.strip_prefix(MAGIC)?;
    Some(u64::from_be_bytes(time.try_into().ok()?))
}

/// Tag in a TLV 127; `None` for another subtype or organisation.
fn tag_of(value: &[u8]) -> Option<[u8; TAG]> {
    value.strip_prefix(TAG_MAGIC)?.try_into().ok()
}

fn id(value: &[u8]) -> Option<&str> {
    let (&LOCALLY_ASSIGNED, text) = value.split_first()? else {
        return None;
    };
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: Probe = Probe {
        dpid: Dpid(0xa1),
        port: 7,
        sent_ms: 0x0102,
        tag: None,
    };
    const SOURCE: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 1]);

    /// Bytes of [`PROBE`], one TLV or header field an element.
    const FRAME: &[&[u8]] = &[
        b"\x01\x80\xc2\x00\x00\x0e", // destination
        b"\x02\x00\x00\x00\x00\x01", // source
        b"\x88\xcc",
        b"\x02\x11\x0700000000000000a1", // chassis id
        b"\x04\x02\x077",                // port id
        b"\x06\x02\x00\x04",             // time to live
        b"\xfe\x14\x02\x4d\x6f\x01morpheus\0\0\0\0\0\0\x01\x02",
        b"\x00\x00", // end
    ];

    #[test]
    fn a_probe_encodes_to_these_bytes_and_back() {
        let frame = PROBE.frame(SOURCE);
        assert_eq!(frame[..], FRAME.concat()[..]);
        assert_eq!(Probe::read(&frame), Some(PROBE));
    }

    #[test]
    fn a_tag_stands_before_the_end() {
        let tagged = Probe {
            tag: Some(*b"0123456789abcdef"),
            ..PROBE
        };
        let (end, fields) = FRAME.split_last().unwrap();
        let tag: &[u8] = b"\xfe\x14\x02\x4d\x6f\x020123456789abcdef";
        let expected = [&fields.concat()[..], tag, end].concat();
        let frame = tagged.frame(SOURCE);
        assert_eq!(frame[..], expected[..]);
        assert_eq!(Probe::read(&frame), Some(tagged));
        assert_eq!(
            Probe::read_segment(&tagged.segment_frame(SOURCE)),
            Some(tagged)
        );
        for length in 0..frame.len() {
            assert_eq!(Probe::read(&frame[..length]), None, "{length}");
        }
        let short = [
            &fields.concat()[..],
            &b"\xfe\x13\x02\x4d\x6f\x020123456789abcde"[..],
            end,
        ]
        .concat();
        assert_eq!(
            Probe::read(&short),
            Some(PROBE),
            "a tag of another length is none"
        );
    }

    #[test]
    fn a_segment_probe_is_no_probe_of_links_and_the_other_way_round() {
        let frame = PROBE.segment_frame(SOURCE);
        assert_eq!(Probe::read_segment(&frame), Some(PROBE));
        assert_eq!(Probe::read(&frame), None);
        assert_eq!(Probe::read_segment(&PROBE.frame(SOURCE)), None);
        assert_eq!(frame[0] & 1, 1, "bridges flood groups");
        assert_ne!(frame[..3], [0x01, 0x80, 0xc2], "and pass this one on");
    }

    #[test]
    fn frames_of_others_are_not_probes() {
        let frame = PROBE.frame(SOURCE);
        let other = |at: usize, byte: u8| {
            let mut other = frame.to_vec();
            other[at] = byte;
            Probe::read(&other)
        };
        assert_eq!(other(13, 0xcd), None, "another EtherType");
        assert_eq!(other(16, 4), None, "a chassis id that is a MAC address");
        let magic = FRAME[..6].concat().len() + 4;
        assert_eq!(other(magic, 0), None, "another organisation");
        let without: Vec<u8> = [&FRAME[..6].concat()[..], b"\0\0"].concat();
        assert_eq!(Probe::read(&without), None, "no organisation at all");
    }

    #[test]
    fn no_truncation_is_read() {
        let frame = FRAME.concat();
        for length in 0..frame.len() {
            assert_eq!(Probe::read(&frame[..length]), None, "{length}");
        }
    }
}
