//! Rules as text, in the syntax of `ovs-ofctl dump-flows`.

mod fields;
mod port_name;

use std::fmt::{self, Display, Formatter};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use self::fields::hex;
pub use self::port_name::PortName;
use crate::rule::{RuleBody, RuleKey};
use crate::v13::nicira::{self, Resubmit};
use crate::v13::{Action, FlowStats, Instruction, Match, Oxm, OxmField, port};

/// Displays a list of instructions; `drop` if the list does nothing.
#[derive(Debug, Clone, Copy)]
pub struct Instructions<'a>(
    /// List to display.
    pub &'a [Instruction],
);

impl Display for Instructions<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let nothing =
            |i: &&Instruction| matches!(i, Instruction::ApplyActions(list) if list.is_empty());
        let mut separator = "";
        for instruction in self.0.iter().filter(|i| !nothing(i)) {
            write!(f, "{separator}{instruction}")?;
            separator = ",";
        }
        match separator {
            "" => f.write_str("drop"),
            _ => Ok(()),
        }
    }
}

/// Displays a list of actions, separated by commas.
#[derive(Debug, Clone, Copy)]
pub struct Actions<'a>(
    /// List to display.
    pub &'a [Action],
);

impl Display for Actions<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        list(f, self.0)
    }
}

/// Writes the items separated by commas.
fn list<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        let separator = if i == 0 { "" } else { "," };
        write!(f, "{separator}{item}")?;
    }
    Ok(())
}

/// Displays the value of a field, with its mask after a slash.
#[derive(Debug, Clone, Copy)]
pub struct OxmValue<'a>(
    /// Field to display.
    pub &'a Oxm,
);

impl Display for OxmValue<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        fields::value_and_mask(self.0, f)
    }
}

/// Serializes the name, or class and number of an unknown field.
impl Serialize for OxmField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Serializes the field and its value as text, with the mask after a slash.
impl Serialize for Oxm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Oxm", 2)?;
        fields.serialize_field("field", &self.field)?;
        fields.serialize_field("value", &OxmValue(self).to_string())?;
        fields.end()
    }
}

impl Display for Match {
    /// Writes `any` for a match without fields.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.fields.is_empty() {
            true => f.write_str("any"),
            false => fields::write(self, f),
        }
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Action::Output {
                port: port::CONTROLLER,
                max_len,
            } => write!(f, "CONTROLLER:{max_len}"),
            Action::Output { port, .. } if *port > port::MAX => write!(f, "{}", PortName(*port)),
            Action::Output { port, .. } => write!(f, "output:{port}"),
            Action::Group(id) => write!(f, "group:{id}"),
            Action::SetQueue(id) => write!(f, "set_queue:{id}"),
            Action::SetNwTtl(ttl) => write!(f, "set_nw_ttl:{ttl}"),
            Action::DecNwTtl => f.write_str("dec_ttl"),
            Action::CopyTtlOut => f.write_str("copy_ttl_out"),
            Action::CopyTtlIn => f.write_str("copy_ttl_in"),
            Action::SetMplsTtl(ttl) => write!(f, "set_mpls_ttl:{ttl}"),
            Action::DecMplsTtl => f.write_str("dec_mpls_ttl"),
            Action::PushVlan(ethertype) => write!(f, "push_vlan:0x{ethertype:04x}"),
            Action::PopVlan => f.write_str("pop_vlan"),
            Action::PushMpls(ethertype) => write!(f, "push_mpls:0x{ethertype:04x}"),
            Action::PopMpls(ethertype) => write!(f, "pop_mpls:0x{ethertype:04x}"),
            Action::PushPbb(ethertype) => write!(f, "push_pbb:0x{ethertype:04x}"),
            Action::PopPbb => f.write_str("pop_pbb"),
            Action::SetField(oxm) => {
                f.write_str("set_field:")?;
                fields::value_and_mask(oxm, f)?;
                write!(f, "->{}", oxm.field)
            }
            Action::Resubmit(resubmit) => write_resubmit(f, resubmit),
            Action::Experimenter { experimenter, body } => {
                write!(f, "experimenter(0x{experimenter:08x},")?;
                hex(f, body)?;
                f.write_str(")")
            }
            Action::Unknown { kind, body } => {
                write!(f, "action{kind}(")?;
                hex(f, body)?;
                f.write_str(")")
            }
        }
    }
}

