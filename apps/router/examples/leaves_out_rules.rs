//! Router 1.0.0 that states a rule which cannot be, for each switch: the end-to-end tests upgrade to it to see it rolled back.

mod defect;

use std::process::ExitCode;

use defect::Defect;
use morph_sdk::{App, Rules, View};
use router::rules::Group;
use router::{Router, V1};

/// No app of the tests has so many tables.
const NO_TABLE: u8 = 100;

struct LeavesOut;

impl Defect for LeavesOut {
    fn rules(router: &Router<V1>, group: &Group, view: &View<'_>, rules: &mut Rules) {
        router.rules(group, view, rules);
        if let Group::Switch(dpid) = group {
            rules.on(*dpid).table(NO_TABLE).drop_();
        }
    }
}

fn main() -> ExitCode {
    defect::run::<LeavesOut>()
}
