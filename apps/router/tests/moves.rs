//! Paths that move: where frames go while the rules change one by one.

#![allow(clippy::unwrap_used, clippy::panic)]

mod net;

use morph_sdk::Rows;
use net::{Fate, Installed, Net, WEIGHTS, any_net, any_weights};
use proptest::prelude::*;
use router::V2;

/// Two hosts of which one reached the other before, and does not now.
fn lose(net: &Net, before: &Installed, now: &Installed) -> Option<String> {
    let hosts = || net.hosts.iter();
    let pairs = hosts().flat_map(|from| hosts().map(move |to| (from, to)));
    for ((_, from), (to, at)) in pairs {
        let arrives = |rules: &Installed| net.walk(&rules.0, *from, *to) == Fate::Left(*at);
        if from != at && arrives(before) && !arrives(now) {
            let fate = net.walk(&now.0, *from, *to);
            return Some(format!("from {from:?} to {to}: {fate:?}"));
        }
    }
    None
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
                prop_assert_eq!(lose(&net, &before, &now), None);
            }
        }
    }
}
