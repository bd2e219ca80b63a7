//! What another morphd has left unfinished.

use morph_api::management::Step;

/// What is to be done about an app's last upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It ended.
    Ended,
    /// It had not come to the fence: nothing of it counts.
    BeforeFence,
    /// The newcomer is live: its probation goes on.
    InProbation,
    /// It is going back, or its newcomer is not live.
    GoingBack,
}

/// By what its record says, and by whether its newcomer is attached and live.
pub fn left(step: Step, fenced: bool, newcomer_is_live: bool) -> Left {
    if matches!(step, Step::Committed | Step::RolledBack | Step::Unspecified) {
        return Left::Ended;
    }
    if !fenced {
        return Left::BeforeFence;
    }
    match newcomer_is_live && step != Step::RollingBack {
        true => Left::InProbation,
        false => Left::GoingBack,
    }
}
