//! OXM: type, value and mask of one header field, as in a match or in a set-field action (section 7.2.3.2).

use std::fmt;

use bytes::Bytes;
use smallvec::SmallVec;
use zerocopy::IntoBytes;

use crate::error::{DecodeError, EncodeError, Problem};
use crate::wire::{Reader, Writer, fixed};

fixed! {
    /// OXM header; the lowest bit of `field_mask` tells whether there is a mask.
    pub(crate) struct OxmHeader = "oxm" {
        pub(crate) class: u16,
        pub(crate) field_mask: u8,
        pub(crate) length: u8,
    }
}

/// Length of the experimenter id at the start of an experimenter field's value; the mask does not cover it.
const EXPERIMENTER_ID: usize = 4;

/// Field identifier: OXM class, and number within the class. The set is open; the constants are the fields of
/// `OFPXMC_OPENFLOW_BASIC`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OxmField(
    /// OXM class: `OFPXMC_*`.
    pub u16,
    /// Field number within the class (7 bits).
    pub u8,
);

impl OxmField {
    /// `OFPXMC_OPENFLOW_BASIC`: class of the standard fields.
    pub const BASIC: u16 = 0x8000;
    /// `OFPXMC_NXM_1`: Nicira's extensions; only the registers have names here.
    pub const NXM_1: u16 = 1;
    /// `OFPXMC_EXPERIMENTER`: class of experimenter fields.
    pub const EXPERIMENTER: u16 = 0xffff;

    /// Register field by number: `NXM_NX_REG0` to `NXM_NX_REG7`. Higher numbers give a field without a name.
    pub const fn reg(number: u8) -> OxmField {
        OxmField(OxmField::NXM_1, number & 0x7f)
    }
}

/// Properties of a basic field or of a register.
#[derive(Debug)]
pub(crate) struct FieldKind {
    pub(crate) name: &'static str,
    /// Length of the value in bytes.
    pub(crate) bytes: usize,
    /// Number of significant bits; the bits above them are zero.
    pub(crate) bits: usize,
}

const fn register(name: &'static str) -> FieldKind {
    let (bytes, bits) = (4, 32);
    FieldKind { name, bytes, bits }
}

static REGISTERS: [FieldKind; 8] = [
    register("reg0"),
    register("reg1"),
    register("reg2"),
    register("reg3"),
    register("reg4"),
    register("reg5"),
    register("reg6"),
    register("reg7"),
];

macro_rules! basic_fields {
    ($($name:ident = $number:literal, $text:literal, $bytes:literal, $bits:literal;)*) => {
        impl OxmField {
            $(
                #[doc = concat!("Field `OFPXMT_OFB_", stringify!($name), "`.")]
                pub const $name: OxmField = OxmField(OxmField::BASIC, $number);
            )*

            /// All fields of `OFPXMC_OPENFLOW_BASIC`, by number.
            pub const ALL_BASIC: &[OxmField] = &[$(OxmField::$name,)*];

            pub(crate) const fn kind(self) -> Option<&'static FieldKind> {
                match (self.0, self.1) {
                    $((OxmField::BASIC, $number) => {
                        Some(&FieldKind { name: $text, bytes: $bytes, bits: $bits })
                    })*
                    (OxmField::NXM_1, number @ 0..8) => Some(&REGISTERS[number as usize]),
                    _ => None,
                }
            }
        }
    };
}