/// Port and table are left out where the packet keeps them.
fn write_resubmit(f: &mut Formatter<'_>, resubmit: &Resubmit) -> fmt::Result {
    let keeps_port = resubmit.in_port == nicira::IN_PORT;
    match (keeps_port, resubmit.table) {
        (false, None) => return write!(f, "resubmit:{}", resubmit.in_port),
        (true, None) => return f.write_str("resubmit:IN_PORT"),
        (false, _) => write!(f, "resubmit({},", resubmit.in_port)?,
        (true, _) => f.write_str("resubmit(,")?,
    }
    match resubmit.table {
        None | Some(nicira::TABLE_PRESENT) => f.write_str(")"),
        Some(table) => write!(f, "{table})"),
    }
}

impl Display for Instruction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Instruction::GotoTable(table) => write!(f, "goto_table:{table}"),
            Instruction::WriteMetadata {
                metadata,
                mask: u64::MAX,
            } => write!(f, "write_metadata:{metadata:#x}"),
            Instruction::WriteMetadata { metadata, mask } => {
                write!(f, "write_metadata:{metadata:#x}/{mask:#x}")
            }
            Instruction::WriteActions(actions) => write!(f, "write_actions({})", Actions(actions)),
            Instruction::ApplyActions(actions) => list(f, actions),
            Instruction::ClearActions => f.write_str("clear_actions"),
            Instruction::Meter(id) => write!(f, "meter:{id}"),
            Instruction::Experimenter { experimenter, body } => {
                write!(f, "experimenter(0x{experimenter:08x},")?;
                hex(f, body)?;
                f.write_str(")")
            }
            Instruction::Unknown { kind, body } => {
                write!(f, "instruction{kind}(")?;
                hex(f, body)?;
                f.write_str(")")
            }
        }
    }
}

impl Display for RuleKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "table={}, priority={}", self.table, self.priority)?;
        match self.match_.fields.is_empty() {
            true => Ok(()),
            false => write!(f, ",{}", self.match_),
        }
    }
}

impl Display for RuleBody {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "cookie={:#x}, ", self.cookie)?;
        for (name, timeout) in [
            ("idle_timeout", self.idle_timeout),
            ("hard_timeout", self.hard_timeout),
        ] {
            if timeout != 0 {
                write!(f, "{name}={timeout}, ")?;
            }
        }
        write!(f, "actions={}", Instructions(&self.instructions))
    }
}

