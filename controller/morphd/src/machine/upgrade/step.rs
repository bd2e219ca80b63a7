//! One input of a member: what it says against the target first, then what it means where the member stands.

use super::member::{Barrier, Context, Member, MemberState};
use super::messages::{Cause, MemberInput, Mode, ShadowInput, Side};
use super::{back, forward, probation};

pub(super) fn handle(member: &mut Member, input: MemberInput, cx: &mut Context<'_>) {
    if member.ended() {
        return;
    }
    if let MemberInput::PrimarySchema(schema) = input {
        let plan = &member.plan;
        member.facts.swapped = plan.mode == Mode::Backfill && schema == plan.target_schema;
        return;
    }
    member.facts.note(&input, cx.now, cx.out);
    if let Some(cause) = objection(member, &input) {
        return fail(member, cause, cx);
    }
    match input {
        MemberInput::NotRecorded(step, why) => match is_before_hold(member.state) {
            // Before the hold there is nothing that could not wait for another day.
            true => {
                let why = format!("its record was refused: {why}");
                member.leave(Cause::failure(why), cx);
            }
            // Afterwards the fence has a record already, and the next one takes the place of the one that is missing.
            false => proceed(member, MemberInput::Recorded(step), cx),
        },
        MemberInput::Shadow(input) => shadow(member, &input, cx),
        MemberInput::Time => {
            if let Some(output) = member.facts.shadow.time(cx.now) {
                on_shadow_output(member, output, cx);
            }
            proceed(member, MemberInput::Time, cx);
        }
        input => proceed(member, input, cx),
    }
}

fn proceed(member: &mut Member, input: MemberInput, cx: &mut Context<'_>) {
    match member.state {
        MemberState::Back(at) => back::step(member, at, &input, cx),
        _ => forward::step(member, input, cx),
    }
}

fn shadow(member: &mut Member, input: &ShadowInput, cx: &mut Context<'_>) {
    if let Some(output) = member.facts.shadow.handle(input, cx.now) {
        on_shadow_output(member, output, cx);
    }
    match member.state {
        MemberState::Back(_) => back::shadow_moved(member, cx),
        _ => forward::shadow_moved(member, cx),
    }
}

fn on_shadow_output(
    member: &mut Member,
    output: super::shadow::ShadowOutput,
    cx: &mut Context<'_>,
) {
    let Some(why) = member.on_shadow(output, cx) else {
        return;
    };
    match member.state {
        MemberState::Back(_) => back::shadow_failed(member, cx),
        _ => fail(member, Cause::failure(why), cx),
    }
}

/// Objection to the target in an input, whatever the state.
fn objection(member: &mut Member, input: &MemberInput) -> Option<Cause> {
    match input {
        MemberInput::Gone(Side::Target, why) => {
            Some(Cause::failure(format!("the new instance {why}")))
        }
        MemberInput::Failed(Side::Target, why) => {
            Some(Cause::failure(format!("the new instance failed: {why}")))
        }
        MemberInput::Failed(Side::Source, why) if needs_source_to_backfill(member) => Some(
            Cause::failure(format!("the running instance failed: {why}")),
        ),
        MemberInput::Gone(Side::Source, why) if needs_source_to_backfill(member) => {
            Some(Cause::failure(format!(
                "the running instance, which makes the shadow, {why}"
            )))
        }
        MemberInput::ProxyLost => Some(Cause::failure("the proxy went away")),
        MemberInput::Rollback => Some(Cause::operator("asked for by the operator")),
        MemberInput::OtherGoesBack(cause) => Some(cause.clone()),
        MemberInput::Health(health) if member.state == MemberState::Upgraded => {
            note_events(member, health.events);
            probation::judge_health(health).map(Cause::failure)
        }
        MemberInput::Load(load) if !member.facts.source.is_ours() => {
            member.probation.note_source(*load);
            None
        }
        MemberInput::Load(load) if member.state == MemberState::Upgraded => {
            note_events(member, load.map_or(0, |load| load.answers.count));
            let against = member.probation.judge_load(*load);
            against.map(Cause::failure)
        }
        MemberInput::Gone(Side::Source, _)
        | MemberInput::Failed(Side::Source, _)
        | MemberInput::Health(_)
        | MemberInput::Load(_)
        | MemberInput::Recorded(_)
        | MemberInput::NotRecorded(..)
        | MemberInput::Ended
        | MemberInput::EndRefused(_)
        | MemberInput::Shadow(_)
        | MemberInput::RuleLoss(_)
        | MemberInput::Ready(..)
        | MemberInput::Pong
        | MemberInput::Rules { .. }
        | MemberInput::Yielded(_)
        | MemberInput::Held(_)
        | MemberInput::HoldFailed(_)
        | MemberInput::Open
        | MemberInput::Fenced
        | MemberInput::PrimarySchema(_)
        | MemberInput::FenceRefused(_)
        | MemberInput::Resumed(_)
        | MemberInput::ResumeFailed(_)
        | MemberInput::HoldExpired(_)
        | MemberInput::Commit
        | MemberInput::Time => None,
    }
}

/// Proxy and target both count the events that the target has handled; the higher number is the later one.
fn note_events(member: &mut Member, count: u64) {
    let events = &mut member.facts.numbers.events;
    *events = count.max(*events);
}

fn needs_source_to_backfill(member: &Member) -> bool {
    member.plan.mode == Mode::Backfill
        && is_before_hold(member.state)
        && member.state != MemberState::Staged
}

fn is_before_hold(state: MemberState) -> bool {
    matches!(
        state,
        MemberState::Staged
            | MemberState::Backfilling
            | MemberState::Starting
            | MemberState::Probing
            | MemberState::Ready
            | MemberState::AtBarrier(Barrier::Hold)
            | MemberState::Announcing
    )
}

/// Trouble: what it leads to depends only on how far the member has come.
fn fail(member: &mut Member, cause: Cause, cx: &mut Context<'_>) {
    match member.state {
        MemberState::Staged
        | MemberState::Backfilling
        | MemberState::Starting
        | MemberState::Probing
        | MemberState::Ready
        | MemberState::AtBarrier(Barrier::Hold)
        | MemberState::Announcing => member.leave(cause, cx),
        // An answer is on its way that has to be heard first.
        MemberState::Quiescing
        | MemberState::Fencing
        | MemberState::Resuming
        | MemberState::Committing => {
            member.trouble.get_or_insert(cause);
        }
        MemberState::AtBarrier(Barrier::Fence | Barrier::Commit)
        | MemberState::Upgraded
        | MemberState::Settling
        | MemberState::CatchingUp => member.go_back(cause, cx),
        // On the way back nothing that the target does matters; what the source does is in the facts.
        MemberState::Back(at) => back::trouble(member, at, cx),
        MemberState::Leaving | MemberState::Committed | MemberState::RolledBack => {}
    }
}
