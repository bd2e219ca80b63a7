//! The way forward: from Staged to Committed, and out of it before the hold.

use morph_api::management::Step;

use super::member::{AGAIN, Barrier, Context, Member, MemberState};
use super::messages::{
    Cause, EndedBy, HoldOutcome, MemberInput, MemberOutput, Mode, Order, Resumption, Side,
};
use super::probation::Due;

/// Handles an input in a state of the way forward.
pub(super) fn step(member: &mut Member, input: MemberInput, cx: &mut Context<'_>) {
    match member.state {
        MemberState::Staged => staged(member, &input, cx),
        MemberState::Backfilling => {}
        MemberState::Starting => starting(member, &input, cx),
        MemberState::Probing => probing(member, &input, cx),
        MemberState::Ready => ready(member, &input, cx),
        MemberState::AtBarrier(barrier) => at_barrier(member, barrier, &input, cx),
        MemberState::Announcing => announcing(member, &input, cx),
        MemberState::Quiescing => quiescing(member, input, cx),
        MemberState::Fencing => fencing(member, input, cx),
        MemberState::Resuming => resuming(member, input, cx),
        MemberState::Upgraded => upgraded(member, &input, cx),
        MemberState::Settling => settling(member, cx),
        MemberState::CatchingUp => catching_up(member, cx),
        MemberState::Committing => committing(member, &input, cx),
        MemberState::Leaving => leaving(member, &input, cx),
        MemberState::Back(_) | MemberState::Committed | MemberState::RolledBack => {}
    }
}

/// The shadow has come further.
pub(super) fn shadow_moved(member: &mut Member, cx: &mut Context<'_>) {
    let shadow = &member.facts.shadow;
    match member.state {
        MemberState::Backfilling if shadow.is_complete() => match forbidden_loss(member) {
            Some(cause) => member.leave(cause, cx),
            None => start(member, cx),
        },
        MemberState::CatchingUp if shadow.is_current() => {
            member.enter(MemberState::AtBarrier(Barrier::Commit), None);
        }
        _ => {}
    }
}

fn staged(member: &mut Member, input: &MemberInput, cx: &mut Context<'_>) {
    match input {
        MemberInput::Recorded(Step::Staged) => {
            cx.publish(Step::Staged, "");
            cx.put(MemberOutput::Record(Step::Starting));
        }
        MemberInput::Recorded(Step::Starting) => {
            cx.publish(Step::Starting, "");
            match member.plan.mode {
                Mode::Plain | Mode::Online => start(member, cx),
                Mode::Backfill => {
                    member.enter(MemberState::Backfilling, None);
                    begin_shadow(member, cx);
                    member.facts.shadow.watch(cx.now);
                }
            }
        }
        _ => {}
    }
}

fn begin_shadow(member: &mut Member, cx: &mut Context<'_>) {
    let make = member.facts.shadow.begin(member.plan.target_schema);
    member.on_shadow(make, cx);
}

fn start(member: &mut Member, cx: &mut Context<'_>) {
    member.facts.target.alive = true;
    cx.put(MemberOutput::Spawn(Side::Target, member.keyspace()));
    let deadline = cx.now + member.plan.deadlines.start;
    member.enter(MemberState::Starting, Some(deadline));
}

/// An older release takes over the shadow: what is not in it is lost.
fn forbidden_loss(member: &Member) -> Option<Cause> {
    let lossy = member.facts.shadow.lossy();
    let forbidden = member.plan.mode == Mode::Backfill && lossy > 0 && !member.plan.allow_loss;
    forbidden.then(|| {
        let schema = member.plan.target_schema;
        Cause::failure(format!(
            "{lossy} groups of rows would lose something in schema {schema}: see `morphctl store migrations`, and say \
             --allow-loss if they may"
        ))
    })
}

fn starting(member: &mut Member, input: &MemberInput, cx: &mut Context<'_>) {
    match input {
        MemberInput::Ready(Side::Target, summary) => {
            member.facts.target.summary.clone_from(summary);
            let loss = member.facts.target.rule_loss.take();
            if let Some(why) = loss.filter(|_| !member.plan.allow_rule_loss) {
                return member.leave(Cause::failure(why), cx);
            }
            if member.plan.mode == Mode::Online {
                begin_shadow(member, cx);
            }
            cx.put(MemberOutput::Sample);
            cx.put(MemberOutput::Instruct(Side::Target, Order::Ping));
            let deadline = cx.now + member.plan.deadlines.probe;
            member.enter(MemberState::Probing, Some(deadline));
        }
        MemberInput::Time if member.is_due(cx.now) => {
            let time = member.plan.deadlines.start;
            let why = format!("the new instance was not ready within {time:?}");
            member.leave(Cause::failure(why), cx);
        }
        _ => {}
    }
}

fn probing(member: &mut Member, input: &MemberInput, cx: &mut Context<'_>) {
    match input {
        MemberInput::Pong => {
            cx.put(MemberOutput::Record(Step::Ready));
            member.enter(MemberState::Ready, None);
        }
        MemberInput::Time if member.is_due(cx.now) => {
            let cause = unanswered(member);
            member.leave(cause, cx);
        }
        _ => {}
    }
}

