//! Explores the model: `explore packets=2 upgrades=1 faults=1 kinds=instances,morphd lazy two most=100000 mutation=fence`;
//! with `ways=1000` so many random ways.
#![allow(clippy::print_stdout, reason = "it says what it saw")]

use morph_model::{Kinds, Mutation, Schemas, Setup, explore, walk};

fn main() {
    let (mut setup, mut most, mut ways) = (Setup::SMALL, None, None);
    for arg in std::env::args().skip(1) {
        let (name, value) = arg.split_once('=').unwrap_or((&arg, ""));
        let number = || value.parse().unwrap_or(0);
        match name {
            "packets" => setup.packets = number(),
            "upgrades" => setup.upgrades = number(),
            "faults" => setup.faults = number(),
            "lazy" => setup.lazy = true,
            "late" => setup.late = true,
            "two" => setup.two_apps = true,
            "newer" => setup.schemas = Schemas::Newer,
            "older" => setup.schemas = Schemas::Older,
            "at_once" => setup.at_once = number(),
            "slow" => setup.slow = true,
            "waits" => setup.waits = number(),
            "failing" => setup.failing = value.parse().ok(),
            "unwritten" => setup.unwritten = value.parse().ok(),
            "poison" => setup.poison = value.parse().ok(),
            "ways" => ways = value.parse().ok(),
            "most" => most = value.parse().ok(),
            "mutation" => {
                setup.mutation = match value {
                    "accept" => Some(Mutation::CommitBeforeAccept),
                    "resume" => Some(Mutation::ResumeBeforeFence),
                    "fence" => Some(Mutation::UnflushedFence),
                    "records" => Some(Mutation::RecordsOutOfOrder),
                    "adopt" => Some(Mutation::WrongEpochAdopted),
                    "skip" => Some(Mutation::SkipOneMore),
                    "drop" => Some(Mutation::DropWhileRead),
                    "epoch" => Some(Mutation::FenceRetriedWithAnotherEpoch),
                    "last" => Some(Mutation::OnlyLastAccepted),
                    "mixed" => Some(Mutation::MixedReplay),
                    "cursor" => Some(Mutation::CursorNotFlushed),
                    "dropped" => Some(Mutation::DeliveredEventDropped),
                    "old" => Some(Mutation::DeliveredEventTooOld),
                    "pause" => Some(Mutation::PauseIgnored),
                    "unknown" => Some(Mutation::UnknownTakenAsDurable),
                    "member" => Some(Mutation::CommitWithoutOne),
                    _ => None,
                }
            }
            "kinds" => {
                let has =
                    |kind: &str| value == "all" || value.split(',').any(|named| named == kind);
                setup.kinds = Kinds::named(has);
            }
            other => eprintln!("{other} is unknown"),
        }
    }
    match ways {
        Some(ways) => println!("{}", walk(setup, ways)),
        None => println!("{}", explore(setup, most)),
    }
}
