//! The fence of the members of an upgrade.

use morph_api::deadlines::Deadlines;
use morph_api::management::Step;

use super::records::renew;
use crate::machine::apps::checkpoint_is;
use crate::machine::call::{Answer, Call, FencePart, FenceRequest, Limit};
use crate::machine::changes::{live_write, release_write};
use crate::machine::outbox::Purpose;
use crate::machine::record::{AppRow, Fencing, ReleaseStatus, UPGRADES, Write};
use crate::machine::state::State;
use crate::machine::upgrade::{MemberInput, Side, Swap};

/// One transaction for all these apps, with their records, rows and the statuses of their releases.
pub(super) fn fence(state: &mut State, side: Side, swaps: &[Swap]) {
    let step = match side {
        Side::Target => Step::Resuming,
        Side::Source => Step::RollingBack,
    };
    let (mut parts, mut members) = (Vec::new(), Vec::new());
    for (app, swap) in swaps {
        let Some((part, status)) = fence_part(state, app, (side, step), *swap) else {
            // A member without a record cannot be fenced, and neither can those that go with it.
            for (app, _) in swaps {
                let refused = MemberInput::FenceRefused("its record is gone".into());
                state.outbox.member(app, refused);
            }
            return;
        };
        members.push((app.clone(), part.row.instance.clone(), status));
        parts.push(part);
    }
    let limits = swaps.iter().map(|(app, _)| state.deadlines(app).fence);
    let limit = limits.min().unwrap_or(Deadlines::DEFAULT.fence);
    let call = Call::Fence(FenceRequest {
        parts,
        step: Some(step),
        primaries: side == Side::Source,
    });
    let purpose = Purpose::Fence { side, members };
    let limit = match side {
        Side::Target => Limit::GiveUp(limit),
        // The way back has no failure exit: it waits for the store.
        Side::Source => call.limit(),
    };
    state.outbox.call_within(limit, call, purpose);
}

fn fence_part(
    state: &mut State,
    app: &str,
    (side, step): (Side, Step),
    swap: Option<u32>,
) -> Option<(FencePart, ReleaseStatus)> {
    let instance = state.instance_of(app, side).unwrap_or_default();
    let mut record = renew(state, app, step)?;
    record.progress.fenced = true;
    record.progress.swapped |= swap.is_some();
    let plan = &record.plan;
    let target = state.releases.get(app, &plan.to);
    let (release, status, write) = match side {
        Side::Target => {
            let status = ReleaseStatus::Current;
            (
                &plan.to,
                status,
                target.map(|target| live_write(target, status)),
            )
        }
        Side::Source => {
            let status = plan.prior_status.unwrap_or(ReleaseStatus::Staged);
            (
                &plan.from,
                status,
                target.map(|target| release_write(target, status)),
            )
        }
    };
    let known = state.apps.get(app)?;
    let fencing = Fencing {
        app: app.to_owned(),
        node: state.config.node.clone(),
        release: release.to_string(),
        epoch: known.row.epoch,
        force: side == Side::Source,
        swap,
        skip: None,
    };
    let row = AppRow {
        instance,
        ..known.row.clone()
    };
    let mut writes = vec![Write::new(UPGRADES, app, &record)];
    writes.extend(write);
    let part = FencePart {
        fencing,
        row,
        writes,
    };
    Some((part, status))
}

pub(in crate::machine) fn fence_answered(
    state: &mut State,
    members: Vec<(String, String, ReleaseStatus)>,
    answer: Answer,
) {
    let answer = match answer.fenced() {
        Ok(answer) => answer,
        Err(refusal) => {
            for (app, ..) in members {
                if let Some(run) = state.run_mut(&app) {
                    // The fence may have been applied. The record says so, and the fence for the source settles it.
                    run.record.progress.fenced = true;
                }
                let refused = MemberInput::FenceRefused(refusal.message.clone());
                state.outbox.member(&app, refused);
            }
            return;
        }
    };
    for ((app, instance, status), fenced) in members.iter().zip(&answer.fenced) {
        checkpoint_is(state, app, instance, *fenced);
        if let Some(known) = state.apps.get_mut(app) {
            known.death = None;
        }
        if let Some(run) = state.run_mut(app) {
            run.fenced = Some(*fenced);
            run.record.progress.fenced = true;
            let to = run.record.plan.to.clone();
            state.releases.set_status(app, &to, *status);
            if *status == ReleaseStatus::Current {
                state.releases.set_live(app, &to);
            }
        }
    }
    let primaries = answer.primaries.into_iter().chain(std::iter::repeat(None));
    for ((app, ..), primary) in members.into_iter().zip(primaries) {
        if let Some(schema) = primary {
            state
                .outbox
                .member(&app, MemberInput::PrimarySchema(schema));
        }
        state.outbox.member(&app, MemberInput::Fenced);
    }
}
