//! Random ways through what is too large to be explored: one fault in some twenty steps, until it ends.

use std::fmt;

use crate::setup::Setup;
use crate::world::{Action, World};

/// No way is so long, unless it has no end.
const STEPS: usize = 5000;
/// A fault in so many steps.
const SELDOM: u64 = 12;

/// Result of random ways.
#[derive(Debug)]
pub struct Walked {
    pub setup: Setup,
    pub ways: u64,
    /// Steps of all ways.
    pub steps: usize,
    /// Ways on which an app was told that packets are lost.
    pub drops: u64,
    /// Sentence about the first failure, and the actions that lead there.
    pub found: Option<(String, Vec<Action>)>,
}

impl fmt::Display for Walked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Walked {
            setup,
            ways,
            steps,
            drops,
            found,
        } = self;
        write!(f, "{ways} random ways of {steps} steps through {setup}")?;
        if *drops > 0 {
            write!(f, "; packets are told as lost on {drops} of them")?;
        }
        let Some((what, actions)) = found else {
            return Ok(());
        };
        for (at, action) in actions.iter().enumerate() {
            write!(f, "\n{:4}. {action:?}", at + 1)?;
        }
        write!(f, "\n      {what}")
    }
}

/// Goes so many ways, the same ones each time.
pub fn walk(setup: Setup, ways: u64) -> Walked {
    let first = World::new(&setup);
    let mut walked = Walked {
        setup,
        ways: 0,
        steps: 0,
        drops: 0,
        found: None,
    };
    while walked.ways < ways && walked.found.is_none() {
        walked.ways += 1;
        let mut actions = Vec::new();
        let mut world = first.clone();
        let wrong = one(&mut world, &setup, walked.ways, &mut actions);
        walked.drops += u64::from(world.tells_losses());
        walked.steps += actions.len();
        walked.found = wrong.map(|what| (what, actions));
    }
    walked
}

/// Goes one way; returns a failure.
fn one(world: &mut World, setup: &Setup, seed: u64, actions: &mut Vec<Action>) -> Option<String> {
    // Xorshift, by Marsaglia.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below.max(1)
    };
    while actions.len() < STEPS {
        if world.is_done(setup) {
            return None;
        }
        let (steps, faults) = (world.steps(setup), world.faults(setup));
        let from = match !faults.is_empty() && (steps.is_empty() || random(SELDOM) == 0) {
            true => faults,
            false => steps,
        };
        let Some(action) = from.get(random(from.len() as u64) as usize).copied() else {
            return Some("nothing can happen any longer".into());
        };
        actions.push(action);
        world.advance(action, setup);
        if let Some(breach) = &world.breach {
            return Some(format!("{breach:?}"));
        }
    }
    Some("it has no end".into())
}
