//! Connection to etcd, one endpoint at a time and the next one after a failure, and the meaning of etcd's errors.
//!
//! The balancing of etcd-client over all endpoints is not used: a member that is cut off from the others answers
//! nothing, and must be left instead of being asked every third time.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use tokio::time::Instant;
use tonic::Code;

use super::options::EtcdUrl;
use crate::engine::error::EngineError;

/// Maximum duration of a call. A transaction takes milliseconds, and a new leader is elected within one or two
/// seconds.
const CALL: Duration = Duration::from_secs(2);
/// Minimum time for a call, however close the deadline is.
const LEAST: Duration = Duration::from_millis(300);
const CONNECT: Duration = Duration::from_secs(1);
/// Interval of keep-alives. etcd closes connections that send more than one in five seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(6);
/// Environment variable of the password, if no file is named.
const PASSWORD: &str = "MORPH_ETCD_PASSWORD";

#[derive(Debug)]
pub(super) enum CallError {
    /// etcd refused the call, and nothing was changed.
    Refused(EngineError),
    /// No answer came, so the outcome is unknown.
    Unreachable(String),
    /// The requested revision is no longer in etcd's history.
    Compacted,
}

impl From<CallError> for EngineError {
    fn from(trouble: CallError) -> Self {
        match trouble {
            CallError::Refused(error) => error,
            CallError::Unreachable(message) => EngineError::Unreachable(message),
            CallError::Compacted => {
                EngineError::Unreachable("etcd has compacted its history".into())
            }
        }
    }
}

pub(super) struct Link {
    url: Arc<EtcdUrl>,
    connect: ConnectOptions,
    /// Index of the endpoint in use.
    at: usize,
    client: Option<Client>,
    deadline: Option<Instant>,
    /// Time of the last answer.
    heard: Option<Instant>,
}

impl Link {
    /// Reads the files that the URL names. Connects at the first call.
    pub(super) fn new(url: Arc<EtcdUrl>) -> Result<Link, EngineError> {
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(KEEP_ALIVE, CALL)
            .with_auto_token_refresh(true)
            .with_require_leader(true);
        if let Some(user) = &url.user {
            connect = connect.with_user(user, password(&url)?);
        }
        if url.tls {
            connect = connect.with_tls(tls(&url)?);
        }
        Ok(Link {
            url,
            connect,
            at: 0,
            client: None,
            deadline: None,
            heard: None,
        })
    }

    /// Returns a link with a connection of its own.
    pub(super) fn another(&self) -> Link {
        Link {
            url: Arc::clone(&self.url),
            connect: self.connect.clone(),
            at: self.at,
            client: None,
            deadline: None,
            heard: None,
        }
    }

    pub(super) fn url(&self) -> &EtcdUrl {
        &self.url
    }

    pub(super) fn endpoint(&self) -> &str {
        let at = self.at % self.url.endpoints.len().max(1);
        self.url.endpoints.get(at).map_or("", String::as_str)
    }

    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Limits all further calls to this instant.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Makes a call within its time limit. After a failure the next call uses the next endpoint.
    pub(super) async fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<T, CallError> {
        let left = self.deadline.map(|d| d - Instant::now());
        let limit = left.map_or(CALL, |left| left.clamp(LEAST, CALL));
        let whole = async {
            let client = match &mut self.client {
                Some(client) => client,
                None => {
                    let scheme = if self.url.tls { "https" } else { "http" };
                    let at = self.at % self.url.endpoints.len().max(1);
                    let endpoint = self.url.endpoints.get(at).map_or("", String::as_str);
                    let endpoint = format!("{scheme}://{endpoint}");
                    let client = Client::connect([endpoint], Some(self.connect.clone())).await?;
                    self.client.insert(client)
                }
            };
            call(client).await
        };
        let trouble = match tokio::time::timeout(limit, whole).await {
            Ok(Ok(answer)) => {
                self.heard = Some(Instant::now());
                return Ok(answer);
            }
            Ok(Err(error)) => self.trouble(&error),
            Err(_) => CallError::Unreachable(format!("{} does not answer", self.endpoint())),
        };
        if let CallError::Unreachable(_) = trouble {
            self.leave();
        }
        Err(trouble)
    }

    /// Switches to the next endpoint.
    pub(super) fn leave(&mut self) {
        self.client = None;
        self.at += 1;
    }

    fn trouble(&mut self, error: &Error) -> CallError {
        let Error::GRpcStatus(status) = error else {
            return CallError::Unreachable(format!("{}: {}", self.endpoint(), words(error)));
        };
        let message = status.message();
        match status.code() {
            Code::ResourceExhausted if message.contains("space exceeded") => {
                CallError::Refused(EngineError::EtcdFull)
            }
            Code::OutOfRange if message.contains("compacted") => CallError::Compacted,
            Code::Unauthenticated | Code::PermissionDenied => self.access_denied(message),
            Code::InvalidArgument if message.contains("auth") || message.contains("user name") => {
                self.access_denied(message)
            }
            Code::InvalidArgument | Code::FailedPrecondition => {
                CallError::Refused(EngineError::Unreachable(format!("etcd refuses: {message}")))
            }
            _ => CallError::Unreachable(format!("{}: {}", self.endpoint(), words(error))),
        }
    }

    fn access_denied(&mut self, message: &str) -> CallError {
        // The token may have expired, so the next call logs in again.
        self.client = None;
        let who = match &self.url.user {
            Some(user) => format!("etcd does not let user {user:?} in"),
            None => "etcd asks for a user".to_owned(),
        };
        let advice = format!("check user=, and the password in password-file= or {PASSWORD}");
        CallError::Refused(EngineError::AccessDenied(format!(
            "{who}: {message}; {advice}"
        )))
    }
}

fn password(url: &EtcdUrl) -> Result<String, EngineError> {
    let Some(path) = &url.password_file else {
        return std::env::var(PASSWORD).map_err(|_| {
            let advice = format!("name a password-file= or set {PASSWORD}");
            EngineError::AccessDenied(format!("user= without a password; {advice}"))
        });
    };
    let text = std::fs::read_to_string(path).map_err(|source| EngineError::Open {
        path: path.clone(),
        source,
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn tls(url: &EtcdUrl) -> Result<TlsOptions, EngineError> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|source| EngineError::Open {
            path: path.clone(),
            source,
        })
    };
    let mut tls = TlsOptions::new();
    if let Some(ca) = &url.ca {
        tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    if let (Some(cert), Some(key)) = (&url.cert, &url.key) {
        tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    Ok(tls)
}

/// Returns an error with its causes, which contain what TLS rejects.
pub(super) fn words(error: &Error) -> String {
    let (mut text, mut cause) = match error {
        Error::GRpcStatus(status) => (status.message().to_owned(), status.source()),
        Error::TransportError(error) => (error.to_string(), error.source()),
        other => (other.to_string(), None),
    };
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
