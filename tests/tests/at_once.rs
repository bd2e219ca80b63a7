//! The same said twice, and two things said at once, each by a process of its own: one of them counts, the other is told so,
//! and the network notices nothing.

use anyhow::{Context, Result, ensure};
use morph_tests::{LedgerLab, Load, Strictness, wait_until};
use std::process::Child;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);
const ROUNDS: usize = 4;
/// Exit codes of morphctl.
const DONE: i32 = 0;
const REFUSED: i32 = 1;
const ROLLED_BACK: i32 = 4;

/// What a process of morphctl came to: its exit code, and what it said.
type Said = (i32, String);

/// Starts all of them before it waits for any.
fn at_once(ledger: &LedgerLab, commands: &[&[&str]]) -> Result<Vec<Said>> {
    let morpheus = ledger.lab().morpheus()?;
    let started = commands.iter().map(|command| morpheus.ask_beside(command));
    let started = started.collect::<Result<Vec<Child>>>()?;
    let ended = started.into_iter().map(|child| {
        let output = child.wait_with_output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok((output.status.code().context("a signal")?, said))
    });
    ended.collect()
}

/// Begins an upgrade and waits for its probation.
fn begin(ledger: &LedgerLab, to: &str) -> Result<()> {
    let release = format!("app=ledger@{to}");
    let upgrade = ["upgrade", &release, "--probation", "60s", "--no-wait"];
    ledger.lab().morpheus()?.do_(&upgrade)?;
    in_probation(ledger)
}

fn in_probation(ledger: &LedgerLab) -> Result<()> {
    wait_until("the probation", SOON, || {
        let status = ledger.lab().status("ledger")?;
        Ok((status["step"] == "UPGRADED").then_some(()))
    })
}

/// How the last upgrade ended, once it has, and how many have.
fn ended(ledger: &LedgerLab) -> Result<(String, usize)> {
    let past = wait_until("the upgrade ends", SOON, || {
        let past = ledger.lab().morpheus()?.do_(&["upgrades", "app=ledger"])?;
        let running = ledger.lab().morpheus()?.app("ledger")?["status"] == "upgrading";
        Ok((!running).then_some(past))
    })?;
    let past = past["upgrades"].as_array().context("upgrades")?;
    let last = past.last().context("no upgrade has ended")?;
    let step = last["step"].as_str().context("step")?.to_owned();
    Ok((step, past.len()))
}

fn codes(said: &[Said]) -> Vec<i32> {
    said.iter().map(|(code, _)| *code).collect()
}

#[test]
fn the_same_twice_or_two_things_at_once_end_in_one_way() -> Result<()> {
    let ledger = LedgerLab::new(2)?;
    ledger
        .switches()
        .load(LedgerLab::PORT, Load::Window(100, 8));
    let mut ends = 0;
    for round in 0..ROUNDS {
        two_upgrades(&ledger).with_context(|| format!("upgrades, round {round}"))?;
        two_rollbacks(&ledger, ends + 1).with_context(|| format!("rollbacks, round {round}"))?;
        commit_and_rollback(&ledger, round, ends + 2).with_context(|| format!("round {round}"))?;
        ends += 2;
    }
    two_commits(&ledger, ends + 1)?;
    ledger.settle(Strictness::Once)?;
    ledger.finish()
}

/// The release that runs, and the other one.
fn releases(ledger: &LedgerLab) -> Result<(&'static str, &'static str)> {
    let app = ledger.lab().morpheus()?.app("ledger")?;
    let other = LedgerLab::other_release(app["release"].as_str().context("release")?);
    Ok((LedgerLab::other_release(other), other))
}

/// One begins; the other changes nothing, and says what is in its way.
fn two_upgrades(ledger: &LedgerLab) -> Result<()> {
    let (_, to) = releases(ledger)?;
    let release = format!("app=ledger@{to}");
    let upgrade: &[&str] = &["upgrade", &release, "--probation", "60s", "--no-wait"];
    let mut said = at_once(ledger, &[upgrade, upgrade])?;
    said.sort();
    ensure!(codes(&said) == [DONE, REFUSED], "{said:?}");
    ensure!(said[1].1.contains("is being upgraded"), "{said:?}");
    in_probation(ledger)
}

/// Both are told the same end, or the later one that there is nothing to take back.
fn two_rollbacks(ledger: &LedgerLab, ends: usize) -> Result<()> {
    let (new, old) = releases(ledger)?;
    let rollback: &[&str] = &["rollback", "app=ledger"];
    let mut said = at_once(ledger, &[rollback, rollback])?;
    said.sort();
    ensure!(said[0].0 == DONE, "{said:?}");
    let late = said[1].1.contains("no upgrade of ledger is in progress");
    ensure!(
        said[1].0 == DONE || said[1].0 == REFUSED && late,
        "{said:?}"
    );
    ensure!(
        ended(ledger)? == ("ROLLED_BACK".to_owned(), ends),
        "{:?}",
        ended(ledger)?
    );
    ensure!(releases(ledger)? == (old, new), "{new} is still there");
    ledger.wait_alone(old)
}

/// Whichever counts, both are told of it.
fn commit_and_rollback(ledger: &LedgerLab, round: usize, ends: usize) -> Result<()> {
    let (old, new) = releases(ledger)?;
    begin(ledger, new)?;
    let (commit, rollback): (&[&str], &[&str]) =
        (&["commit", "app=ledger"], &["rollback", "app=ledger"]);
    let commit_first = round.is_multiple_of(2);
    let said = match commit_first {
        true => at_once(ledger, &[commit, rollback])?,
        false => at_once(ledger, &[rollback, commit])?,
    };
    let (committed, back) = match commit_first {
        true => (&said[0], &said[1]),
        false => (&said[1], &said[0]),
    };
    let (step, count) = ended(ledger)?;
    ensure!(count == ends, "{count} upgrades have ended, not {ends}");
    let (agree, stays) = match step.as_str() {
        "COMMITTED" => ((committed.0, back.0) == (DONE, REFUSED), new),
        "ROLLED_BACK" => (
            back.0 == DONE && [REFUSED, ROLLED_BACK].contains(&committed.0),
            old,
        ),
        _ => (false, old),
    };
    ensure!(
        agree,
        "{step}: commit said {committed:?}, rollback {back:?}"
    );
    ensure!(
        releases(ledger)?.0 == stays,
        "{step}, and {stays} does not run"
    );
    ledger.wait_alone(stays)
}

fn two_commits(ledger: &LedgerLab, ends: usize) -> Result<()> {
    let (_, new) = releases(ledger)?;
    begin(ledger, new)?;
    let commit: &[&str] = &["commit", "app=ledger"];
    let mut said = at_once(ledger, &[commit, commit])?;
    said.sort();
    ensure!(said[0].0 == DONE, "{said:?}");
    ensure!([DONE, REFUSED].contains(&said[1].0), "{said:?}");
    ensure!(
        ended(ledger)? == ("COMMITTED".to_owned(), ends),
        "{:?}",
        ended(ledger)?
    );
    ledger.wait_alone(new)
}
