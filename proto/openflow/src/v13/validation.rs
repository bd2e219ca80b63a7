//! Validity rules of a match beyond its encoding (section 7.2.3): prerequisites precede the fields that need them, no
//! field occurs twice, only some fields have masks, and insignificant bits are zero.
//!
//! Decoders do not apply these rules, because a frame that is only forwarded is the receiver's to judge.

use super::error::code::bad_match;
use super::match_::{Match, VLAN_PRESENT};
use super::oxm::{Oxm, OxmField};

/// Violation of a validity rule by a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MatchProblem {
    /// Field that occurs twice.
    #[error("match field {0} occurs twice")]
    Duplicate(OxmField),
    /// Field whose prerequisite does not precede it.
    #[error("match field {field} requires {requires} before it, with a suitable value")]
    Prerequisite {
        /// Field that has the prerequisite.
        field: OxmField,
        /// Prerequisite that is missing, comes later, or has an unsuitable value.
        requires: OxmField,
    },
    /// Field that cannot be masked, or whose mask and value differ in length.
    #[error("match field {0} cannot have this mask")]
    Mask(OxmField),
    /// Field whose value has the wrong length.
    #[error("value of match field {0} has the wrong length")]
    Length(OxmField),
    /// Field with a value beyond its significant bits.
    #[error("value of match field {0} is too large")]
    Value(OxmField),
    /// Field whose value has ones where its mask has zeros.
    #[error("value of match field {0} has bits outside its mask")]
    Wildcards(OxmField),
}

impl MatchProblem {
    /// Code of `OFPET_BAD_MATCH` with which a switch refuses the match.
    pub fn code(&self) -> u16 {
        match self {
            MatchProblem::Duplicate(_) => bad_match::DUP_FIELD,
            MatchProblem::Prerequisite { .. } => bad_match::BAD_PREREQ,
            MatchProblem::Mask(_) => bad_match::BAD_MASK,
            MatchProblem::Length(_) => bad_match::BAD_LEN,
            MatchProblem::Value(_) => bad_match::BAD_VALUE,
            MatchProblem::Wildcards(_) => bad_match::BAD_WILDCARDS,
        }
    }
}