fn unanswered(member: &Member) -> Cause {
    let time = member.plan.deadlines.probe;
    Cause::failure(format!(
        "the new instance did not answer a probe within {time:?}"
    ))
}

fn ready(member: &mut Member, input: &MemberInput, cx: &mut Context<'_>) {
    let MemberInput::Recorded(Step::Ready) = input else {
        return;
    };
    // Rows have been written since the shadow was whole.
    if let Some(cause) = forbidden_loss(member) {
        return member.leave(cause, cx);
    }
    cx.publish(Step::Ready, member.facts.target.summary.clone());
    member.enter(MemberState::AtBarrier(Barrier::Hold), None);
}

/// No deadline of its own: each member that is not there yet has one, and takes the others back at its end.
fn at_barrier(member: &mut Member, barrier: Barrier, input: &MemberInput, cx: &mut Context<'_>) {
    if *input != MemberInput::Open {
        return;
    }
    match barrier {
        Barrier::Hold => {
            cx.put(MemberOutput::Record(Step::Quiescing));
            member.enter(MemberState::Announcing, None);
        }
        Barrier::Fence => member.enter(MemberState::Fencing, None),
        Barrier::Commit => member.enter(MemberState::Committing, None),
    }
}

fn announcing(member: &mut Member, input: &MemberInput, cx: &mut Context<'_>) {
    if *input == MemberInput::Recorded(Step::Quiescing) {
        cx.publish(Step::Quiescing, "");
        cx.put(MemberOutput::Hold);
        member.enter(MemberState::Quiescing, None);
    }
}

fn quiescing(member: &mut Member, input: MemberInput, cx: &mut Context<'_>) {
    match input {
        MemberInput::Held(outcome) => held(member, outcome, cx),
        MemberInput::HoldFailed(why) => {
            back_for(member, format!("the slot could not be held: {why}"), cx);
        }
        _ => {}
    }
}

/// Goes back for the trouble met earlier, or else for this.
fn back_for(member: &mut Member, why: String, cx: &mut Context<'_>) {
    let cause = member.trouble.take();
    member.go_back(cause.unwrap_or_else(|| Cause::failure(why)), cx);
}

fn held(member: &mut Member, outcome: HoldOutcome, cx: &mut Context<'_>) {
    if let Some(cause) = member.trouble.take() {
        return member.go_back(cause, cx);
    }
    match (member.plan.mode, outcome) {
        (
            Mode::Plain | Mode::Online,
            HoldOutcome::Quiesced | HoldOutcome::Gone | HoldOutcome::Expired,
        )
        | (Mode::Backfill, HoldOutcome::Quiesced) => {
            member.enter(MemberState::AtBarrier(Barrier::Fence), None);
        }
        (Mode::Backfill, HoldOutcome::Gone | HoldOutcome::Expired) => {
            let why = "the running instance did not quiesce, so its shadow may not be current";
            member.go_back(Cause::failure(why), cx);
        }
    }
}

fn fencing(member: &mut Member, input: MemberInput, cx: &mut Context<'_>) {
    match input {
        MemberInput::Fenced => {
            member.facts.swapped = member.plan.mode == Mode::Backfill;
            member.facts.rules_synced = false;
            if let Some(cause) = member.trouble.take() {
                return member.go_back(cause, cx);
            }
            cx.publish(Step::Resuming, "");
            cx.put(MemberOutput::Resume(Side::Target));
            member.enter(MemberState::Resuming, None);
        }
        MemberInput::FenceRefused(why) => {
            back_for(member, format!("the fence was refused: {why}"), cx);
        }
        _ => {}
    }
}

fn resuming(member: &mut Member, input: MemberInput, cx: &mut Context<'_>) {
    let target = &member.facts.target;
    let proxy_was_first = member.facts.proxy_resumed == Some(Side::Target) && target.alive;
    match input {
        MemberInput::Resumed(resumption) => resumed(member, Some(resumption), cx),
        // The proxy came first, and for the same release: that is as good.
        MemberInput::ResumeFailed(_) if proxy_was_first => resumed(member, None, cx),
        MemberInput::ResumeFailed(why) => {
            let why = format!("the new instance could not be resumed: {why}");
            back_for(member, why, cx);
        }
        _ => {}
    }
}

fn resumed(member: &mut Member, resumption: Option<Resumption>, cx: &mut Context<'_>) {
    if resumption.is_some() {
        member.facts.numbers.forward = resumption;
    }
    member.facts.target.live = member.facts.target.alive;
    if let Some(cause) = member.trouble.take() {
        return member.go_back(cause, cx);
    }
    cx.put(MemberOutput::Record(Step::Upgraded));
    member.probation.begin(cx.now, member.plan.probation);
    member.enter(MemberState::Upgraded, None);
}

