//! gRPC service for morphd.

use morph_api::supervisor::proxy_server::Proxy;
use morph_api::supervisor::{
    CleanReply, CleanRequest, CleanSwitchReply, CleanSwitchRequest, Configuration, ConfigureReply,
    FlowsReply, FlowsRequest, ForgetSwitchReply, ForgetSwitchRequest, HoldReply, HoldRequest,
    InstructReply, InstructRequest, Observation, ObserveRequest, PortsReply, PortsRequest,
    ResumeReply, ResumeRequest, RetryReply, RetryRequest, SlotsReply, SlotsRequest, SuspectReply,
    SuspectRequest, SwitchesReply, SwitchesRequest,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::message::{LoopMessage, shutting_down};
use crate::mediator::{ControlReply, ControlRequest, Refusal};

/// Capacity of the observation queue: a snapshot of a large network. A slower observer has to start over.
const OBSERVATIONS: usize = 8192;

#[derive(Debug)]
pub(super) struct ControlService {
    pub(super) inbox: mpsc::Sender<LoopMessage>,
}

impl ControlService {
    async fn call(&self, request: ControlRequest) -> Result<ControlReply, Status> {
        let (reply, answer) = oneshot::channel();
        self.inbox
            .send(LoopMessage::Request { request, reply })
            .await
            .map_err(|_| shutting_down())?;
        answer.await.map_err(|_| shutting_down())?.map_err(status)
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

/// Sends a request and unwraps the matching reply.
macro_rules! call {
    ($service:expr, $kind:ident, $request:expr) => {
        match $service.call($request).await? {
            ControlReply::$kind(reply) => Ok(Response::new(reply)),
            other => Err(Status::internal(format!(
                "reply to another request: {other:?}"
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
        self.inbox
            .send(LoopMessage::Observer(observer))
            .await
            .map_err(|_| shutting_down())?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn configure(
        &self,
        request: Request<Configuration>,
    ) -> Result<Response<ConfigureReply>, Status> {
        call!(
            self,
            Configure,
            ControlRequest::Configure(request.into_inner())
        )
    }

    async fn hold(&self, request: Request<HoldRequest>) -> Result<Response<HoldReply>, Status> {
        call!(self, Hold, ControlRequest::Hold(request.into_inner()))
    }

    async fn resume(
        &self,
        request: Request<ResumeRequest>,
    ) -> Result<Response<ResumeReply>, Status> {
        call!(self, Resume, ControlRequest::Resume(request.into_inner()))
    }

    async fn instruct(
        &self,
        request: Request<InstructRequest>,
    ) -> Result<Response<InstructReply>, Status> {
        call!(
            self,
            Instruct,
            ControlRequest::Instruct(request.into_inner())
        )
    }

    async fn suspect(
        &self,
        request: Request<SuspectRequest>,
    ) -> Result<Response<SuspectReply>, Status> {
        call!(self, Suspect, ControlRequest::Suspect(request.into_inner()))
    }

    async fn retry(&self, request: Request<RetryRequest>) -> Result<Response<RetryReply>, Status> {
        call!(self, Retry, ControlRequest::Retry(request.into_inner()))
    }

    async fn slots(&self, _: Request<SlotsRequest>) -> Result<Response<SlotsReply>, Status> {
        call!(self, Slots, ControlRequest::Slots)
    }

    async fn switches(
        &self,
        _: Request<SwitchesRequest>,
    ) -> Result<Response<SwitchesReply>, Status> {
        call!(self, Switches, ControlRequest::Switches)
    }

    async fn ports(&self, request: Request<PortsRequest>) -> Result<Response<PortsReply>, Status> {
        call!(self, Ports, ControlRequest::Ports(request.into_inner()))
    }

    async fn flows(&self, request: Request<FlowsRequest>) -> Result<Response<FlowsReply>, Status> {
        call!(self, Flows, ControlRequest::Flows(request.into_inner()))
    }

    async fn clean(&self, request: Request<CleanRequest>) -> Result<Response<CleanReply>, Status> {
        call!(self, Clean, ControlRequest::Clean(request.into_inner()))
    }

    async fn clean_switch(
        &self,
        request: Request<CleanSwitchRequest>,
    ) -> Result<Response<CleanSwitchReply>, Status> {
        let dpid = request.into_inner().dpid;
        call!(self, CleanSwitch, ControlRequest::CleanSwitch { dpid })
    }

    async fn forget_switch(
        &self,
        request: Request<ForgetSwitchRequest>,
    ) -> Result<Response<ForgetSwitchReply>, Status> {
        let dpid = request.into_inner().dpid;
        call!(self, ForgetSwitch, ControlRequest::ForgetSwitch { dpid })
    }
}
