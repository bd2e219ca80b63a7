//! Ethernet addresses and datapath ids, with their text forms.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Text that is not a valid address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct AddrParseError {
    /// Expected kind of address, with an example.
    pub what: &'static str,
    /// Text that was refused.
    pub text: String,
}

/// Ethernet address; its text form is `aa:bb:cc:dd:ee:ff`.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Broadcast address `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    /// Tells whether the group bit is set, as in multicast and broadcast addresses.
    pub const fn is_multicast(&self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        octets(text).map(MacAddr).ok_or_else(|| AddrParseError {
            what: "an Ethernet address (as 0a:00:00:00:00:01)",
            text: text.to_owned(),
        })
    }
}

/// Datapath id of a switch; its text form is 16 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dpid(pub u64);

impl fmt::Display for Dpid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Dpid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Dpid {
    type Err = AddrParseError;

    /// Parses `0000000000000001`, `00:00:00:00:00:00:00:01`, `of:0000000000000001`, `0x1` and `1`. Digits are
    /// hexadecimal, except that fewer than 16 characters, all of them decimal digits, are read as a decimal number.
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        dpid(text).map(Dpid).ok_or_else(|| AddrParseError {
            what: "a datapath id (as 0000000000000001, or 1)",
            text: text.to_owned(),
        })
    }
}

fn dpid(text: &str) -> Option<u64> {
    if let Some(digits) = text
        .strip_prefix("of:")
        .or_else(|| text.strip_prefix("0x"))
        .or_else(|| text.strip_prefix("0X"))
    {
        return hex(digits);
    }
    if text.contains(':') {
        return octets(text).map(u64::from_be_bytes);
    }
    if text.len() < 16 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    hex(text)
}

/// Parses at most 16 hexadecimal digits. `u64::from_str_radix` alone would accept a sign.
fn hex(digits: &str) -> Option<u64> {
    let plain = digits.len() <= 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

/// Parses `N` octets of one or two hexadecimal digits, separated by colons.
fn octets<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = [0; N];
    let mut parts = text.split(':');
    for octet in &mut octets {
        let part = parts.next().filter(|p| p.len() <= 2)?;
        *octet = u8::try_from(hex(part)?).ok()?;
    }
    parts.next().is_none().then_some(octets)
}

/// VLAN of a frame: its 12-bit VLAN identifier (IEEE 802.1Q), or none. The text form is the number, or `none`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vlan(u16);

impl Vlan {
    /// No VLAN: frames without a tag, and those with VLAN identifier 0, whose tag carries a priority only.
    pub const NONE: Vlan = Vlan(0);
    /// Highest VLAN identifier that a tag can hold.
    pub const MAX: Vlan = Vlan(0xfff);

    /// VLAN with an identifier, of which the lower 12 bits count.
    pub const fn new(vid: u16) -> Vlan {
        Vlan(vid & Vlan::MAX.0)
    }

    /// VLAN identifier; 0 for none.
    pub const fn vid(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Vlan::NONE => f.write_str("none"),
            Vlan(vid) => write!(f, "{vid}"),
        }
    }
}

impl fmt::Debug for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Vlan {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        let vid = match text {
            "none" => Some(0),
            _ => text.parse().ok().filter(|vid| *vid > 0),
        };
        let vlan = vid.map(Vlan).filter(|vlan| *vlan <= Vlan::MAX);
        vlan.ok_or_else(|| AddrParseError {
            what: "a VLAN (1 to 4095, or none)",
            text: text.to_owned(),
        })
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(MacAddr, Dpid, Vlan);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dpid_is_read_in_each_of_its_forms() {
        for (text, value) in [
            ("0000000000000001", 1),
            ("0000000000000010", 0x10),
            ("00:00:00:00:00:00:00:1f", 0x1f),
            ("of:00000000000000ff", 0xff),
            ("0x10", 0x10),
            ("10", 10),
            ("1f", 0x1f),
            ("ffffffffffffffff", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Dpid(value)), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_dpid_is_refused() {
        for text in [
            "",
            "0x",
            "of:",
            "+1",
            "-1",
            "s1",
            "00000000000000001",
            "00:01",
            "00:00:00:00:00:00:00:00:01",
            "of:+1",
        ] {
            let error = text.parse::<Dpid>().unwrap_err();
            assert!(error.to_string().contains("datapath id"), "{error}");
        }
    }

    #[test]
    fn a_mac_is_read_and_written() {
        let mac: MacAddr = "0a:00:00:00:00:fF".parse().unwrap();
        assert_eq!(mac.to_string(), "0a:00:00:00:00:ff");
        assert!(!mac.is_multicast() && MacAddr::BROADCAST.is_multicast());
        for text in [
            "",
            "0a:00:00:00:00",
            "0a:00:00:00:00:00:00",
            "0a0000000000",
            "g0:0:0:0:0:0",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_vlan_is_a_number_or_none() {
        for (text, vid) in [("none", 0), ("1", 1), ("10", 10), ("4095", 4095)] {
            let vlan: Vlan = text.parse().unwrap();
            assert_eq!((vlan, vlan.to_string()), (Vlan::new(vid), text.to_owned()));
        }
        for text in ["", "0", "-", "4096", "65537", "-1", "None"] {
            assert!(text.parse::<Vlan>().is_err(), "{text}");
        }
        assert_eq!(Vlan::new(0x1007).vid(), 7);
    }

    #[test]
    fn addresses_are_text_in_json_also_as_keys() {
        let map = std::collections::BTreeMap::from([(Dpid(1), MacAddr::BROADCAST)]);
        let json = serde_json::to_string(&map).unwrap();
        assert_eq!(json, r#"{"0000000000000001":"ff:ff:ff:ff:ff:ff"}"#);
        let back: std::collections::BTreeMap<Dpid, MacAddr> = serde_json::from_str(&json).unwrap();
        assert_eq!(back, map);
    }
}
