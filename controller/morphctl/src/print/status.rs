//! Status of an upgrade in words.

use morph_api::management::{Step, UpgradeStatus};

use super::escape::printable;
use super::time::utc;

/// Name of a step in text for people.
pub(crate) fn step_word(step: i32) -> String {
    match Step::try_from(step) {
        Ok(Step::Unspecified) => "Unspecified".into(),
        Ok(Step::Staged) => "Staged".into(),
        Ok(Step::Starting) => "Starting".into(),
        Ok(Step::Ready) => "Ready".into(),
        Ok(Step::Quiescing) => "Quiescing".into(),
        Ok(Step::Resuming) => "Resuming".into(),
        Ok(Step::Upgraded) => "Upgraded".into(),
        Ok(Step::Committed) => "Committed".into(),
        Ok(Step::RollingBack) => "RollingBack".into(),
        Ok(Step::RolledBack) => "RolledBack".into(),
        Err(_) => format!("Step{step}"),
    }
}

/// Name of a step in the API; its number if this morphctl does not know the step.
pub(crate) fn step_name(step: i32) -> String {
    Step::try_from(step).map_or_else(|_| step.to_string(), |step| step.as_str_name().to_owned())
}

/// Formats a line of progress: time, seconds since the start, app, releases, step and message.
pub(crate) fn line(status: &UpgradeStatus) -> String {
    let since = format!("+{:.3} s", status.since_start_us as f64 / 1e6);
    let (time, step) = (utc(status.unix_ms), step_word(status.step));
    let UpgradeStatus {
        app,
        from,
        to,
        message,
        ..
    } = status;
    let line = format!("{time}  {since:>10}  {app} {from} -> {to}  {step:<11}  {message}");
    printable(line.trim_end()).into_owned()
}

/// Describes the end of an upgrade in a sentence.
pub(crate) fn outcome(status: &UpgradeStatus) -> String {
    let UpgradeStatus {
        app,
        from,
        to,
        by,
        message,
        ..
    } = status;
    let by = match by.as_str() {
        "" => String::new(),
        by => format!(" (by {by})"),
    };
    let message = match message.as_str() {
        "" => String::new(),
        message => format!(": {message}"),
    };
    let text = match status.step() {
        Step::Committed if status.untested => format!("{app} {to} is committed{by}{message}"),
        Step::Committed => format!("{app} {to} is committed{by}"),
        Step::RolledBack => format!("{app} was rolled back to {from}{by}{message}"),
        Step::RollingBack => format!("{app} is being rolled back to {from}{by}{message}"),
        _ => {
            let step = step_word(status.step);
            format!("{app} {from} -> {to} is at step {step}{message}")
        }
    };
    printable(&text).into_owned()
}

/// Formats the outcome and the figures of an upgrade that has ended, one for each line.
pub(crate) fn summary(status: &UpgradeStatus) -> String {
    if status.handover_us == 0 {
        return format!("{}\nhand-over:   none\n", outcome(status));
    }
    let mut text = format!(
        "{}\nhand-over:   {} ms\nevents:      {} held, {} replayed, {} handled in the probation\n\
         rules:       {} added, {} changed, {} removed, {} unchanged\n",
        outcome(status),
        milliseconds(status.handover_us),
        status.events_held,
        status.events_replayed,
        status.events_handled,
        status.rules_added,
        status.rules_changed,
        status.rules_removed,
        status.rules_unchanged,
    );
    if status.groups_lossy != 0 {
        text += &losses(status);
    }
    if status.back_handover_us != 0 {
        let back = milliseconds(status.back_handover_us);
        text += &format!("and back:    {back} ms\n");
    }
    text
}

/// Lists the groups of rows that a rollback would not restore as they were.
fn losses(status: &UpgradeStatus) -> String {
    let (lossy, checked) = (status.groups_lossy, status.groups_checked);
    let mut text = format!("rollback:    would lose data in {lossy} of {checked} groups\n");
    for loss in &status.losses {
        text += &format!("             {}\n", printable(loss));
    }
    text
}

/// Formats the rules of a hand-over in one word: added, changed, removed, unchanged.
pub(crate) fn rules(status: &UpgradeStatus) -> String {
    format!(
        "+{},~{},-{},={}",
        status.rules_added, status.rules_changed, status.rules_removed, status.rules_unchanged
    )
}

/// Formats microseconds as milliseconds with three decimals.
pub(crate) fn milliseconds(us: u64) -> String {
    format!("{}.{:03}", us / 1000, us % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolled_back() -> UpgradeStatus {
        UpgradeStatus {
            app: "router".into(),
            from: "1.0.0".into(),
            to: "2.0.0".into(),
            step: Step::RolledBack.into(),
            unix_ms: 1_700_000_000_123,
            since_start_us: 1_234_567,
            message: "it\npanicked".into(),
            by: "crash".into(),
            ..UpgradeStatus::default()
        }
    }

    #[test]
    fn a_message_with_a_line_break_stays_on_one_line() {
        assert_eq!(
            line(&rolled_back()),
            "2023-11-14T22:13:20.123Z    +1.235 s  router 1.0.0 -> 2.0.0  RolledBack   it\\npanicked"
        );
    }

    #[test]
    fn the_summary_shows_whether_there_was_a_hand_over() {
        let mut status = rolled_back();
        assert_eq!(
            summary(&status),
            "router was rolled back to 1.0.0 (by crash): it\\npanicked\nhand-over:   none\n"
        );
        status.handover_us = 4_005;
        status.events_held = 3;
        status.rules_changed = 2;
        status.back_handover_us = 1_000;
        let text = summary(&status);
        assert!(text.contains(
            "hand-over:   4.005 ms\nevents:      3 held, 0 replayed, 0 handled in the probation\n"
        ));
        assert!(
            text.ends_with("0 added, 2 changed, 0 removed, 0 unchanged\nand back:    1.000 ms\n")
        );
    }

    #[test]
    fn a_step_of_a_newer_morphd_is_shown() {
        assert_eq!(
            (step_word(99), step_name(99)),
            ("Step99".into(), "99".into())
        );
        assert_eq!(step_name(Step::RolledBack.into()), "ROLLED_BACK");
    }
}
