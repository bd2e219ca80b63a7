//! The gRPC service for morphd.

use morph_api::supervisor::proxy_server::Proxy;
use morph_api::supervisor::{
    CleanReply, CleanRequest, CleanSwitchReply, CleanSwitchRequest, Configuration, ConfigureReply,
    FlowsReply, FlowsRequest, HoldReply, HoldRequest, InstructReply, InstructRequest, Observation,
    ObserveRequest, PortsReply, PortsRequest, ResumeReply, ResumeRequest, RetryReply, RetryRequest,
    SlotsReply, SlotsRequest, SuspectReply, SuspectRequest, SwitchesReply, SwitchesRequest,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Event;
use super::sessions::ending;
use crate::mediator::{Answer, Ask, Refusal};

/// Observations that wait for morphd: a snapshot of a large network. One that reads slower observes anew.
const OBSERVATIONS: usize = 8192;

/// The service.
#[derive(Debug)]
pub(super) struct ControlService {
    pub(super) events: mpsc::Sender<Event>,
}

impl ControlService {
    async fn ask(&self, ask: Ask) -> Result<Answer, Status> {
        let (reply, answer) = oneshot::channel();
        self.events
            .send(Event::Ask { ask, reply })
            .await
            .map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?.map_err(status)
    }
}

fn status(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Invalid(why) => Status::invalid_argument(why),
        Refusal::NotFound(why) => Status::not_found(why),
        Refusal::Precondition(why) => Status::failed_precondition(why),
        Refusal::Unavailable(why) => Status::unavailable(why),
        Refusal::Deadline(why) => Status::deadline_exceeded(why),
    }
}

/// Asks, and takes the answer that belongs to the question.
macro_rules! ask {
    ($service:expr, $kind:ident, $ask:expr) => {
        match $service.ask($ask).await? {
            Answer::$kind(reply) => Ok(Response::new(reply)),
            other => Err(Status::internal(format!(
                "an answer to another question: {other:?}"
            ))),
        }
    };
}

#[tonic::async_trait]
impl Proxy for ControlService {
    type ObserveStream = ReceiverStream<Result<Observation, Status>>;

    async fn observe(
        &self,
        _: Request<ObserveRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let (observer, stream) = mpsc::channel(OBSERVATIONS);
        self.events
            .send(Event::Observe(observer))
            .await
            .map_err(|_| ending())?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn configure(
        &self,
        request: Request<Configuration>,
    ) -> Result<Response<ConfigureReply>, Status> {
        ask!(self, Configure, Ask::Configure(request.into_inner()))
    }

    async fn hold(&self, request: Request<HoldRequest>) -> Result<Response<HoldReply>, Status> {
        ask!(self, Hold, Ask::Hold(request.into_inner()))
    }

    async fn resume(
        &self,
        request: Request<ResumeRequest>,
    ) -> Result<Response<ResumeReply>, Status> {
        ask!(self, Resume, Ask::Resume(request.into_inner()))
    }

    async fn instruct(
        &self,
        request: Request<InstructRequest>,
    ) -> Result<Response<InstructReply>, Status> {
        ask!(self, Instruct, Ask::Instruct(request.into_inner()))
    }

    async fn suspect(
        &self,
        request: Request<SuspectRequest>,
    ) -> Result<Response<SuspectReply>, Status> {
        ask!(self, Suspect, Ask::Suspect(request.into_inner()))
    }

    async fn retry(&self, request: Request<RetryRequest>) -> Result<Response<RetryReply>, Status> {
        ask!(self, Retry, Ask::Retry(request.into_inner()))
    }

    async fn slots(&self, _: Request<SlotsRequest>) -> Result<Response<SlotsReply>, Status> {
        ask!(self, Slots, Ask::Slots)
    }

    async fn switches(
        &self,
        _: Request<SwitchesRequest>,
    ) -> Result<Response<SwitchesReply>, Status> {
        ask!(self, Switches, Ask::Switches)
    }

    async fn ports(&self, request: Request<PortsRequest>) -> Result<Response<PortsReply>, Status> {
        ask!(self, Ports, Ask::Ports(request.into_inner()))
    }

    async fn flows(&self, request: Request<FlowsRequest>) -> Result<Response<FlowsReply>, Status> {
        ask!(self, Flows, Ask::Flows(request.into_inner()))
    }

    async fn clean(&self, request: Request<CleanRequest>) -> Result<Response<CleanReply>, Status> {
        ask!(self, Clean, Ask::Clean(request.into_inner()))
    }

    async fn clean_switch(
        &self,
        request: Request<CleanSwitchRequest>,
    ) -> Result<Response<CleanSwitchReply>, Status> {
        let dpid = request.into_inner().dpid;
        ask!(self, CleanSwitch, Ask::CleanSwitch { dpid })
    }
}
