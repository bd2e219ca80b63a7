//! morphd's end of `supervisor.Proxy`.

use std::path::Path;
use std::time::Duration;

use morph_api::store::Seq;
use morph_api::supervisor::proxy_client::ProxyClient;
use morph_api::supervisor::{
    CleanReply, CleanRequest, CleanSwitchReply, CleanSwitchRequest, Configuration, FlowsReply,
    FlowsRequest, ForgetSwitchReply, ForgetSwitchRequest, HoldReply, HoldRequest, InstructRequest,
    Instruction, Observation, ObserveRequest, PortsReply, PortsRequest, ResumeReply, ResumeRequest,
    RetryReply, RetryRequest, SlotsReply, SlotsRequest, SuspectReply, SuspectRequest,
    SwitchesReply, SwitchesRequest, instruction,
};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

/// Longest wait for an answer that concerns only the proxy.
const LOCAL: Duration = Duration::from_secs(2);
/// Longest wait for an answer of switches: it may take a round trip to a slow one.
const SWITCHES: Duration = Duration::from_secs(10);
/// Longest wait for the rules of a switch, which others may be asking for.
const RULES: Duration = Duration::from_secs(28);
/// Longest message, in bytes: flow tables are large.
const MESSAGE: usize = 256 * 1024 * 1024;

/// Client of the proxy: cheap to clone, connects on its first call and again after the proxy was away.
#[derive(Debug, Clone)]
pub struct Proxy {
    client: ProxyClient<Channel>,
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) if status.code() == Code::Unknown || status.code() == Code::Cancelled => {
            Err(Status::unavailable(format!(
                "the proxy is away: {}",
                status.message()
            )))
        }
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::unavailable(format!(
            "the proxy did not answer within {limit:?}"
        ))),
    }
}

impl Proxy {
    /// Client of the proxy on this socket.
    pub fn new(socket: &Path) -> Self {
        let channel = morph_api::unix::connect_lazy(socket);
        Proxy {
            client: ProxyClient::new(channel).max_decoding_message_size(MESSAGE),
        }
    }

    /// Stream of everything that happens, first a snapshot.
    pub async fn observe(&self) -> Result<Streaming<Observation>, Status> {
        within(LOCAL, self.client.clone().observe(ObserveRequest {})).await
    }

    /// Tells the proxy which apps are present.
    pub async fn configure(&self, configuration: Configuration) -> Result<(), Status> {
        within(LOCAL, self.client.clone().configure(configuration))
            .await
            .map(drop)
    }

    /// Holds the slot of an app.
    pub async fn hold(
        &self,
        app: &str,
        quiesce: Duration,
        hold: Duration,
    ) -> Result<HoldReply, Status> {
        let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        let request = HoldRequest {
            app: app.to_owned(),
            quiesce_ms: millis(quiesce),
            hold_ms: millis(hold),
        };
        within(quiesce + LOCAL, self.client.clone().hold(request)).await
    }

    /// Makes an instance live; as one of a group, once the turns of all pass.
    pub async fn resume(&self, request: ResumeRequest) -> Result<ResumeReply, Status> {
        let wait = request.group.as_ref().map_or(0, |group| group.wait_ms);
        let limit = LOCAL + Duration::from_millis(wait.into());
        within(limit, self.client.clone().resume(request)).await
    }

    /// Sends an instruction to an instance.
    pub async fn instruct(
        &self,
        app: &str,
        instance: &str,
        what: instruction::Instruction,
    ) -> Result<(), Status> {
        let instruction = Instruction {
            instruction: Some(what),
        };
        let request = InstructRequest {
            app: app.to_owned(),
            instance: instance.to_owned(),
            instruction: instruction.encode_to_vec().into(),
        };
        within(LOCAL, self.client.clone().instruct(request))
            .await
            .map(drop)
    }

    /// Event that an instance died with, if there is a single one.
    pub async fn suspect(
        &self,
        app: &str,
        instance: &str,
        handling: Option<Seq>,
    ) -> Result<SuspectReply, Status> {
        let request = SuspectRequest {
            app: app.to_owned(),
            instance: instance.to_owned(),
            handling,
        };
        within(LOCAL, self.client.clone().suspect(request)).await
    }

    /// Queues a quarantined event again, and says where.
    pub async fn retry(&self, request: RetryRequest) -> Result<RetryReply, Status> {
        within(LOCAL, self.client.clone().retry(request)).await
    }

    pub async fn slots(&self) -> Result<SlotsReply, Status> {
        within(LOCAL, self.client.clone().slots(SlotsRequest {})).await
    }

    /// Switches that are connected.
    pub async fn switches(&self) -> Result<SwitchesReply, Status> {
        within(SWITCHES, self.client.clone().switches(SwitchesRequest {})).await
    }

    /// Ports of a switch, asked of the switch.
    pub async fn ports(&self, dpid: u64) -> Result<PortsReply, Status> {
        within(SWITCHES, self.client.clone().ports(PortsRequest { dpid })).await
    }

    /// Rules in a switch, asked of the switch.
    pub async fn flows(&self, dpid: u64) -> Result<FlowsReply, Status> {
        within(RULES, self.client.clone().flows(FlowsRequest { dpid })).await
    }

    /// Deletes an app's rules on all switches.
    pub async fn clean(&self, app: &str, id: u8) -> Result<CleanReply, Status> {
        let request = CleanRequest {
            app: app.to_owned(),
            id: u32::from(id),
        };
        within(SWITCHES, self.client.clone().clean(request)).await
    }

    /// Has all present apps delete what they have stored about a switch that is gone.
    pub async fn forget_switch(&self, dpid: u64) -> Result<ForgetSwitchReply, Status> {
        let request = ForgetSwitchRequest { dpid };
        within(LOCAL, self.client.clone().forget_switch(request)).await
    }

    /// Deletes all of Morpheus's rules on a switch.
    pub async fn clean_switch(&self, dpid: u64) -> Result<CleanSwitchReply, Status> {
        let request = CleanSwitchRequest { dpid };
        within(RULES, self.client.clone().clean_switch(request)).await
    }
}