basic_fields! {
    IN_PORT = 0, "in_port", 4, 32;
    IN_PHY_PORT = 1, "in_phy_port", 4, 32;
    METADATA = 2, "metadata", 8, 64;
    ETH_DST = 3, "eth_dst", 6, 48;
    ETH_SRC = 4, "eth_src", 6, 48;
    ETH_TYPE = 5, "eth_type", 2, 16;
    VLAN_VID = 6, "vlan_vid", 2, 13;
    VLAN_PCP = 7, "vlan_pcp", 1, 3;
    IP_DSCP = 8, "ip_dscp", 1, 6;
    IP_ECN = 9, "ip_ecn", 1, 2;
    IP_PROTO = 10, "ip_proto", 1, 8;
    IPV4_SRC = 11, "ipv4_src", 4, 32;
    IPV4_DST = 12, "ipv4_dst", 4, 32;
    TCP_SRC = 13, "tcp_src", 2, 16;
    TCP_DST = 14, "tcp_dst", 2, 16;
    UDP_SRC = 15, "udp_src", 2, 16;
    UDP_DST = 16, "udp_dst", 2, 16;
    SCTP_SRC = 17, "sctp_src", 2, 16;
    SCTP_DST = 18, "sctp_dst", 2, 16;
    ICMPV4_TYPE = 19, "icmpv4_type", 1, 8;
    ICMPV4_CODE = 20, "icmpv4_code", 1, 8;
    ARP_OP = 21, "arp_op", 2, 16;
    ARP_SPA = 22, "arp_spa", 4, 32;
    ARP_TPA = 23, "arp_tpa", 4, 32;
    ARP_SHA = 24, "arp_sha", 6, 48;
    ARP_THA = 25, "arp_tha", 6, 48;
    IPV6_SRC = 26, "ipv6_src", 16, 128;
    IPV6_DST = 27, "ipv6_dst", 16, 128;
    IPV6_FLABEL = 28, "ipv6_flabel", 4, 20;
    ICMPV6_TYPE = 29, "icmpv6_type", 1, 8;
    ICMPV6_CODE = 30, "icmpv6_code", 1, 8;
    IPV6_ND_TARGET = 31, "ipv6_nd_target", 16, 128;
    IPV6_ND_SLL = 32, "ipv6_nd_sll", 6, 48;
    IPV6_ND_TLL = 33, "ipv6_nd_tll", 6, 48;
    MPLS_LABEL = 34, "mpls_label", 4, 20;
    MPLS_TC = 35, "mpls_tc", 1, 3;
    MPLS_BOS = 36, "mpls_bos", 1, 1;
    PBB_ISID = 37, "pbb_isid", 3, 24;
    TUNNEL_ID = 38, "tunnel_id", 8, 64;
    IPV6_EXTHDR = 39, "ipv6_exthdr", 2, 9;
}

impl OxmField {
    /// Name in lower case, as in `ipv4_dst`. `None`: the field is unknown.
    pub fn name(self) -> Option<&'static str> {
        self.kind().map(|kind| kind.name)
    }

    /// Sort key of the normal form: basic fields first, by number, so that every field follows its prerequisites.
    pub(crate) fn rank(self) -> (bool, u16, u8) {
        (self.0 != Self::BASIC, self.0, self.1)
    }
}

impl fmt::Display for OxmField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "oxm_{:04x}_{}", self.0, self.1),
        }
    }
}

impl fmt::Debug for OxmField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Value of a field in wire form (big-endian). Those of up to 16 bytes, as all standard fields have, take no memory of their
/// own: a controller keeps the matches of all rules.
pub type OxmValue = SmallVec<[u8; 16]>;

/// Field, value and optional mask. The value of an experimenter field begins with the experimenter id, which the
/// mask does not cover.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oxm {
    /// Class and number of the field.
    pub field: OxmField,
    /// Value in wire form (big-endian).
    pub value: OxmValue,
    /// Mask, as long as the part of the value that it covers. `None`: exact match.
    pub mask: Option<Box<[u8]>>,
}

/// Prints value and mask as byte strings.
impl fmt::Debug for Oxm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = Bytes::copy_from_slice;
        f.debug_struct("Oxm")
            .field("field", &self.field)
            .field("value", &bytes(&self.value))
            .field("mask", &self.mask.as_deref().map(bytes))
            .finish()
    }
}

impl Oxm {
    /// Field with exactly this value.
    pub fn exact(field: OxmField, value: &[u8]) -> Oxm {
        Oxm {
            field,
            value: OxmValue::from_slice(value),
            mask: None,
        }
    }

    /// Field with this value in the bits that are set in the mask.
    pub fn masked(field: OxmField, value: &[u8], mask: &[u8]) -> Oxm {
        Oxm {
            mask: Some(mask.into()),
            ..Oxm::exact(field, value)
        }
    }

    /// Position in the value at which the part covered by a mask begins.
    pub(crate) fn covered_from(&self) -> usize {
        match self.field.0 {
            OxmField::EXPERIMENTER => EXPERIMENTER_ID.min(self.value.len()),
            _ => 0,
        }
    }

