//! Consistency of a rule's instructions with its match (`OFPBAC_MATCH_INCONSISTENT` and its neighbours): an action needs
//! packets that have the header it works on, by the match or by an action before it.
//!
//! A violation here is one that every switch refuses. What only some switches lack is theirs to say.

use super::action::Action;
use super::instruction::Instruction;
use super::match_::Match;
use super::oxm::{Oxm, OxmField};
use super::validation::{self, IPV4, IPV6, MPLS, MatchProblem, PBB};
use super::{VLAN_PRESENT, group, meter, port};

const VLAN_TAGS: [u16; 2] = [0x8100, 0x88a8];
const IP: &[u32] = &[IPV4, IPV6];
/// Headers with a TTL.
const WITH_TTL: &[u32] = &[IPV4, IPV6, 0x8847, 0x8848];

/// Reason why a rule is wrong whatever the switch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleProblem {
    /// Match that is not valid.
    #[error("its match is wrong: {0}")]
    Match(#[from] MatchProblem),
    /// Action that cannot be carried out.
    #[error("its action {action} is wrong: {problem}")]
    Action {
        /// Action as text.
        action: String,
        /// Reason for which no switch takes the action.
        problem: ActionProblem,
    },
    /// Instruction that occurs twice.
    #[error("it has two instructions of one kind: {0}")]
    Twice(String),
    /// Write-metadata that changes no bit.
    #[error("its write-metadata has an empty mask and writes nothing")]
    EmptyMetadata,
    /// Number that no meter can have.
    #[error("no meter can have the number {0}")]
    Meter(u32),
}

