//! A ledger that takes its time, for tests of overload.

use std::time::Duration;

use morph_sdk::{Action, App, AppError, Dpid, Event, Match, RuleInput, Rules, Turn, View, port};

use crate::app::{Ledger, OTHER_PORT, PORT};
use crate::books::Books;
use crate::frame::number;

/// Ledger that takes a time for each packet. Packets of [`OTHER_PORT`] are answered, and not recorded.
#[derive(Debug)]
pub struct Slow<B> {
    ledger: Ledger<B>,
    time: Duration,
}

impl<B: Books> Slow<B> {
    pub fn new(books: B, time: Duration) -> Self {
        Slow {
            ledger: Ledger::new(PORT, books),
            time,
        }
    }
}

impl<B: Books> App for Slow<B> {
    type Group = Dpid;

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if let Event::PacketIn(packet) = event {
            work(self.time);
            if packet.in_port == OTHER_PORT && number(&packet.data).is_some() {
                let back = vec![Action::output(port::IN_PORT)];
                turn.forward(packet, packet.dpid, packet.in_port, back);
                return Ok(());
            }
        }
        self.ledger.event(event, turn)
    }

    fn groups(&self, input: &RuleInput<'_>, view: &View<'_>) -> Vec<Dpid> {
        self.ledger.groups(input, view)
    }

    fn rules(&self, dpid: &Dpid, view: &View<'_>, rules: &mut Rules) {
        self.ledger.rules(dpid, view, rules);
        if view.switch(*dpid).is_some() {
            let other = Match::new().in_port(OTHER_PORT);
            rules.on(*dpid).priority(1).matching(other).punt();
        }
    }
}

/// Blocks as an app does that computes, or waits for somebody.
#[allow(
    clippy::disallowed_methods,
    reason = "the passing of time is what this app is for"
)]
fn work(time: Duration) {
    std::thread::sleep(time);
}
