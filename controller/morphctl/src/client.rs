//! Calls to morphd: how long an answer may take, and what a missing answer means.

use std::future::Future;
use std::time::Duration;

use morph_api::management::VersionRequest;
use morph_api::management::management_client::ManagementClient;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use crate::failure::{Effect, Failure};

pub(crate) type Client = ManagementClient<Channel>;

/// Largest answer in bytes: the rules of a large switch exceed gRPC's default of 4 MiB.
const MAX_ANSWER: usize = 256 << 20;
/// Deadline of a call that changes nothing.
const READ_DEADLINE: Duration = Duration::from_secs(30);
/// Silence after which morphd is probed during a change or a stream; also the deadline of the probe.
const SILENCE: Duration = Duration::from_secs(10);

pub(crate) fn new(channel: Channel) -> Client {
    Client::new(channel).max_decoding_message_size(MAX_ANSWER)
}

/// Awaits the answer to a call that changes nothing.
pub(crate) async fn read<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(READ_DEADLINE, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::of_status(&status, Effect::Reads)),
        Err(_) => {
            let seconds = READ_DEADLINE.as_secs();
            Err(Failure::Unreachable(format!(
                "morphd did not answer within {seconds} s"
            )))
        }
    }
}

/// Awaits the answer to a call that changes something. After Ctrl-C or silence its outcome is unknown.
pub(crate) async fn change<T>(
    client: &Client,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match wait(client, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::of_status(&status, Effect::Changes)),
        Err(interruption) => Err(Failure::lost(interruption.reason(), Effect::Changes)),
    }
}

/// Opens a stream of a call that changes nothing.
pub(crate) async fn open<T>(
    client: &Client,
    call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
) -> Result<Streaming<T>, Failure> {
    match wait(client, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::of_status(&status, Effect::Reads)),
        Err(interruption) => Err(Failure::Unreachable(interruption.reason().into())),
    }
}

/// Awaits the next message of a stream that changes nothing; None at its end.
pub(crate) async fn next<T>(
    client: &Client,
    stream: &mut Streaming<T>,
) -> Result<Option<T>, Failure> {
    match wait(client, stream.message()).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(status)) => Err(Failure::of_status(&status, Effect::Reads)),
        Err(interruption) => Err(Failure::Unreachable(interruption.reason().into())),
    }
}

/// Failure of an answer that lacks its main part.
pub(crate) fn incomplete(part: &str) -> Failure {
    Failure::Unknown(format!(
        "morphd's answer is incomplete, it lacks {part} (is morphd of another version than morphctl?)"
    ))
}

/// Reason why a wait ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interruption {
    CtrlC,
    /// morphd neither answers nor responds to a probe.
    Silence,
}

impl Interruption {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Interruption::CtrlC => "interrupted",
            Interruption::Silence => "morphd does not respond",
        }
    }
}

/// Waits without a deadline, as long as morphd is alive and nobody presses Ctrl-C.
pub(crate) async fn wait<T>(
    client: &Client,
    future: impl Future<Output = T>,
) -> Result<T, Interruption> {
    let is_alive = || {
        let mut client = client.clone();
        async move {
            match client.version(VersionRequest {}).await {
                Ok(_) => true,
                // A broken transport also ends the awaited call, with a better reason. A refusal shows that morphd is alive.
                Err(status) => std::error::Error::source(&status).is_none(),
            }
        }
    };
    wait_while(SILENCE, is_alive, future).await
}

async fn wait_while<T, A: Future<Output = bool>>(
    silence: Duration,
    is_alive: impl Fn() -> A,
    future: impl Future<Output = T>,
) -> Result<T, Interruption> {
    let mut future = std::pin::pin!(future);
    loop {
        let probe = async {
            tokio::time::sleep(silence).await;
            tokio::time::timeout(silence, is_alive()).await == Ok(true)
        };
        tokio::select! {
            biased;
            done = &mut future => return Ok(done),
            Ok(()) = tokio::signal::ctrl_c() => return Err(Interruption::CtrlC),
            alive = probe => {
                if !alive {
                    return Err(Interruption::Silence);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_with<T>(alive: bool, future: impl Future<Output = T>) -> Result<T, Interruption> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(wait_while(
                Duration::from_millis(1),
                || std::future::ready(alive),
                future,
            ))
    }

    #[test]
    fn a_wait_lasts_as_long_as_morphd_is_alive() {
        let slow = async { tokio::time::sleep(Duration::from_millis(20)).await };
        assert_eq!(wait_with(true, slow), Ok(()));
        let never = std::future::pending::<()>();
        assert_eq!(wait_with(false, never), Err(Interruption::Silence));
    }
}