fn upgraded(member: &mut Member, input: &MemberInput, cx: &mut Context<'_>) {
    let time = member.plan.probation;
    match input {
        MemberInput::Recorded(Step::Upgraded) => {
            let message = match member.plan.confirm {
                true => format!("goes back in {time:?} unless it is committed until then"),
                false => format!("probation of {} s", time.as_secs_f64()),
            };
            cx.publish(Step::Upgraded, message);
        }
        MemberInput::Commit => {
            settle(member, Cause::operator("committed by the operator"), cx);
        }
        MemberInput::Time => match member.probation.due(cx.now) {
            Due::Nothing => {}
            Due::Sample => cx.put(MemberOutput::Sample),
            Due::End if member.plan.confirm => {
                let cause = Cause {
                    message: format!("not committed within {time:?}"),
                    by: EndedBy::Confirmation,
                };
                member.go_back(cause, cx);
            }
            Due::End => probation_ended(member, cx),
        },
        MemberInput::Health(_) | MemberInput::Load(_)
            if member.probation.is_extended() && !member.plan.confirm && has_events(member) =>
        {
            probation_ended(member, cx);
        }
        _ => {}
    }
}

/// Whether the target has handled as many events as its probation asks for.
fn has_events(member: &Member) -> bool {
    member.facts.numbers.events >= member.plan.min_events
}

/// The target is made permanent. One that has handled too few events has some more time before, and is called untested after that.
fn probation_ended(member: &mut Member, cx: &mut Context<'_>) {
    let (events, least) = (member.facts.numbers.events, member.plan.min_events);
    if !has_events(member)
        && let Some(more) = member.probation.extend(cx.now)
    {
        let message = format!(
            "it has handled {events} of {least} events: the probation goes on until it has, for {} s at most",
            more.as_secs_f64()
        );
        return cx.publish(Step::Upgraded, message);
    }
    let untested = events == 0 || !has_events(member);
    member.facts.numbers.untested = untested;
    let message = match untested {
        true if least > 0 => {
            format!("untested: it has handled {events} of {least} events in its probation")
        }
        true => "untested: it has handled no event in its probation".into(),
        false => "the probation ended without trouble".into(),
    };
    let by = EndedBy::Probation;
    settle(member, Cause { message, by }, cx);
}

fn settle(member: &mut Member, cause: Cause, cx: &mut Context<'_>) {
    member.cause = Some(cause);
    member.facts.target.answered = false;
    cx.put(MemberOutput::Instruct(Side::Target, Order::Ping));
    let deadline = cx.now + member.plan.deadlines.probe;
    member.enter(MemberState::Settling, Some(deadline));
}

fn settling(member: &mut Member, cx: &mut Context<'_>) {
    // Rules may stay away with a switch. A target that hangs is not made permanent, however quiet its probation was.
    if !member.facts.target.answered {
        if member.is_due(cx.now) {
            let cause = unanswered(member);
            member.go_back(cause, cx);
        }
        return;
    }
    if member.facts.rules_synced || member.is_due(cx.now) {
        catch_up(member, None, cx);
    }
}

/// Brings the shadow up to date, where there is one, and comes to the barrier of the commit.
fn catch_up(member: &mut Member, refused: Option<&str>, cx: &mut Context<'_>) {
    if member.plan.mode != Mode::Online {
        return member.enter(MemberState::AtBarrier(Barrier::Commit), None);
    }
    member.enter(MemberState::CatchingUp, None);
    let output = member.facts.shadow.catch_up(cx.now);
    let failure = output.and_then(|output| member.on_shadow(output, cx));
    if let Some(why) = failure {
        let swap = refused.map_or(String::new(), |why| {
            format!("; the last swap was refused: {why}")
        });
        member.go_back(Cause::failure(format!("{why}{swap}")), cx);
    }
}

/// After a refused commit the next try comes with the deadline.
fn catching_up(member: &mut Member, cx: &mut Context<'_>) {
    if member.is_due(cx.now) {
        catch_up(member, None, cx);
    }
}

fn committing(member: &mut Member, input: &MemberInput, cx: &mut Context<'_>) {
    match input {
        MemberInput::Ended => {
            if member.plan.mode == Mode::Online {
                cx.put(MemberOutput::Instruct(Side::Target, Order::Go));
            }
            member.end(Step::Committed, cx);
            cx.put(MemberOutput::End(Side::Source));
        }
        MemberInput::EndRefused(why) => match member.trouble.take() {
            Some(cause) => member.go_back(cause, cx),
            // The shadow was behind, or the disk is full.
            None if member.plan.mode == Mode::Online => catch_up(member, Some(why), cx),
            None => member.enter(MemberState::CatchingUp, Some(cx.now + AGAIN)),
        },
        _ => {}
    }
}

fn leaving(member: &mut Member, input: &MemberInput, cx: &mut Context<'_>) {
    match input {
        MemberInput::Ended => member.end(Step::RolledBack, cx),
        MemberInput::EndRefused(_) => member.deadline = Some(cx.now + AGAIN),
        MemberInput::Time if member.is_due(cx.now) => {
            member.deadline = None;
            cx.put(MemberOutput::RecordRolledBack(None));
        }
        _ => {}
    }
}
