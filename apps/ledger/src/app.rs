//! The ledger app. The steps stand at the top of the crate.

use morph_sdk::{
    Action, Alarm, App, AppError, Bytes, Changes, Dpid, Event, Match, PacketIn, RuleInput, Rules,
    Turn, View, port,
};

use crate::books::{Books, COPIES, COUNTS, FLOWS, LOSSES};
use crate::frame::number;

/// Port whose packets the ledger takes.
pub const PORT: u32 = 1;
/// Port whose packets a second app of the same kind takes, which runs beside the ledger.
pub const OTHER_PORT: u32 = 2;
/// First port of the packets that the rules of `flows` match.
pub const FLOW_PORTS: u32 = 1000;
/// Most rules of `flows` on a switch.
pub const MOST_FLOWS: u32 = 100_000;
/// Alarm of a switch for which more rules are asked for.
const TOO_MANY_FLOWS: &str = "too-many-flows";

/// The ledger app, with its books stored as `B` does, for the packets of one port.
#[derive(Debug)]
pub struct Ledger<B> {
    port: u32,
    books: B,
}

impl<B: Books> Ledger<B> {
    pub fn new(port: u32, books: B) -> Self {
        Ledger { port, books }
    }

    fn packet_in(&self, packet: &PacketIn, turn: &mut Turn<'_>) {
        let Some(number) = number(&packet.data) else {
            return;
        };
        self.books.write(packet.dpid, number, turn);
        let back = vec![Action::output(port::IN_PORT)];
        let (copies, bytes) = turn.get(&COPIES, &packet.dpid).unwrap_or_default();
        turn.forward(packet, packet.dpid, packet.in_port, back.clone());
        let copy = Bytes::from(vec![0; bytes as usize]);
        for _ in 0..copies {
            turn.packet_out(packet.dpid, packet.in_port, back.clone(), copy.clone());
        }
    }

    fn lost(&self, dpid: Dpid, count: u64, turn: &mut Turn<'_>) {
        count_event(dpid, "lost", count, turn);
        let key = (dpid, self.books.last(dpid, turn));
        let before = turn.get(&LOSSES, &key).unwrap_or(0);
        turn.put(&LOSSES, &key, &(before + count));
    }
}

impl<B: Books> App for Ledger<B> {
    type Group = Dpid;

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        match event {
            Event::PacketIn(packet) => self.packet_in(packet, turn),
            Event::SwitchUp(switch) => count_event(switch.dpid, "up", 1, turn),
            Event::SwitchDown(dpid) => count_event(*dpid, "down", 1, turn),
            Event::Lost { dpid, count } => self.lost(*dpid, *count, turn),
            Event::Resync { dpid } => count_event(dpid.unwrap_or(Dpid(0)), "resync", 1, turn),
            Event::SwitchForgotten(dpid) => count_event(*dpid, "forgotten", 1, turn),
            Event::FlowRemoved(_) | Event::PortStatus { .. } => {}
        }
        Ok(())
    }

    fn changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if changes.touch(&FLOWS) {
            let rows = turn.rows(&FLOWS).into_iter();
            let alarms = rows.filter(|(_, (count, _))| *count > MOST_FLOWS);
            turn.set_alarms(TOO_MANY_FLOWS, alarms.map(|(dpid, _)| too_many_flows(dpid)));
        }
        Ok(())
    }

    fn alarms() -> &'static [&'static str] {
        &[TOO_MANY_FLOWS]
    }

    fn groups(&self, input: &RuleInput<'_>, _view: &View<'_>) -> Vec<Dpid> {
        match input {
            RuleInput::Switch(dpid) => vec![*dpid],
            RuleInput::Row(_) => input.key(&FLOWS).into_iter().collect(),
        }
    }

    fn rules(&self, dpid: &Dpid, view: &View<'_>, rules: &mut Rules) {
        if view.switch(*dpid).is_none() {
            return;
        }
        let ours = Match::new().in_port(self.port);
        rules.on(*dpid).priority(1).matching(ours).punt();
        rules.on(*dpid).next();
        let (count, port) = view.get(&FLOWS, dpid).unwrap_or_default();
        for number in 0..count.min(MOST_FLOWS) {
            let matching = Match::new().in_port(FLOW_PORTS + number);
            let actions = vec![Action::output(port)];
            rules
                .on(*dpid)
                .priority(1)
                .matching(matching)
                .actions(actions);
        }
    }
}

fn too_many_flows(dpid: Dpid) -> Alarm {
    let text = format!("more than {MOST_FLOWS} rules are asked for, and only these are added");
    let mend = format!("`morphctl config set app=ledger flows.{dpid}=` ends it");
    Alarm::new(TOO_MANY_FLOWS, dpid.to_string(), text, mend).on_switch(dpid)
}

fn count_event(dpid: Dpid, what: &str, count: u64, turn: &mut Turn<'_>) {
    let key = (dpid, what.to_owned());
    let before = turn.get(&COUNTS, &key).unwrap_or(0);
    turn.put(&COUNTS, &key, &(before + count));
}
