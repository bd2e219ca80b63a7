//! Actions: one for each field that can be set against one for all of them.

use super::{Inexpressible, port_from_v13, port_to_v13, refusal};
use crate::addr::MacAddr;
use crate::v10::Action;
use crate::v13::{self, Oxm, OxmField};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// `OFPVID_PRESENT`.
const VLAN_PRESENT: u16 = 0x1000;
/// Types of those actions of 1.0 that 1.3 may have no place for.
const SET_TP_SRC: u16 = 9;
const SET_TP_DST: u16 = 10;

/// What is done to packets of this match. What has no place (a port set of packets that need be neither TCP nor UDP, a type
/// that is not known) is an unknown action with the type that it has in 1.0.
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
        // Two of 1.3; what it is alone.
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

/// The same, where the actions of 1.0 suffice. An output behind a set-queue is an enqueue.
pub fn actions_from_v13(new: &[v13::Action]) -> Result<Vec<Action>, Inexpressible> {
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

fn from_v13(new: &v13::Action) -> Result<Action, Inexpressible> {
    Ok(match new {
        v13::Action::PopVlan => Action::StripVlan,
        v13::Action::SetField(oxm) => return set_field(oxm),
        v13::Action::Experimenter { experimenter, body } => Action::Vendor {
            vendor: *experimenter,
            body: body.clone(),
        },
        other => {
            let what = format_args!("action {other:?}");
            return Err(Inexpressible::new(refusal::BAD_TYPE, what));
        }
    })
}

fn set_field(oxm: &Oxm) -> Result<Action, Inexpressible> {
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
            return Err(Inexpressible::new(refusal::BAD_SET_TYPE, what));
        }
    })
}

fn value<const N: usize>(oxm: &Oxm) -> Result<[u8; N], Inexpressible> {
    let whole = oxm
        .mask
        .is_none()
        .then(|| oxm.value.as_ref().try_into().ok());
    whole.flatten().ok_or_else(|| {
        let what = format_args!("action that sets a part of {}", oxm.field);
        Inexpressible::new(refusal::BAD_SET_ARGUMENT, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_there_comes_back() {
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
    fn what_has_no_place_is_named_and_what_cannot_be_known_kept() {
        let ipv6 = Oxm::exact(OxmField::IPV6_SRC, &[0; 16]);
        let half = Oxm::masked(OxmField::ETH_SRC, &[0; 6], &[0xf0; 6]);
        for (new, said) in [
            (v13::Action::Group(1), "action Group(1)"),
            (v13::Action::DecNwTtl, "action DecNwTtl"),
            (v13::Action::PushVlan(0x8100), "action PushVlan"),
            (v13::Action::SetField(ipv6), "action that sets ipv6_src"),
            (v13::Action::SetField(half), "sets a part of eth_src"),
            (v13::Action::output(70_000), "port 70000"),
        ] {
            let error = actions_from_v13(&[new]).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let unknown = actions_to_v13(&[Action::SetTpSrc(80)], &v13::Match::new());
        assert!(matches!(
            unknown[..],
            [v13::Action::Unknown { kind: 9, .. }]
        ));
    }
}
