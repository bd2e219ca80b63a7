//! Two processes of morphctl at once, with equal or contrary requests: one of them takes effect, the other
//! reports why it does not, and no packet is lost.

use anyhow::{Context, Result, ensure};
use morph_tests::{Delivery, LedgerLab, Load, wait_until};
use std::process::Child;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(15);
const ROUNDS: usize = 4;
/// Exit codes of morphctl.
const DONE: i32 = 0;
const REFUSED: i32 = 1;
const ROLLED_BACK: i32 = 4;

/// Exit code and output of one morphctl.
type Outcome = (i32, String);

/// Starts all commands before it waits for any.
fn run_concurrently(ledger: &LedgerLab, commands: &[&[&str]]) -> Result<Vec<Outcome>> {
    let morpheus = ledger.lab().morpheus()?;
    let children = commands
        .iter()
        .map(|command| morpheus.spawn_morphctl(command));
    let children = children.collect::<Result<Vec<Child>>>()?;
    let outcomes = children.into_iter().map(|child| {
        let output = child.wait_with_output()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok((
            output
                .status
                .code()
                .context("morphctl was killed by a signal")?,
            text,
        ))
    });
    outcomes.collect()
}

/// Starts an upgrade and waits until its probation begins.
fn start_upgrade(ledger: &LedgerLab, to: &str) -> Result<()> {
    let release = format!("app=ledger@{to}");
    let upgrade = ["upgrade", &release, "--probation", "60s", "--no-wait"];
    ledger.lab().morpheus()?.morphctl(&upgrade)?;
    wait_probation(ledger)
}

fn wait_probation(ledger: &LedgerLab) -> Result<()> {
    wait_until("the probation begins", DEADLINE, || {
        let status = ledger.lab().status("ledger")?;
        Ok((status["step"] == "UPGRADED").then_some(()))
    })
}

/// Waits until no upgrade is running; returns the last step of the last upgrade and the number of upgrades so far.
fn last_end(ledger: &LedgerLab) -> Result<(String, usize)> {
    let past = wait_until("the upgrade ends", DEADLINE, || {
        let past = ledger
            .lab()
            .morpheus()?
            .morphctl(&["upgrades", "app=ledger"])?;
        let running = ledger.lab().morpheus()?.app("ledger")?["status"] == "upgrading";
        Ok((!running).then_some(past))
    })?;
    let past = past["upgrades"].as_array().context("upgrades")?;
    let last = past.last().context("no upgrade has ended")?;
    let step = last["step"].as_str().context("step")?.to_owned();
    Ok((step, past.len()))
}

fn codes(outcomes: &[Outcome]) -> Vec<i32> {
    outcomes.iter().map(|(code, _)| *code).collect()
}

#[test]
fn concurrent_requests_end_in_one_outcome() -> Result<()> {
    let ledger = LedgerLab::new(2)?;
    ledger
        .switches()
        .load(LedgerLab::PORT, Load::Window(100, 8));
    let mut ends = 0;
    for round in 0..ROUNDS {
        two_upgrades(&ledger).with_context(|| format!("two upgrades in round {round}"))?;
        two_rollbacks(&ledger, ends + 1)
            .with_context(|| format!("two rollbacks in round {round}"))?;
        commit_and_rollback(&ledger, round, ends + 2)
            .with_context(|| format!("commit and rollback in round {round}"))?;
        ends += 2;
    }
    two_commits(&ledger, ends + 1)?;
    ledger.check_books(Delivery::ExactlyOnce)?;
    ledger.finish()
}

/// Running release of the ledger, and the other one.
fn releases(ledger: &LedgerLab) -> Result<(&'static str, &'static str)> {
    let app = ledger.lab().morpheus()?.app("ledger")?;
    let other = LedgerLab::other_release(app["release"].as_str().context("release")?);
    Ok((LedgerLab::other_release(other), other))
}

/// One upgrade starts. The other is refused with the reason.
fn two_upgrades(ledger: &LedgerLab) -> Result<()> {
    let (_, to) = releases(ledger)?;
    let release = format!("app=ledger@{to}");
    let upgrade: &[&str] = &["upgrade", &release, "--probation", "60s", "--no-wait"];
    let mut outcomes = run_concurrently(ledger, &[upgrade, upgrade])?;
    outcomes.sort();
    ensure!(codes(&outcomes) == [DONE, REFUSED], "{outcomes:?}");
    ensure!(outcomes[1].1.contains("is being upgraded"), "{outcomes:?}");
    wait_probation(ledger)
}

/// Both report the same end, or the later one reports that there is nothing to roll back.
fn two_rollbacks(ledger: &LedgerLab, ends: usize) -> Result<()> {
    let (new, old) = releases(ledger)?;
    let rollback: &[&str] = &["rollback", "app=ledger"];
    let mut outcomes = run_concurrently(ledger, &[rollback, rollback])?;
    outcomes.sort();
    ensure!(outcomes[0].0 == DONE, "{outcomes:?}");
    let late = outcomes[1]
        .1
        .contains("no upgrade of ledger is in progress");
    ensure!(
        outcomes[1].0 == DONE || outcomes[1].0 == REFUSED && late,
        "{outcomes:?}"
    );
    ensure!(
        last_end(ledger)? == ("ROLLED_BACK".to_owned(), ends),
        "{:?}",
        last_end(ledger)?
    );
    ensure!(releases(ledger)? == (old, new), "{new} still runs");
    ledger.wait_single_instance(old)
}

/// Either may win; both report its outcome.
fn commit_and_rollback(ledger: &LedgerLab, round: usize, ends: usize) -> Result<()> {
    let (old, new) = releases(ledger)?;
    start_upgrade(ledger, new)?;
    let (commit, rollback): (&[&str], &[&str]) =
        (&["commit", "app=ledger"], &["rollback", "app=ledger"]);
    let commit_first = round.is_multiple_of(2);
    let outcomes = match commit_first {
        true => run_concurrently(ledger, &[commit, rollback])?,
        false => run_concurrently(ledger, &[rollback, commit])?,
    };
    let (commit, rollback) = match commit_first {
        true => (&outcomes[0], &outcomes[1]),
        false => (&outcomes[1], &outcomes[0]),
    };
    let (step, count) = last_end(ledger)?;
    ensure!(count == ends, "{count} upgrades have ended, not {ends}");
    let (consistent, release) = match step.as_str() {
        "COMMITTED" => ((commit.0, rollback.0) == (DONE, REFUSED), new),
        "ROLLED_BACK" => (
            rollback.0 == DONE && [REFUSED, ROLLED_BACK].contains(&commit.0),
            old,
        ),
        _ => (false, old),
    };
    ensure!(
        consistent,
        "{step}, but commit returned {commit:?} and rollback {rollback:?}"
    );
    ensure!(
        releases(ledger)?.0 == release,
        "{step}, but {release} does not run"
    );
    ledger.wait_single_instance(release)
}

fn two_commits(ledger: &LedgerLab, ends: usize) -> Result<()> {
    let (_, new) = releases(ledger)?;
    start_upgrade(ledger, new)?;
    let commit: &[&str] = &["commit", "app=ledger"];
    let mut outcomes = run_concurrently(ledger, &[commit, commit])?;
    outcomes.sort();
    ensure!(outcomes[0].0 == DONE, "{outcomes:?}");
    ensure!([DONE, REFUSED].contains(&outcomes[1].0), "{outcomes:?}");
    ensure!(
        last_end(ledger)? == ("COMMITTED".to_owned(), ends),
        "{:?}",
        last_end(ledger)?
    );
    ledger.wait_single_instance(new)
}
