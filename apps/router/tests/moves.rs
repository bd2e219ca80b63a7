//! Paths that move: where frames go while the rules change one by one.

#![allow(clippy::unwrap_used, clippy::panic)]

mod net;

use std::collections::BTreeMap;

use morph_sdk::{Dpid, FlowMod, FlowModCommand, Rows, RuleBody, RuleKey, RuleSet};
use net::{Fate, Net, WEIGHTS, any_net, any_weights};
use proptest::prelude::*;
use router::V2;

/// Rules of all switches, as flow-mods change them.
#[derive(Clone)]
struct Installed(BTreeMap<Dpid, RuleSet>);

impl Installed {
    fn change(&mut self, dpid: Dpid, flow: &FlowMod) {
        let key = RuleKey::new(flow.table_id, flow.priority, &flow.match_);
        let rules = self.0.entry(dpid).or_default();
        let body = RuleBody {
            instructions: flow.instructions.clone().into(),
            ..RuleBody::default()
        };
        match flow.command {
            FlowModCommand::Add => rules.insert(key, body),
            _ => rules.remove(&key),
        };
    }

    /// Two hosts of which one reached the other before, and does not now.
    fn lose(&self, net: &Net, before: &Installed) -> Option<String> {
        let hosts = || net.hosts.iter();
        let pairs = hosts().flat_map(|from| hosts().map(move |to| (from, to)));
        for ((_, from), (to, at)) in pairs {
            let arrives = |rules: &Installed| net.walk(&rules.0, *from, *to) == Fate::Left(*at);
            if from != at && arrives(before) && !arrives(self) {
                let fate = net.walk(&self.0, *from, *to);
                return Some(format!("from {from:?} to {to}: {fate:?}"));
            }
        }
        None
    }
}

proptest! {
    /// The order in which rules change is that of their ranks.
    #[test]
    fn a_path_moves_rule_by_rule_without_loss(
        net in any_net(), weights in any_weights(),
    ) {
        let mut bench = net.bench::<V2>(&Rows::new());
        let before = Installed(bench.rules().clone());
        let mut now = before.clone();
        for (end, weight) in weights {
            let key = format!("{}/{}", end.dpid, end.port);
            let outcome = bench.row(&WEIGHTS, &key, &weight);
            for (dpid, flow) in &outcome.flow_mods {
                now.change(*dpid, flow);
                prop_assert_eq!(now.lose(&net, &before), None);
            }
        }
    }
}