    /// Returns the normal form: bits outside the mask are zero, and a mask of all ones is left out. `None`: the
    /// mask is all zeros, so the field matches everything.
    pub fn normal(&self) -> Option<Oxm> {
        let Some(mask) = &self.mask else {
            return Some(self.clone());
        };
        if mask.iter().all(|byte| *byte == 0) {
            return None;
        }
        let mut value = self.value.clone();
        for (byte, mask) in value[self.covered_from()..].iter_mut().zip(mask) {
            *byte &= mask;
        }
        let mask = (!self.covers_all(mask)).then(|| mask.clone());
        Some(Oxm {
            field: self.field,
            value,
            mask,
        })
    }

    /// Tells whether the field is in normal form.
    pub(crate) fn is_normal(&self) -> bool {
        let Some(mask) = &self.mask else { return true };
        let value = &self.value[self.covered_from()..];
        let inside = value
            .iter()
            .zip(mask)
            .all(|(value, mask)| value & !mask == 0);
        inside && !self.covers_all(mask) && mask.iter().any(|byte| *byte != 0)
    }

    /// Tells whether the mask has a one for every significant bit.
    fn covers_all(&self, mask: &[u8]) -> bool {
        let bits = self.field.kind().map_or(mask.len() * 8, |kind| kind.bits);
        let above = (mask.len() * 8).saturating_sub(bits);
        mask.iter().enumerate().all(|(i, byte)| {
            let unused = above.saturating_sub(i * 8).min(8);
            let needed = 0xff_u16 >> unused;
            u16::from(*byte) & needed == needed
        })
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Oxm, DecodeError> {
        OxmView::read(reader).map(Oxm::from)
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        let mask: &[u8] = self.mask.as_deref().unwrap_or_default();
        let covered = self.value.len() - self.covered_from();
        if self.mask.is_some() && mask.len() != covered {
            let (length, most) = (mask.len(), covered);
            let what = "oxm.mask";
            w.refuse(EncodeError { what, length, most });
        }
        let length = self.value.len() + mask.len();
        let Ok(length_field) = u8::try_from(length) else {
            let (what, most) = ("oxm", 255);
            return w.refuse(EncodeError { what, length, most });
        };
        w.fixed(&OxmHeader {
            class: self.field.0.into(),
            field_mask: self.field.1 << 1 | u8::from(self.mask.is_some()),
            length: length_field,
        });
        w.bytes(&self.value);
        w.bytes(mask);
    }
}

/// Encodes an exact match of one field.
#[inline]
pub(crate) fn write_exact(field: OxmField, value: &[u8], w: &mut Writer<'_>) {
    let Ok(length) = u8::try_from(value.len()) else {
        let (what, length, most) = ("oxm", value.len(), 255);
        return w.refuse(EncodeError { what, length, most });
    };
    let header = OxmHeader {
        class: field.0.into(),
        field_mask: field.1 << 1,
        length,
    };
    // Header and value in one copy of constant length, which the compiler turns into plain stores.
    match value.len() {
        1 => w.bytes(&joined::<5>(&header, value)),
        2 => w.bytes(&joined::<6>(&header, value)),
        4 => w.bytes(&joined::<8>(&header, value)),
        6 => w.bytes(&joined::<10>(&header, value)),
        8 => w.bytes(&joined::<12>(&header, value)),
        16 => w.bytes(&joined::<20>(&header, value)),
        _ => {
            w.fixed(&header);
            w.bytes(value);
        }
    }
}

/// Concatenates header and value; `N` is the sum of their lengths.
#[inline]
fn joined<const N: usize>(header: &OxmHeader, value: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let (head, rest) = bytes.split_at_mut(size_of::<OxmHeader>());
    head.copy_from_slice(header.as_bytes());
    rest.copy_from_slice(value);
    bytes
}

/// Zero-copy view of a field within a frame.
#[derive(Debug, Clone, Copy)]
pub struct OxmView<'a> {
    field: OxmField,
    value: Reader<'a>,
    mask: Option<Reader<'a>>,
}

impl<'a> OxmView<'a> {
    /// Class and number of the field.
    pub fn field(&self) -> OxmField {
        self.field
    }