impl Display for FlowStats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let millis = self.duration_nsec / 1_000_000;
        write!(
            f,
            "cookie={:#x}, duration={}.{millis:03}s, table={}, n_packets={}, n_bytes={}, ",
            self.cookie, self.duration_sec, self.table_id, self.packet_count, self.byte_count,
        )?;
        for (name, timeout) in [
            ("idle_timeout", self.idle_timeout),
            ("hard_timeout", self.hard_timeout),
        ] {
            if timeout != 0 {
                write!(f, "{name}={timeout}, ")?;
            }
        }
        write!(f, "priority={}", self.priority)?;
        if !self.match_.fields.is_empty() {
            write!(f, ",{}", self.match_)?;
        }
        write!(f, " actions={}", Instructions(&self.instructions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MacAddr, Vlan};

    #[test]
    fn matches_are_written_as_ovs_ofctl_does() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let group = MacAddr([1, 0, 0, 0, 0, 0]);
        let (net, mask) = ([10, 0, 0, 0].into(), [255, 0, 0, 0].into());
        for (match_, text) in [
            (Match::new(), "any"),
            (Match::new().in_port(3), "in_port=3"),
            (Match::new().in_port(port::LOCAL), "in_port=LOCAL"),
            (
                Match::new().eth_type(0x88cc).eth_dst(mac),
                "dl_dst=02:00:00:00:00:01,dl_type=0x88cc",
            ),
            (
                Match::new().eth_dst_masked(group, group),
                "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00",
            ),
            (
                Match::new().in_port(1).eth_type(0x806).arp_tpa(net),
                "arp,in_port=1,arp_tpa=10.0.0.0",
            ),
            (
                Match::new().eth_type(0x800).ip_proto(6).tcp_dst(80),
                "tcp,tp_dst=80",
            ),
            (
                Match::new().eth_type(0x800).ipv4_dst_masked(net, mask),
                "ip,nw_dst=10.0.0.0/8",
            ),
            (
                Match::new().eth_type(0x86dd).ip_proto(58).icmpv6_type(135),
                "icmp6,icmp_type=135",
            ),
            (
                Match::new().vlan_vid(7).vlan_pcp(3),
                "dl_vlan=7,dl_vlan_pcp=3",
            ),
            (
                Match::new().with(Oxm::masked(OxmField::TCP_DST, &[0x1f, 0x90], &[0xff, 0xf0])),
                "tp_dst=0x1f90/0xfff0",
            ),
            (Match::new().vlan_any(), "vlan_tci=0x1000/0x1000"),
            (Match::new().vlan_none(), "vlan_tci=0x0000/0x1fff"),
            (Match::new().vlan(Vlan::NONE), "vlan_tci=0x0000/0x0fff"),
            (Match::new().metadata_masked(1, 0xff), "metadata=0x1/0xff"),
            (
                Match::new().with(Oxm::masked(OxmField(1, 105), &[1, 2], &[0xff, 0])),
                "oxm_0001_105=0x0102/0xff00",
            ),
            (
                Match::new().with(Oxm::exact(OxmField::reg(5), &[0, 0, 1, 2])),
                "reg5=0x102",
            ),
        ] {
            assert_eq!(match_.to_string(), text);
        }
    }

    #[test]
    fn instructions_are_written_as_ovs_ofctl_does() {
        let mac = Oxm::exact(OxmField::ETH_DST, &[2, 0, 0, 0, 0, 1]);
        for (instructions, text) in [
            (vec![], "drop"),
            (vec![Instruction::ApplyActions(vec![])], "drop"),
            (
                vec![
                    Instruction::ApplyActions(vec![
                        Action::SetField(mac),
                        Action::output(2),
                        Action::output(port::FLOOD),
                        Action::to_controller(),
                    ]),
                    Instruction::GotoTable(9),
                ],
                "set_field:02:00:00:00:00:01->eth_dst,output:2,FLOOD,CONTROLLER:65535,goto_table:9",
            ),
            (
                vec![
                    Instruction::WriteActions(vec![Action::Group(4)]),
                    Instruction::WriteMetadata {
                        metadata: 1,
                        mask: 3,
                    },
                ],
                "write_actions(group:4),write_metadata:0x1/0x3",
            ),
            (
                vec![Instruction::ApplyActions(vec![
                    Action::Resubmit(Resubmit {
                        in_port: nicira::IN_PORT,
                        table: Some(20),
                    }),
                    Action::Resubmit(Resubmit {
                        in_port: 3,
                        table: Some(nicira::TABLE_PRESENT),
                    }),
                    Action::Resubmit(Resubmit {
                        in_port: 3,
                        table: None,
                    }),
                ])],
                "resubmit(,20),resubmit(3,),resubmit:3",
            ),
        ] {
            assert_eq!(Instructions(&instructions).to_string(), text);
        }
    }
}
