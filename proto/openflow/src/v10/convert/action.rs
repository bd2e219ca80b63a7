//! Conversion of actions: OpenFlow 1.0 has one action for each field that can be set, 1.3 has one set-field action.

use super::error::{ConversionError, refusal};
use super::port::{port_from_v13, port_to_v13};
use crate::addr::MacAddr;
use crate::v10::Action;
use crate::v13::{self, Oxm, OxmField, VLAN_PRESENT};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Action types of 1.0 that may have no counterpart in 1.3.
const SET_TP_SRC: u16 = 9;
const SET_TP_DST: u16 = 10;

/// Converts the actions of a rule with this match. An action without a counterpart (a port set on packets that need
/// be neither TCP nor UDP, an unknown type) becomes an unknown action with its type of 1.0.
pub fn actions_to_v13(old: &[Action], matching: &v13::Match) -> Vec<v13::Action> {
    let mut new = Vec::with_capacity(old.len());
    let mut queue = None;
    for action in old {
        if let Action::Enqueue { port, queue_id } = *action {
            if queue.replace(queue_id) != Some(queue_id) {
                new.push(v13::Action::SetQueue(queue_id));
            }
            new.push(v13::Action::output(port_to_v13(port)));
        } else {
            new.push(to_v13(action, matching.get_ip_proto()));
        }
    }
    new
}

fn to_v13(old: &Action, proto: Option<u8>) -> v13::Action {
    let set = |field, value: &[u8]| v13::Action::SetField(Oxm::exact(field, value));
    let port = |kind, tcp, udp, number: u16| match proto {
        Some(TCP) => set(tcp, &number.to_be_bytes()),
        Some(UDP) => set(udp, &number.to_be_bytes()),
        _ => {
            let [high, low] = number.to_be_bytes();
            let body = vec![high, low, 0, 0].into();
            v13::Action::Unknown { kind, body }
        }
    };
    match old {
        Action::Output { port, max_len } => v13::Action::Output {
            port: port_to_v13(*port),
            max_len: *max_len,
        },
        Action::SetVlanVid(vid) => set(OxmField::VLAN_VID, &(VLAN_PRESENT | vid).to_be_bytes()),
        Action::SetVlanPcp(pcp) => set(OxmField::VLAN_PCP, &[*pcp]),
        Action::StripVlan => v13::Action::PopVlan,
        Action::SetDlSrc(addr) => set(OxmField::ETH_SRC, &addr.0),
        Action::SetDlDst(addr) => set(OxmField::ETH_DST, &addr.0),
        Action::SetNwSrc(addr) => set(OxmField::IPV4_SRC, &addr.octets()),
        Action::SetNwDst(addr) => set(OxmField::IPV4_DST, &addr.octets()),
        Action::SetNwTos(tos) => set(OxmField::IP_DSCP, &[tos >> 2]),
        Action::SetTpSrc(number) => port(SET_TP_SRC, OxmField::TCP_SRC, OxmField::UDP_SRC, *number),
        Action::SetTpDst(number) => port(SET_TP_DST, OxmField::TCP_DST, OxmField::UDP_DST, *number),
        // The caller has added the set-queue action.
        Action::Enqueue { port, .. } => v13::Action::output(port_to_v13(*port)),
        Action::Vendor { vendor, body } => v13::Action::Experimenter {
            experimenter: *vendor,
            body: body.clone(),
        },
        Action::Unknown { kind, body } => v13::Action::Unknown {
            kind: *kind,
            body: body.clone(),
        },
    }
}

/// Converts actions to 1.0. A set-queue followed by an output becomes an enqueue. Fails on actions that 1.0 lacks.
pub fn actions_from_v13(new: &[v13::Action]) -> Result<Vec<Action>, ConversionError> {
    let mut old = Vec::with_capacity(new.len());
    let mut queue = None;
    for action in new {
        match action {
            v13::Action::SetQueue(id) => queue = Some(*id),
            v13::Action::Output { port, max_len } => {
                let port = port_from_v13(*port)?;
                old.push(match queue {
                    Some(queue_id) => Action::Enqueue { port, queue_id },
                    None => Action::Output {
                        port,
                        max_len: *max_len,
                    },
                });
            }
            other => old.push(from_v13(other)?),
        }
    }
    Ok(old)
}

fn from_v13(new: &v13::Action) -> Result<Action, ConversionError> {
    Ok(match new {
        v13::Action::PopVlan => Action::StripVlan,
        v13::Action::SetField(oxm) => return set_field(oxm),
        v13::Action::Experimenter { experimenter, body } => Action::Vendor {
            vendor: *experimenter,
            body: body.clone(),
        },
        other => {
            let what = format_args!("action {other}");
            return Err(ConversionError::new(refusal::BAD_TYPE, what));
        }
    })
}