/// Reason why an action is wrong whatever the switch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionProblem {
    /// Field that set-field does not set.
    #[error("{0} cannot be set")]
    NotSettable(OxmField),
    /// Field to be set in part.
    #[error("set-field sets whole fields, without a mask")]
    Masked,
    /// Value that the field cannot have, or a header that packets of the match need not have.
    #[error(transparent)]
    Field(#[from] MatchProblem),
    /// Header that packets of the match need not have.
    #[error("the match does not say that packets have {0}, and no action before it adds that")]
    Header(&'static str),
    /// Ethertype that does not begin such a header.
    #[error("0x{found:04x} is not the Ethertype of {header}")]
    Ethertype {
        /// Header that is pushed.
        header: &'static str,
        /// Ethertype in the action.
        found: u16,
    },
    /// Port that packets of a rule cannot be sent to.
    #[error("a rule cannot send packets to port {0:#x}")]
    Port(u32),
    /// Number that no group can have.
    #[error("no group can have the number {0:#x}")]
    Group(u32),
}

/// Checks match and instructions of a rule; returns the first violation.
pub fn check_rule(match_: &Match, instructions: &[Instruction]) -> Result<(), RuleProblem> {
    match_.check()?;
    for (at, instruction) in instructions.iter().enumerate() {
        let is_same = |other: &Instruction| {
            std::mem::discriminant(other) == std::mem::discriminant(instruction)
        };
        if instructions[..at].iter().any(is_same) {
            return Err(RuleProblem::Twice(instruction.to_string()));
        }
        match instruction {
            Instruction::ApplyActions(actions) => Packet::matched_by(match_).apply(actions)?,
            // Packets may have changed when the action set is executed.
            Instruction::WriteActions(actions) => check_each(actions)?,
            Instruction::WriteMetadata { mask: 0, .. } => return Err(RuleProblem::EmptyMetadata),
            Instruction::Meter(id) if *id == 0 || *id > meter::MAX => {
                return Err(RuleProblem::Meter(*id));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks the actions of a group's bucket, by themselves: any rule may send packets there.
pub fn check_bucket(actions: &[Action]) -> Result<(), RuleProblem> {
    check_each(actions)
}

fn check_each(actions: &[Action]) -> Result<(), RuleProblem> {
    let mut checked = actions.iter().map(|action| (action, check_alone(action)));
    let found = checked.find_map(|(action, checked)| Some((action, checked.err()?)));
    found.map_or(Ok(()), |(action, problem)| Err(wrong(action, problem)))
}

fn wrong(action: &Action, problem: ActionProblem) -> RuleProblem {
    let action = action.to_string();
    RuleProblem::Action { action, problem }
}

/// Checks an action without the packets that it is for.
fn check_alone(action: &Action) -> Result<(), ActionProblem> {
    let pushes = |header, found: u16, allowed: &[u16]| match allowed.contains(&found) {
        true => Ok(()),
        false => Err(ActionProblem::Ethertype { header, found }),
    };
    match action {
        Action::Output { port, .. } if matches!(*port, 0 | port::ANY | port::TABLE) => {
            Err(ActionProblem::Port(*port))
        }
        Action::Group(id) if *id > group::MAX => Err(ActionProblem::Group(*id)),
        Action::PushVlan(ethertype) => pushes("a VLAN tag", *ethertype, &VLAN_TAGS),
        Action::PushMpls(ethertype) => pushes("an MPLS label", *ethertype, &[0x8847, 0x8848]),
        Action::PushPbb(ethertype) => pushes("a PBB service tag", *ethertype, &[PBB as u16]),
        Action::SetField(oxm) => {
            use OxmField as F;
            let never = [F::IN_PORT, F::IN_PHY_PORT, F::METADATA, F::IPV6_EXTHDR];
            if never.contains(&oxm.field) {
                return Err(ActionProblem::NotSettable(oxm.field));
            }
            if oxm.mask.is_some() {
                return Err(ActionProblem::Masked);
            }
            if oxm.field == F::VLAN_VID && !is_tag(oxm) {
                return Err(ActionProblem::Field(MatchProblem::Value(oxm.field)));
            }
            Ok(oxm.check()?)
        }
        _ => Ok(()),
    }
}

fn is_tag(vid: &Oxm) -> bool {
    let first = vid.value.first().copied().unwrap_or_default();
    first & (VLAN_PRESENT >> 8) as u8 != 0
}

/// Headers that packets have for certain, after some actions.
struct Packet(Match);

impl Packet {
    fn matched_by(match_: &Match) -> Packet {
        Packet(match_.clone())
    }

    fn apply(&mut self, actions: &[Action]) -> Result<(), RuleProblem> {
        for action in actions {
            let checked = check_alone(action).and_then(|()| self.suits(action));
            checked.map_err(|problem| wrong(action, problem))?;
            self.act(action);
        }
        Ok(())
    }

    /// Checks that packets have the header that an action works on.
    fn suits(&self, action: &Action) -> Result<(), ActionProblem> {
        let (vlan, ethertype) = (OxmField::VLAN_VID, OxmField::ETH_TYPE);
        match action {
            Action::SetField(oxm) if oxm.field == vlan => self.needs(vlan, &[], "a VLAN tag"),
            Action::SetField(oxm) => {
                Ok(validation::check_prerequisites(oxm.field, &self.0.fields)?)
            }
            Action::PopVlan => self.needs(vlan, &[], "a VLAN tag"),
            Action::SetNwTtl(_) | Action::DecNwTtl => self.needs(ethertype, IP, "an IP header"),
            Action::SetMplsTtl(_) | Action::DecMplsTtl | Action::PopMpls(_) => {
                self.needs(ethertype, MPLS, "an MPLS label")
            }
            Action::CopyTtlIn | Action::CopyTtlOut => {
                self.needs(ethertype, WITH_TTL, "a header with a TTL")
            }
            Action::PopPbb => self.needs(ethertype, &[PBB], "a PBB service tag"),
            _ => Ok(()),
        }
    }

    /// Carries out an action.
    fn act(&mut self, action: &Action) {
        match action {
            Action::SetField(oxm) => self.set(oxm.clone()),
            Action::PushVlan(_) => {
                let present = VLAN_PRESENT.to_be_bytes();
                self.set(Oxm::masked(OxmField::VLAN_VID, &present, &present));
            }
            Action::PopVlan => self.forget(|field| !is_of_tag(field)),
            Action::PushMpls(ethertype)
            | Action::PopMpls(ethertype)
            | Action::PushPbb(ethertype) => {
                self.forget(|field| field < OxmField::ETH_TYPE || is_of_tag(field));
                self.set(Oxm::eth_type(*ethertype));
            }
            Action::PopPbb => self.forget(|field| field < OxmField::ETH_TYPE),
            _ => {}
        }
    }

    /// Checks that packets have a field, with one of these values if there are any.
    fn needs(
        &self,
        field: OxmField,
        values: &[u32],
        header: &'static str,
    ) -> Result<(), ActionProblem> {
        match validation::holds(&self.0.fields, field, values) {
            true => Ok(()),
            false => Err(ActionProblem::Header(header)),
        }
    }

    fn set(&mut self, oxm: Oxm) {
        self.0 = std::mem::take(&mut self.0).with(oxm);
    }

    fn forget(&mut self, keeps: impl Fn(OxmField) -> bool) {
        self.0.fields.retain(|oxm| keeps(oxm.field));
    }
}

fn is_of_tag(field: OxmField) -> bool {
    matches!(field, OxmField::VLAN_VID | OxmField::VLAN_PCP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> Match {
        Match::new().eth_type(0x800).ip_proto(6)
    }

    fn apply(match_: &Match, actions: &[Action]) -> Result<(), String> {
        let apply = [Instruction::ApplyActions(actions.to_vec())];
        check_rule(match_, &apply).map_err(|problem| problem.to_string())
    }

    #[test]
    fn actions_on_headers_that_packets_have_pass() {
        use Action as A;
        let ip = Match::new().eth_type(0x800);
        let mpls = Match::new().eth_type(0x8847);
        let any = Match::new();
        let set = |field| A::set_field(field);
        for (match_, actions) in [
            (
                &any,
                vec![set(Oxm::eth_dst(Default::default())), A::output(1)],
            ),
            (
                &any,
                vec![
                    A::PushVlan(0x8100),
                    set(Oxm::vlan_vid(7)),
                    set(Oxm::vlan_pcp(3)),
                ],
            ),
            (&any, vec![A::PushVlan(0x8100), A::PopVlan]),
            (
                &ip,
                vec![A::DecNwTtl, set(Oxm::ipv4_dst([10, 0, 0, 1].into()))],
            ),
            (
                &tcp(),
                vec![
                    set(Oxm::tcp_dst(80)),
                    set(Oxm::ipv4_src([10, 0, 0, 1].into())),
                ],
            ),
            (
                &ip,
                vec![A::PushMpls(0x8847), set(Oxm::mpls_label(7)), A::CopyTtlOut],
            ),
            (&mpls, vec![A::CopyTtlIn, A::PopMpls(0x800), A::DecNwTtl]),
            (
                &any,
                vec![A::PushPbb(0x88e7), set(Oxm::pbb_isid(5)), A::PopPbb],
            ),
            (
                &any,
                vec![set(Oxm::tunnel_id(9)), A::SetQueue(1), A::Group(3)],
            ),
        ] {
            assert_eq!(apply(match_, &actions), Ok(()), "{match_} {actions:?}");
        }
    }

    #[test]
    fn actions_on_headers_that_packets_need_not_have_are_named() {
        use Action as A;
        let any = Match::new();
        let set = |field| A::set_field(field);
        for (match_, actions, expected) in [
            (
                &any,
                vec![set(Oxm::ipv4_dst([10, 0, 0, 1].into()))],
                "ipv4_dst requires eth_type",
            ),
            (
                &tcp(),
                vec![set(Oxm::udp_dst(80))],
                "udp_dst requires ip_proto",
            ),
            (&any, vec![set(Oxm::vlan_vid(7))], "packets have a VLAN tag"),
            (
                &any,
                vec![A::PopVlan],
                "pop_vlan is wrong: the match does not say",
            ),
            (&any, vec![A::DecNwTtl], "an IP header"),
            (&tcp(), vec![A::DecMplsTtl], "an MPLS label"),
            (&tcp(), vec![A::PopMpls(0x800)], "an MPLS label"),
            (
                &tcp(),
                vec![A::PushMpls(0x8847), A::DecNwTtl],
                "an IP header",
            ),
            (&any, vec![A::PopPbb], "a PBB service tag"),
            (&any, vec![A::CopyTtlIn], "a header with a TTL"),
            (
                &any,
                vec![A::PushVlan(0x800)],
                "0x0800 is not the Ethertype of a VLAN tag",
            ),
            (&any, vec![A::PushMpls(0x800)], "of an MPLS label"),
            (&any, vec![A::output(0)], "port 0x0"),
            (&any, vec![A::output(port::TABLE)], "port 0xfffffff9"),
            (&any, vec![A::Group(group::ALL)], "no group"),
            (&any, vec![set(Oxm::in_port(1))], "in_port cannot be set"),
            (&any, vec![set(Oxm::metadata(1))], "metadata cannot be set"),
            (
                &any,
                vec![set(Oxm::masked(
                    OxmField::ETH_DST,
                    &[2; 6],
                    &[0xff, 0, 0, 0, 0, 0],
                ))],
                "without a mask",
            ),
            (&tcp(), vec![set(Oxm::ip_dscp(64))], "too large"),
            (
                &any,
                vec![
                    A::PushVlan(0x8100),
                    set(Oxm::exact(OxmField::VLAN_VID, &[0, 7])),
                ],
                "vlan_vid is too large",
            ),
        ] {
            let problem = apply(match_, &actions).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn instructions_that_cannot_be_right_are_named() {
        let any = Match::new();
        let wrong = |instructions: &[Instruction]| check_rule(&any, instructions).unwrap_err();
        let (metadata, mask) = (1, 0);
        let empty = Instruction::WriteMetadata { metadata, mask };
        assert_eq!(wrong(&[empty]), RuleProblem::EmptyMetadata);
        assert_eq!(wrong(&[Instruction::Meter(0)]), RuleProblem::Meter(0));
        let twice = [Instruction::GotoTable(3), Instruction::GotoTable(4)];
        assert!(matches!(wrong(&twice), RuleProblem::Twice(_)));
        let set = |field| Instruction::WriteActions(vec![Action::set_field(field)]);
        // The action set is executed later.
        assert_eq!(check_rule(&any, &[set(Oxm::tcp_dst(80))]), Ok(()));
        assert!(check_rule(&any, &[set(Oxm::in_port(1))]).is_err());
        let bad_match = Match::new().tcp_dst(80);
        let problem = check_rule(&bad_match, &[]).unwrap_err().to_string();
        assert!(
            problem.contains("its match is wrong: match field tcp_dst"),
            "{problem}"
        );
    }
}