/// Required field, and its acceptable values; an empty list accepts any value.
type Requirement = (OxmField, &'static [u32]);

pub(super) const IPV4: u32 = 0x0800;
const ARP: u32 = 0x0806;
pub(super) const IPV6: u32 = 0x86dd;
pub(super) const MPLS: &[u32] = &[0x8847, 0x8848];
pub(super) const PBB: u32 = 0x88e7;

/// Direct prerequisite of a field. Indirect ones follow, because the required field is checked too.
fn requirement(field: OxmField) -> Option<Requirement> {
    use OxmField as F;
    Some(match field {
        F::IN_PHY_PORT => (F::IN_PORT, &[]),
        F::VLAN_PCP => (F::VLAN_VID, &[]),
        F::IP_DSCP | F::IP_ECN | F::IP_PROTO => (F::ETH_TYPE, &[IPV4, IPV6]),
        F::IPV4_SRC | F::IPV4_DST => (F::ETH_TYPE, &[IPV4]),
        F::TCP_SRC | F::TCP_DST => (F::IP_PROTO, &[6]),
        F::UDP_SRC | F::UDP_DST => (F::IP_PROTO, &[17]),
        F::SCTP_SRC | F::SCTP_DST => (F::IP_PROTO, &[132]),
        F::ICMPV4_TYPE | F::ICMPV4_CODE => (F::IP_PROTO, &[1]),
        F::ARP_OP | F::ARP_SPA | F::ARP_TPA | F::ARP_SHA | F::ARP_THA => (F::ETH_TYPE, &[ARP]),
        F::IPV6_SRC | F::IPV6_DST | F::IPV6_FLABEL | F::IPV6_EXTHDR => (F::ETH_TYPE, &[IPV6]),
        F::ICMPV6_TYPE | F::ICMPV6_CODE => (F::IP_PROTO, &[58]),
        F::IPV6_ND_TARGET => (F::ICMPV6_TYPE, &[135, 136]),
        F::IPV6_ND_SLL => (F::ICMPV6_TYPE, &[135]),
        F::IPV6_ND_TLL => (F::ICMPV6_TYPE, &[136]),
        F::MPLS_LABEL | F::MPLS_TC | F::MPLS_BOS => (F::ETH_TYPE, MPLS),
        F::PBB_ISID => (F::ETH_TYPE, &[PBB]),
        _ => return None,
    })
}

/// Ethertype that an ICMP field requires besides its IP protocol number.
fn ethertype_of(field: OxmField) -> Option<u32> {
    match field {
        OxmField::ICMPV4_TYPE | OxmField::ICMPV4_CODE => Some(IPV4),
        OxmField::ICMPV6_TYPE | OxmField::ICMPV6_CODE => Some(IPV6),
        _ => None,
    }
}

impl OxmField {
    /// Tells whether the field can have a mask (table 12 of the specification). Unknown fields count as maskable.
    pub fn is_maskable(self) -> bool {
        use OxmField as F;
        self.0 != F::BASIC
            || matches!(
                self,
                F::METADATA
                    | F::ETH_DST
                    | F::ETH_SRC
                    | F::VLAN_VID
                    | F::IPV4_SRC
                    | F::IPV4_DST
                    | F::ARP_SPA
                    | F::ARP_TPA
                    | F::ARP_SHA
                    | F::ARP_THA
                    | F::IPV6_SRC
                    | F::IPV6_DST
                    | F::IPV6_FLABEL
                    | F::PBB_ISID
                    | F::TUNNEL_ID
                    | F::IPV6_EXTHDR
            )
            || self.kind().is_none()
    }
}

impl Oxm {
    /// Checks length, mask and bits of this field alone.
    pub(super) fn check(&self) -> Result<(), MatchProblem> {
        let field = self.field;
        if let Some(kind) = field.kind() {
            if self.value.len() != kind.bytes {
                return Err(MatchProblem::Length(field));
            }
            if leading_zeros(&self.value) < kind.bytes * 8 - kind.bits {
                return Err(MatchProblem::Value(field));
            }
        }
        let Some(mask) = &self.mask else {
            return Ok(());
        };
        let covered = &self.value[self.covered_from()..];
        if !field.is_maskable() || mask.len() != covered.len() {
            return Err(MatchProblem::Mask(field));
        }
        match covered.iter().zip(mask).any(|(v, m)| v & !m != 0) {
            true => Err(MatchProblem::Wildcards(field)),
            false => Ok(()),
        }
    }

    /// Value as a number, if it has at most 32 bits and no mask.
    fn exactly(&self) -> Option<u32> {
        let short = self.mask.is_none() && self.value.len() <= 4;
        let number = || self.value.iter().fold(0, |n, b| n << 8 | u32::from(*b));
        short.then(number)
    }
}

/// Number of zero bits before the first one.
fn leading_zeros(bytes: &[u8]) -> usize {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let first = bytes.get(zeros).map_or(0, |byte| byte.leading_zeros());
    zeros * 8 + first as usize
}

impl Match {
    /// Checks the match against the specification; returns the first violation.
    pub fn check(&self) -> Result<(), MatchProblem> {
        for (at, oxm) in self.fields.iter().enumerate() {
            let before = &self.fields[..at];
            let field = oxm.field;
            if before.iter().any(|other| same(other, oxm)) {
                return Err(MatchProblem::Duplicate(field));
            }
            oxm.check()?;
            check_prerequisites(field, before)?;
        }
        Ok(())
    }
}

/// Checks that packets with these fields have this one.
pub(super) fn check_prerequisites(field: OxmField, known: &[Oxm]) -> Result<(), MatchProblem> {
    if let Some((requires, values)) = requirement(field)
        && !holds(known, requires, values)
    {
        return Err(MatchProblem::Prerequisite { field, requires });
    }
    if let Some(ethertype) = ethertype_of(field)
        && !holds(known, OxmField::ETH_TYPE, &[ethertype])
    {
        let requires = OxmField::ETH_TYPE;
        return Err(MatchProblem::Prerequisite { field, requires });
    }
    Ok(())
}

/// Tells whether two fields are the same; experimenter fields also need the same experimenter id.
fn same(a: &Oxm, b: &Oxm) -> bool {
    a.field == b.field && a.value[..a.covered_from()] == b.value[..b.covered_from()]
}

/// Tells whether one of these fields has one of the values, or any value where none is given.
pub(super) fn holds(before: &[Oxm], field: OxmField, values: &[u32]) -> bool {
    before.iter().filter(|oxm| oxm.field == field).any(|oxm| {
        if field == OxmField::VLAN_VID {
            // Any mask that keeps the bit for a present tag satisfies the prerequisite.
            let value = oxm.value.first().copied().unwrap_or_default();
            return value & (VLAN_PRESENT >> 8) as u8 != 0;
        }
        values.is_empty() || oxm.exactly().is_some_and(|value| values.contains(&value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v13::error;

    #[test]
    fn valid_matches_pass() {
        for match_ in [
            Match::new(),
            Match::new().in_port(1).in_phy_port(2),
            Match::new().eth_type(0x800).ip_proto(6).tcp_dst(80),
            Match::new()
                .eth_type(0x86dd)
                .ip_proto(58)
                .icmpv6_type(135)
                .ipv6_nd_target("2001:db8::1".parse().unwrap()),
            Match::new().vlan_vid(5).vlan_pcp(3),
            Match::new().eth_type(0x86dd).ipv6_flabel(0xf_ffff),
            Match::new().eth_type(0x8847).mpls_label(9).mpls_bos(1),
        ] {
            assert_eq!(match_.check(), Ok(()), "{match_}");
        }
    }

    #[test]
    fn violations_are_named_with_their_error_code() {
        use MatchProblem::*;
        use OxmField as F;
        let twice = Match {
            fields: vec![Oxm::exact(F::IN_PORT, &[0; 4]); 2],
        };
        let behind = Match {
            fields: vec![
                Oxm::exact(F::IPV4_DST, &[10, 0, 0, 1]),
                Oxm::exact(F::ETH_TYPE, &[8, 0]),
            ],
        };
        let prerequisite = |field, requires| Prerequisite { field, requires };
        for (match_, problem, code) in [
            (twice, Duplicate(F::IN_PORT), "DUP_FIELD"),
            (behind, prerequisite(F::IPV4_DST, F::ETH_TYPE), "BAD_PREREQ"),
            (
                Match::new().eth_type(0x800).ip_proto(17).tcp_dst(80),
                prerequisite(F::TCP_DST, F::IP_PROTO),
                "BAD_PREREQ",
            ),
            (
                Match::new().eth_type(0x86dd).ip_proto(1).icmpv4_type(8),
                prerequisite(F::ICMPV4_TYPE, F::ETH_TYPE),
                "BAD_PREREQ",
            ),
            (
                Match::new().vlan_none().vlan_pcp(1),
                prerequisite(F::VLAN_PCP, F::VLAN_VID),
                "BAD_PREREQ",
            ),
            (
                Match::new().with(Oxm::masked(F::IN_PORT, &[0; 4], &[1; 4])),
                Mask(F::IN_PORT),
                "BAD_MASK",
            ),
            (
                Match::new().with(Oxm::exact(F::IN_PORT, &[0; 3])),
                Length(F::IN_PORT),
                "BAD_LEN",
            ),
            (
                Match::new().eth_type(0x800).ip_dscp(64),
                Value(F::IP_DSCP),
                "BAD_VALUE",
            ),
            (
                Match::new().eth_type(0x86dd).ipv6_flabel(1 << 20),
                Value(F::IPV6_FLABEL),
                "BAD_VALUE",
            ),
            (
                Match::new().eth_type(0x86dd).ipv6_flabel(1 << 24),
                Value(F::IPV6_FLABEL),
                "BAD_VALUE",
            ),
            (
                Match::new().with(Oxm::masked(F::METADATA, &[1; 8], &[2; 8])),
                Wildcards(F::METADATA),
                "BAD_WILDCARDS",
            ),
        ] {
            assert_eq!(match_.check(), Err(problem), "{match_:?}");
            let kind = error::kind::BAD_MATCH;
            assert_eq!(error::code_name(kind, problem.code()), Some(code));
        }
    }
}