fn set_field(oxm: &Oxm) -> Result<Action, ConversionError> {
    let octet = || value::<1>(oxm).map(u8::from_be_bytes);
    let number = || value::<2>(oxm).map(u16::from_be_bytes);
    Ok(match oxm.field {
        OxmField::VLAN_VID => Action::SetVlanVid(number()? & !VLAN_PRESENT),
        OxmField::VLAN_PCP => Action::SetVlanPcp(octet()?),
        OxmField::ETH_SRC => Action::SetDlSrc(MacAddr(value(oxm)?)),
        OxmField::ETH_DST => Action::SetDlDst(MacAddr(value(oxm)?)),
        OxmField::IPV4_SRC => Action::SetNwSrc(value::<4>(oxm)?.into()),
        OxmField::IPV4_DST => Action::SetNwDst(value::<4>(oxm)?.into()),
        OxmField::IP_DSCP => Action::SetNwTos(octet()? << 2),
        OxmField::TCP_SRC | OxmField::UDP_SRC => Action::SetTpSrc(number()?),
        OxmField::TCP_DST | OxmField::UDP_DST => Action::SetTpDst(number()?),
        field => {
            let what = format_args!("action that sets {field}");
            return Err(ConversionError::new(refusal::BAD_SET_TYPE, what));
        }
    })
}

fn value<const N: usize>(oxm: &Oxm) -> Result<[u8; N], ConversionError> {
    let whole = oxm
        .mask
        .is_none()
        .then(|| oxm.value.as_ref().try_into().ok());
    whole.flatten().ok_or_else(|| {
        let what = format_args!("action that sets a part of {}", oxm.field);
        ConversionError::new(refusal::BAD_SET_ARGUMENT, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_gives_the_same_actions() {
        let set = |field, value: &[u8]| v13::Action::SetField(Oxm::exact(field, value));
        let tcp = v13::Match::new().eth_type(0x800).ip_proto(TCP);
        let udp = v13::Match::new().eth_type(0x800).ip_proto(UDP);
        for (matching, new) in [
            (&tcp, vec![]),
            (
                &tcp,
                vec![v13::Action::output(1), v13::Action::to_controller()],
            ),
            (
                &tcp,
                vec![
                    set(OxmField::TCP_SRC, &[4, 0]),
                    set(OxmField::TCP_DST, &[0, 80]),
                ],
            ),
            (
                &udp,
                vec![
                    set(OxmField::UDP_SRC, &[4, 0]),
                    set(OxmField::UDP_DST, &[0, 80]),
                ],
            ),
            (
                &tcp,
                vec![
                    set(OxmField::VLAN_VID, &[0x10, 5]),
                    set(OxmField::VLAN_PCP, &[3]),
                    set(OxmField::ETH_SRC, &[2; 6]),
                    set(OxmField::ETH_DST, &[4; 6]),
                    set(OxmField::IPV4_SRC, &[10, 0, 0, 1]),
                    set(OxmField::IPV4_DST, &[10, 0, 0, 2]),
                    set(OxmField::IP_DSCP, &[46]),
                    v13::Action::PopVlan,
                    v13::Action::SetQueue(3),
                    v13::Action::output(1),
                    v13::Action::output(2),
                    v13::Action::SetQueue(4),
                    v13::Action::output(2),
                ],
            ),
        ] {
            let old = actions_from_v13(&new).unwrap();
            assert_eq!(actions_to_v13(&old, matching), new);
        }
    }

    #[test]
    fn actions_that_1_0_lacks_are_named_and_ambiguous_ones_kept() {
        let ipv6 = Oxm::exact(OxmField::IPV6_SRC, &[0; 16]);
        let half = Oxm::masked(OxmField::ETH_SRC, &[0; 6], &[0xf0; 6]);
        for (new, wanted) in [
            (v13::Action::Group(1), "action group:1"),
            (v13::Action::DecNwTtl, "action dec_ttl"),
            (v13::Action::PushVlan(0x8100), "action push_vlan"),
            (v13::Action::SetField(ipv6), "action that sets ipv6_src"),
            (v13::Action::SetField(half), "sets a part of eth_src"),
            (v13::Action::output(70_000), "port 70000"),
        ] {
            let error = actions_from_v13(&[new]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        let unknown = actions_to_v13(&[Action::SetTpSrc(80)], &v13::Match::new());
        assert!(matches!(
            unknown[..],
            [v13::Action::Unknown { kind: 9, .. }]
        ));
    }
}
