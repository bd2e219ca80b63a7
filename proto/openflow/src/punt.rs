//! Limit of the bytes of a packet that rules send to the controller.

use crate::v13::action::WHOLE_PACKET;
use crate::v13::{Action, Instruction, port};

/// Most bytes of a packet that the rules of a switch send to the controller.
///
/// Rules say that the whole packet is to be sent (`OFPCML_NO_BUFFER`, section 7.2.5). Some switches cannot: Open vSwitch puts a frame
/// of nearly 64 KiB into a packet-in whose length does not fit into the header. Their rules bear this limit in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PuntLimit(u16);

impl PuntLimit {
    /// No limit.
    pub const NONE: PuntLimit = PuntLimit(WHOLE_PACKET);
    /// Limit of Open vSwitch: the longest message, less 200 bytes for what stands before the packet.
    pub const OPEN_VSWITCH: PuntLimit = PuntLimit(u16::MAX - 200);

    /// Limit of so many bytes; 0 is none.
    pub fn from_bytes(bytes: u32) -> PuntLimit {
        match u16::try_from(bytes) {
            Ok(bytes @ 1..) => PuntLimit(bytes),
            Ok(0) | Err(_) => PuntLimit::NONE,
        }
    }

    /// Number of bytes; 0 if there is no limit.
    pub fn bytes(self) -> u32 {
        match self {
            PuntLimit::NONE => 0,
            PuntLimit(bytes) => bytes.into(),
        }
    }

    /// Translates instructions between Morpheus, where they send whole packets, and the switch, where they have the limit. Both ways
    /// are the same: the two numbers are exchanged, so a rule that the switch has without the limit is another one. `None`: there
    /// is nothing to translate.
    pub fn translate(self, instructions: &[Instruction]) -> Option<Vec<Instruction>> {
        if self == PuntLimit::NONE || !instructions.iter().any(punts) {
            return None;
        }
        let translated = instructions.iter().map(|instruction| match instruction {
            Instruction::ApplyActions(actions) => Instruction::ApplyActions(self.exchange(actions)),
            Instruction::WriteActions(actions) => Instruction::WriteActions(self.exchange(actions)),
            other => other.clone(),
        });
        Some(translated.collect())
    }

    fn exchange(self, actions: &[Action]) -> Vec<Action> {
        let exchanged = actions.iter().map(|action| match *action {
            Action::Output { port, max_len } if port == port::CONTROLLER => Action::Output {
                port,
                max_len: match PuntLimit(max_len) {
                    PuntLimit::NONE => self.0,
                    limit if limit == self => WHOLE_PACKET,
                    PuntLimit(other) => other,
                },
            },
            _ => action.clone(),
        });
        exchanged.collect()
    }
}

/// Whether an instruction sends packets to the controller.
fn punts(instruction: &Instruction) -> bool {
    let is_punt = |action: &Action| matches!(action, Action::Output { port, .. } if *port == port::CONTROLLER);
    match instruction {
        Instruction::ApplyActions(actions) | Instruction::WriteActions(actions) => {
            actions.iter().any(is_punt)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn punt(max_len: u16) -> Vec<Instruction> {
        let port = port::CONTROLLER;
        let actions = vec![Action::output(1), Action::Output { port, max_len }];
        vec![
            Instruction::ApplyActions(actions),
            Instruction::GotoTable(3),
        ]
    }

    #[test]
    fn whole_packets_get_the_limit_and_a_rule_without_it_is_another_one() {
        let limit = PuntLimit::OPEN_VSWITCH;
        assert_eq!(limit.translate(&punt(0xffff)), Some(punt(65335)));
        assert_eq!(limit.translate(&punt(65335)), Some(punt(0xffff)));
        assert_eq!(limit.translate(&punt(128)), Some(punt(128)));
        assert_eq!(limit.translate(&[Instruction::GotoTable(3)]), None);
        assert_eq!(PuntLimit::NONE.translate(&punt(0xffff)), None);
    }

    #[test]
    fn zero_bytes_are_no_limit() {
        for (bytes, limit) in [
            (0, PuntLimit::NONE),
            (65335, PuntLimit::OPEN_VSWITCH),
            (70_000, PuntLimit::NONE),
        ] {
            assert_eq!(PuntLimit::from_bytes(bytes), limit, "{bytes}");
        }
        assert_eq!(PuntLimit::OPEN_VSWITCH.bytes(), 65335);
        assert_eq!(PuntLimit::NONE.bytes(), 0);
    }
}
