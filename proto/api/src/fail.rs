//! Fail points: named places where a test makes a process fail.
//!
//! ```text
//! MORPH_FAIL=name[:n][@file]=action[,name...]
//!
//! store.group.written=kill            dies there
//! store.group.written:3=error         only the third time
//! store.group.written@/tmp/now=hang   only while the file exists, and removes it: so a test chooses the moment,
//!                                     and one process fails, however many inherit the variable
//! ```
//!
//! | action | effect on the process |
//! |---|---|
//! | `kill` | SIGKILL to itself |
//! | `stop` | SIGSTOP to itself, until somebody sends SIGCONT |
//! | `panic` | panics on the current thread |
//! | `error` | the place fails as if the operation there had failed |
//! | `hang` | the current thread never continues; with [`reached`] the current task |
//!
//! Fail points are in every build, so that tests run what is shipped. One costs a load of a static and a branch: the
//! variable is read once, and if it is not set there is nothing to compare. It gives nobody new powers, since whoever sets
//! a process's environment can do the same in other ways.
//!
//! A name is `process.part.moment`. Names are documented where they are used, and in the README of that crate.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const VARIABLE: &str = "MORPH_FAIL";

/// Plan of failures, read when the first fail point is reached. `None` if nothing is to fail.
static PLAN: OnceLock<Option<Plan>> = OnceLock::new();

/// Failure of a fail point whose action is `error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the fail point {0} was told to fail")]
pub struct InjectedFailure(pub String);

/// Marks a fail point in synchronous code. It fails only if `MORPH_FAIL` names it.
#[inline]
pub fn point(name: &str) -> Result<(), InjectedFailure> {
    match PLAN.get_or_init(read) {
        None => Ok(()),
        Some(plan) => match plan.act(name)? {
            true => loop {
                std::thread::park();
            },
            false => Ok(()),
        },
    }
}

/// Marks a fail point in a task. Unlike [`point`], its action `hang` blocks only this task.
#[inline]
pub async fn reached(name: &str) -> Result<(), InjectedFailure> {
    match PLAN.get_or_init(read) {
        None => Ok(()),
        Some(plan) => match plan.act(name)? {
            true => std::future::pending().await,
            false => Ok(()),
        },
    }
}

/// Reads the plan. A malformed plan is reported and nothing fails: a typo in a test must not keep a process from
/// starting.
fn read() -> Option<Plan> {
    let text = std::env::var(VARIABLE).ok()?;
    match Plan::parse(&text) {
        Ok(plan) => Some(plan),
        Err(error) => {
            eprintln!("{error}");
            None
        }
    }
}

/// Failures in the order in which they were given.
#[derive(Debug)]
struct Plan(Vec<Place>);

#[derive(Debug)]
struct Place {
    name: String,
    /// Number of the visit that fails, from one.
    nth: u64,
    /// File that must exist for the failure, and is removed by it.
    armed_by: Option<PathBuf>,
    action: Action,
    reached: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Stop,
    Panic,
    Error,
    Hang,
}

impl Plan {
    fn parse(text: &str) -> Result<Plan, String> {
        let places = text.split(',').filter(|part| !part.trim().is_empty());
        let places: Result<Vec<Place>, String> = places.map(Place::parse).collect();
        places.map(Plan)
    }

    /// Returns the action that is due now.
    fn due(&self, name: &str) -> Option<Action> {
        let mut here = self.0.iter().filter(|place| place.name == name);
        here.find_map(Place::due)
    }

    /// Carries out the action that is due. Returns true if the caller has to hang.
    #[cold]
    #[allow(clippy::panic, reason = "it is what was asked for")]
    fn act(&self, name: &str) -> Result<bool, InjectedFailure> {
        let Some(action) = self.due(name) else {
            return Ok(false);
        };
        eprintln!("fail point {name}: {action:?}, by {VARIABLE}");
        match action {
            Action::Kill => signal(rustix::process::Signal::KILL),
            Action::Stop => signal(rustix::process::Signal::STOP),
            Action::Panic => panic!("the fail point {name} was told to panic"),
            Action::Error => return Err(InjectedFailure(name.to_owned())),
            Action::Hang => return Ok(true),
        }
        Ok(false)
    }
}