    /// Value in wire form (big-endian).
    pub fn value(&self) -> &'a [u8] {
        self.value.as_slice()
    }

    /// Mask, as long as the part of the value that it covers. `None`: exact match.
    pub fn mask(&self) -> Option<&'a [u8]> {
        self.mask.map(|mask| mask.as_slice())
    }

    /// Decodes one field. Fails if its lengths disagree with each other or with the length that the specification
    /// gives the field.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        let header = reader.fixed::<OxmHeader>()?;
        let field = OxmField(header.class(), header.field_mask() >> 1);
        let has_mask = header.field_mask() & 1 == 1;
        let length = usize::from(header.length());
        let mask_length = Self::mask_length(field, has_mask, length)
            .map_err(|problem| DecodeError::new("oxm.length", offset + 3, problem))?;
        let value = reader.sub("oxm.value", length - mask_length)?;
        let mask = reader.sub("oxm.mask", mask_length)?;
        Ok(OxmView {
            field,
            value,
            mask: has_mask.then_some(mask),
        })
    }

    /// Length of the mask, out of `length` bytes after the header.
    fn mask_length(field: OxmField, has_mask: bool, length: usize) -> Result<usize, Problem> {
        let found = length;
        if let Some(kind) = field.kind() {
            let expected = kind.bytes << usize::from(has_mask);
            if found != expected {
                return Err(Problem::Length { found, expected });
            }
        }
        let least = match field.0 {
            OxmField::EXPERIMENTER => EXPERIMENTER_ID,
            _ => 0,
        };
        let Some(covered) = length.checked_sub(least) else {
            return Err(Problem::TooSmall { found, least });
        };
        match has_mask {
            false => Ok(0),
            true if covered.is_multiple_of(2) => Ok(covered / 2),
            true => Err(Problem::Unaligned { found, of: 2 }),
        }
    }
}

impl From<OxmView<'_>> for Oxm {
    fn from(view: OxmView<'_>) -> Oxm {
        Oxm {
            field: view.field,
            value: OxmValue::from_slice(view.value()),
            mask: view.mask().map(Into::into),
        }
    }
}

/// Iterator over the fields of a match. Ends after the first error; each step advances.
#[derive(Debug, Clone, Copy)]
pub struct Oxms<'a>(pub(crate) Reader<'a>);

impl<'a> Iterator for Oxms<'a> {
    type Item = Result<OxmView<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let next = OxmView::read(&mut self.0);
        if next.is_err() {
            self.0.rest();
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_of_all_bits_that_count_is_left_out() {
        let mpls = OxmField(0xffff, 9);
        for (field, value, mask, full) in [
            (OxmField::VLAN_VID, &[0x10, 7][..], &[0x1f, 0xff][..], true),
            (OxmField::VLAN_VID, &[0x10, 7], &[0xff, 0xff], true),
            (OxmField::VLAN_VID, &[0x10, 7], &[0x0f, 0xff], false),
            (OxmField::ETH_TYPE, &[8, 0], &[0x1f, 0xff], false),
            (
                OxmField::IPV6_FLABEL,
                &[0, 1, 2, 3],
                &[0, 0xf, 0xff, 0xff],
                true,
            ),
            (OxmField::MPLS_BOS, &[1], &[1], true),
            (mpls, &[0, 0, 0, 1, 5], &[0xff], true),
            (mpls, &[0, 0, 0, 1, 5], &[0x0f], false),
        ] {
            let normal = Oxm::masked(field, value, mask).normal().unwrap();
            assert_eq!(normal.mask.is_none(), full, "{field} {mask:02x?}");
            assert_eq!(normal.normal(), Some(normal.clone()));
        }
    }

    #[test]
    fn an_experimenters_id_is_not_masked() {
        let oxm = Oxm::masked(OxmField(0xffff, 9), &[0x4f, 0x4e, 0x46, 0, 0xff], &[0x0f]);
        assert_eq!(
            oxm.normal().unwrap().value,
            OxmValue::from_slice(&[0x4f, 0x4e, 0x46, 0, 0x0f])
        );
    }

    #[test]
    fn a_mask_of_all_zeros_drops_the_field() {
        assert_eq!(
            Oxm::masked(OxmField::ETH_DST, &[1; 6], &[0; 6]).normal(),
            None
        );
    }
}
