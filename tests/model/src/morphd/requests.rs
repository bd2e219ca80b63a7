//! Calls of the proxy: the request, and what its reply means to the node.

use std::time::Duration;

use morph_api::store::Seq;
use morph_api::supervisor::{
    Flush, Go, Group, HoldRequest, InstructRequest, Instruction, MakeShadow, Ping, ResumeRequest,
    StopShadow, SuspectRequest, hold_reply, instruction,
};
use morph_proxy::machine::{ControlReply, ControlRequest, Refusal};
use morphd::machine::call::{Answer, Call, Resume, RetryRefusal};
use morphd::machine::upgrade::{HoldOutcome, Order, Resumption};
use prost::Message as _;

/// Kind of a call, for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Hold,
    Resume,
    Instruct,
    Suspect,
    Retry,
    Configure,
}

/// The request of a call that goes to the proxy.
pub(super) fn request(call: &Call) -> Option<(ControlRequest, Kind)> {
    let request = match call {
        Call::Hold { app, quiesce, hold } => {
            let hold = HoldRequest {
                app: app.clone(),
                quiesce_ms: ms(*quiesce),
                hold_ms: ms(*hold),
            };
            (ControlRequest::Hold(hold), Kind::Hold)
        }
        Call::Resume(resume) => (ControlRequest::Resume(resume_request(resume)), Kind::Resume),
        Call::Instruct {
            app,
            instance,
            order,
        } => {
            let instruction = Instruction {
                instruction: Some(instruction(*order)),
            };
            let instruct = InstructRequest {
                app: app.clone(),
                instance: instance.clone(),
                instruction: instruction.encode_to_vec().into(),
            };
            (ControlRequest::Instruct(instruct), Kind::Instruct)
        }
        Call::Suspect {
            app,
            instance,
            handling,
        } => {
            let (app, instance, handling) = (app.clone(), instance.clone(), *handling);
            let suspect = SuspectRequest {
                app,
                instance,
                handling,
            };
            (ControlRequest::Suspect(suspect), Kind::Suspect)
        }
        Call::Retry(retry) => (ControlRequest::Retry(retry.clone()), Kind::Retry),
        Call::Configure(configuration) => {
            let configure = ControlRequest::Configure(configuration.clone());
            (configure, Kind::Configure)
        }
        Call::Write(_)
        | Call::Fence(_)
        | Call::MakeKeyspace { .. }
        | Call::DropKeyspaces { .. }
        | Call::DropShadows { .. }
        | Call::BoundHistory { .. }
        | Call::ReadStore
        | Call::Sample { .. } => return None,
    };
    Some(request)
}

fn resume_request(resume: &Resume) -> ResumeRequest {
    let fenced = resume.fenced;
    let group = resume.group.clone().map(|(id, apps, wait)| Group {
        id,
        apps,
        wait_ms: ms(wait),
    });
    ResumeRequest {
        app: resume.app.clone(),
        instance: resume.instance.clone(),
        epoch: fenced.epoch,
        cursor: Some(fenced.cursor),
        turn: fenced.turn,
        revision: fenced.revision,
        group,
    }
}

fn instruction(order: Order) -> instruction::Instruction {
    match order {
        Order::Ping => instruction::Instruction::Ping(Ping { token: 1 }),
        Order::MakeShadow { keyspace, schema } => {
            instruction::Instruction::MakeShadow(MakeShadow { keyspace, schema })
        }
        Order::StopShadow => instruction::Instruction::StopShadow(StopShadow {}),
        Order::Flush => instruction::Instruction::Flush(Flush {}),
        Order::Go => instruction::Instruction::Go(Go {}),
    }
}

fn ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// The reply of the proxy as the answer of a call. What counts what happened is left out.
pub(super) fn answer(kind: Kind, reply: Result<ControlReply, Refusal>) -> Answer {
    let why = |refusal: Refusal| match refusal {
        Refusal::Invalid(why)
        | Refusal::NotFound(why)
        | Refusal::Precondition(why)
        | Refusal::Unavailable(why)
        | Refusal::Deadline(why) => why,
    };
    match (kind, reply) {
        (Kind::Hold, Ok(ControlReply::Hold(reply))) => Answer::Held(Ok(match reply.outcome() {
            hold_reply::Outcome::Quiesced => HoldOutcome::Quiesced,
            hold_reply::Outcome::Gone => HoldOutcome::Gone,
            hold_reply::Outcome::Expired | hold_reply::Outcome::Unspecified => HoldOutcome::Expired,
        })),
        (Kind::Hold, Err(refusal)) => Answer::Held(Err(why(refusal))),
        (Kind::Resume, reply) => Answer::Resumed(reply.map(|_| Resumption::default()).map_err(why)),
        (Kind::Instruct | Kind::Configure, reply) => Answer::Done(reply.map(drop).map_err(why)),
        (Kind::Suspect, Ok(ControlReply::Suspect(reply))) => Answer::Suspect(reply),
        (Kind::Suspect, _) => Answer::Suspect(Default::default()),
        (Kind::Retry, Ok(ControlReply::Retry(reply))) => {
            Answer::Retried(Ok(reply.seq.unwrap_or(Seq::ZERO)))
        }
        (Kind::Retry, Err(Refusal::Unavailable(why))) => {
            Answer::Retried(Err(RetryRefusal::Away(why)))
        }
        (Kind::Retry, Err(refusal)) => Answer::Retried(Err(RetryRefusal::Refused(why(refusal)))),
        (Kind::Hold | Kind::Retry, Ok(_)) => Answer::Done(Ok(())),
    }
}