fn signal(signal: rustix::process::Signal) {
    // A process may always send a signal to itself.
    let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
}

impl Place {
    fn parse(text: &str) -> Result<Place, String> {
        let wrong = |what: &str| {
            format!(
                "{VARIABLE}: {what} in {text:?}; it is name[:n][@file]=kill|stop|panic|error|hang[,...]"
            )
        };
        let (place, action) = text.rsplit_once('=').ok_or_else(|| wrong("no action"))?;
        let action = match action.trim() {
            "kill" => Action::Kill,
            "stop" => Action::Stop,
            "panic" => Action::Panic,
            "error" => Action::Error,
            "hang" => Action::Hang,
            _ => return Err(wrong("an unknown action")),
        };
        let (place, armed_by) = match place.split_once('@') {
            Some((place, file)) => (place, Some(PathBuf::from(file))),
            None => (place, None),
        };
        let (name, nth) = match place.split_once(':') {
            Some((name, nth)) => (name, nth.parse().map_err(|_| wrong("no number after ':'"))?),
            None => (place, 1),
        };
        if name.trim().is_empty() || nth == 0 {
            return Err(wrong("no name, or the number 0"));
        }
        Ok(Place {
            name: name.trim().to_owned(),
            nth,
            armed_by,
            action,
            reached: AtomicU64::new(0),
        })
    }

    /// Removing the file claims the failure, so that only one of several processes fails.
    fn due(&self) -> Option<Action> {
        if self.armed_by.as_ref().is_some_and(|file| !file.exists()) {
            return None;
        }
        if self.reached.fetch_add(1, Ordering::Relaxed) + 1 != self.nth {
            return None;
        }
        match &self.armed_by {
            Some(file) => {
                self.reached.store(0, Ordering::Relaxed); // it may be armed again
                std::fs::remove_file(file).ok().map(|()| self.action)
            }
            None => Some(self.action),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_fails_when_it_was_told_to_and_no_other_does() {
        let plan = Plan::parse("a.b=kill, a.c:3=error").unwrap();
        assert_eq!(plan.due("a"), None);
        assert_eq!(plan.due("a.b"), Some(Action::Kill));
        assert_eq!(plan.due("a.b"), None);
        let third: Vec<_> = (0..4).map(|_| plan.due("a.c")).collect();
        assert_eq!(third, [None, None, Some(Action::Error), None]);
    }

    #[test]
    fn a_file_arms_a_place_once() {
        let file = std::env::temp_dir().join(format!("morph-fail-{}", std::process::id()));
        let spec = format!("a:2@{}=hang", file.display());
        let (one, other) = (Plan::parse(&spec).unwrap(), Plan::parse(&spec).unwrap());
        assert_eq!(one.due("a"), None);
        std::fs::write(&file, "").unwrap();
        assert_eq!([one.due("a"), other.due("a")], [None, None]);
        assert_eq!([one.due("a"), other.due("a")], [Some(Action::Hang), None]);
        assert!(!file.exists());
        std::fs::write(&file, "").unwrap();
        assert_eq!([one.due("a"), one.due("a")], [None, Some(Action::Hang)]);
    }

    #[test]
    fn a_plan_with_a_typo_says_where() {
        for text in ["a", "a=die", "=kill", "a:0=kill", "a:x=kill", "a=kill,b"] {
            let error = Plan::parse(text).unwrap_err();
            assert!(
                error.contains("MORPH_FAIL") && error.contains("name[:n]"),
                "{error}"
            );
        }
        assert!(Plan::parse("").unwrap().0.is_empty());
    }

    #[test]
    fn nothing_fails_unless_it_is_told_to() {
        assert_eq!(point("any.place"), Ok(()));
    }
}
