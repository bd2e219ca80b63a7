//! Router 1.0.0 that states the rules of the tree only: the end-to-end tests upgrade to it to see it stopped before the hand-over.

mod defect;

use std::process::ExitCode;

use defect::Defect;
use morph_sdk::{App, Rules, View};
use router::rules::Group;
use router::{Router, V1};

struct Drops;

impl Defect for Drops {
    fn rules(router: &Router<V1>, group: &Group, view: &View<'_>, rules: &mut Rules) {
        if *group == Group::Tree {
            router.rules(group, view, rules);
        }
    }
}

fn main() -> ExitCode {
    defect::run::<Drops>()
}
