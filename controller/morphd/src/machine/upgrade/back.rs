//! The way back after the hold. It has no failure exit: what fails is tried again until the source is live.

use morph_api::management::Step;

use super::member::{AGAIN, Back, Context, Member, MemberState, SETTLE};
use super::messages::{MemberInput, MemberOutput, Order, RuleCounts, Side};

/// Handles an input on the way back.
pub(super) fn step(member: &mut Member, at: Back, input: &MemberInput, cx: &mut Context<'_>) {
    match at {
        Back::Recording => {
            if *input == MemberInput::Recorded(Step::RollingBack) {
                approach_source(member, cx);
            }
        }
        Back::Waiting => match input {
            MemberInput::Ready(Side::Source, _) => approach_source(member, cx),
            MemberInput::Time if member.is_due(cx.now) => approach_source(member, cx),
            _ => {}
        },
        Back::Holding => {
            if let MemberInput::Held(_) | MemberInput::HoldFailed(_) = input {
                member.facts.target.live = false;
                approach_source(member, cx);
            }
        }
        Back::Fencing => match input {
            MemberInput::Fenced => {
                member.facts.rules_synced = false;
                member.facts.numbers.back_rules = RuleCounts::default();
                cx.put(MemberOutput::Resume(Side::Source));
                member.enter(MemberState::Back(Back::Resuming), None);
            }
            MemberInput::FenceRefused(_) => try_again(member, cx),
            _ => {}
        },
        Back::Resuming => match input {
            MemberInput::Resumed(resumption) => {
                member.facts.numbers.back = Some(*resumption);
                source_is_live(member, cx);
            }
            MemberInput::ResumeFailed(_) => try_again(member, cx),
            _ => {}
        },
        Back::Restoring => restoring(member, input, cx),
        Back::Swapping => swapping(member, input, cx),
        Back::Settling => match input {
            // The source has served. The app's own supervision goes on from here: it restarts and finds poison events.
            MemberInput::Gone(Side::Source, _) => close(member, cx),
            MemberInput::Rules { .. } if member.facts.rules_synced => close(member, cx),
            MemberInput::Time if member.is_due(cx.now) => close(member, cx),
            _ => {}
        },
        Back::Closing => match input {
            MemberInput::Ended => member.end(Step::RolledBack, cx),
            MemberInput::EndRefused(_) => member.deadline = Some(cx.now + AGAIN),
            MemberInput::Time if member.is_due(cx.now) => close(member, cx),
            _ => {}
        },
    }
}

/// The proxy went, or an instance said that it cannot go on. What was asked of them is answered by itself.
pub(super) fn trouble(member: &mut Member, at: Back, cx: &mut Context<'_>) {
    match at {
        Back::Settling if !member.facts.source.is_ready() => close(member, cx),
        Back::Restoring if !member.facts.source.is_ready() => approach_source(member, cx),
        Back::Recording
        | Back::Waiting
        | Back::Holding
        | Back::Fencing
        | Back::Resuming
        | Back::Restoring
        | Back::Swapping
        | Back::Settling
        | Back::Closing => {}
    }
}

/// The shadow of the restore has come further.
pub(super) fn shadow_moved(member: &mut Member, cx: &mut Context<'_>) {
    if member.state == MemberState::Back(Back::Restoring) && member.facts.shadow.is_current() {
        cx.put(MemberOutput::RecordRolledBack(member.keyspace()));
        member.enter(MemberState::Back(Back::Swapping), None);
    }
}

/// The shadow of the restore cannot be had now: it is begun anew a little later.
pub(super) fn shadow_failed(member: &mut Member, cx: &mut Context<'_>) {
    if member.state == MemberState::Back(Back::Restoring) {
        member.deadline = Some(cx.now + AGAIN);
    }
}

fn try_again(member: &mut Member, cx: &mut Context<'_>) {
    member.enter(MemberState::Back(Back::Waiting), Some(cx.now + AGAIN));
}

/// Does the next thing towards a live source, by what there is.
fn approach_source(member: &mut Member, cx: &mut Context<'_>) {
    let facts = &member.facts;
    let ready = facts.source.is_ready();
    if ready && facts.proxy_resumed == Some(Side::Source) {
        return source_is_live(member, cx);
    }
    let next = if !ready {
        Back::Waiting
    } else if facts.target.live {
        cx.put(MemberOutput::Hold);
        Back::Holding
    } else {
        cx.put(MemberOutput::FenceForSource);
        Back::Fencing
    };
    member.enter(MemberState::Back(next), None);
}

fn source_is_live(member: &mut Member, cx: &mut Context<'_>) {
    member.facts.proxy_resumed = None;
    member.give_up_target(cx);
    member.facts.target.alive = false;
    member.facts.target.live = false;
    // The source can have died between the resume and the answer.
    match (member.facts.swapped, member.facts.source.is_ready()) {
        (true, true) => restore(member, cx),
        (true, false) => member.enter(MemberState::Back(Back::Waiting), None),
        (false, false) => close(member, cx),
        (false, true) => member.enter(MemberState::Back(Back::Settling), Some(cx.now + SETTLE)),
    }
}

fn close(member: &mut Member, cx: &mut Context<'_>) {
    cx.put(MemberOutput::RecordRolledBack(None));
    member.enter(MemberState::Back(Back::Closing), None);
}

/// The source serves the target's schema through its migration; here it gets its own schema back.
fn restore(member: &mut Member, cx: &mut Context<'_>) {
    member.enter(MemberState::Back(Back::Restoring), None);
    let make = member.facts.shadow.begin(member.plan.source_schema);
    member.on_shadow(make, cx);
    catch_up(member, cx);
}

fn catch_up(member: &mut Member, cx: &mut Context<'_>) {
    let output = member.facts.shadow.catch_up(cx.now);
    let failure = output.and_then(|output| member.on_shadow(output, cx));
    if failure.is_some() {
        shadow_failed(member, cx);
    }
}

fn restoring(member: &mut Member, input: &MemberInput, cx: &mut Context<'_>) {
    match input {
        // The shadow's only maker is gone: it is begun anew once the source is live again.
        MemberInput::Gone(Side::Source, _) => {
            member.facts.shadow.give_up();
            approach_source(member, cx);
        }
        MemberInput::Time if member.is_due(cx.now) => restore(member, cx),
        _ => {}
    }
}

/// Its answer decides, whatever becomes of the source meanwhile.
fn swapping(member: &mut Member, input: &MemberInput, cx: &mut Context<'_>) {
    match input {
        MemberInput::Ended => {
            cx.put(MemberOutput::Instruct(Side::Source, Order::Go));
            member.end(Step::RolledBack, cx);
        }
        MemberInput::EndRefused(_) => {
            member.enter(MemberState::Back(Back::Restoring), None);
            match member.facts.source.is_ready() {
                true => catch_up(member, cx),
                false => {
                    member.facts.shadow.give_up();
                    approach_source(member, cx);
                }
            }
        }
        _ => {}
    }
}
