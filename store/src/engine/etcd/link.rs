//! The connection: one endpoint at a time, the next one when it fails; and what etcd's errors mean.
//!
//! Not etcd-client's balancing over all endpoints: a member that is cut off from the others answers nothing, and must
//! be left, not asked every third time.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use tokio::time::Instant;
use tonic::Code;

use super::options::EtcdUrl;
use crate::engine::error::EngineError;

/// How long a call may take. A transaction takes milliseconds; a new leader is there after one or two seconds.
const CALL: Duration = Duration::from_secs(2);
/// What a call gets at least, however late it is.
const LEAST: Duration = Duration::from_millis(300);
const CONNECT: Duration = Duration::from_secs(1);
/// etcd closes connections that ask more often than every five seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(6);
/// Where the password is if no file is named.
const PASSWORD: &str = "MORPH_ETCD_PASSWORD";

/// A call that brought no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// etcd says no: nothing has happened.
    Refused(EngineError),
    /// It is not known what has happened.
    Away(String),
    /// What was asked for is not in etcd's history any more.
    Compacted,
}

impl From<Trouble> for EngineError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(error) => error,
            Trouble::Away(message) => EngineError::Away(message),
            Trouble::Compacted => EngineError::Away("etcd has compacted its history".into()),
        }
    }
}

pub(super) struct Link {
    url: Arc<EtcdUrl>,
    connect: ConnectOptions,
    /// Of the endpoints.
    at: usize,
    client: Option<Client>,
    deadline: Option<Instant>,
    /// The last answer.
    heard: Option<Instant>,
}

impl Link {
    /// Reads the files that the URL names; connects at the first call.
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

    /// Another one, with a connection of its own.
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

    /// The endpoint in use.
    pub(super) fn endpoint(&self) -> &str {
        let at = self.at % self.url.endpoints.len().max(1);
        self.url.endpoints.get(at).map_or("", String::as_str)
    }

    /// When a call was answered last.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Calls are given up at this instant, if they would not be before.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Calls, within the time that a call may take. An endpoint that does not answer is left for the next one.
    pub(super) async fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Trouble> {
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
            Err(_) => Trouble::Away(format!("{} does not answer", self.endpoint())),
        };
        if let Trouble::Away(_) = trouble {
            self.leave();
        }
        Err(trouble)
    }

    /// Goes to the next endpoint with the next call.
    pub(super) fn leave(&mut self) {
        self.client = None;
        self.at += 1;
    }

    fn trouble(&mut self, error: &Error) -> Trouble {
        let Error::GRpcStatus(status) = error else {
            return Trouble::Away(format!("{}: {}", self.endpoint(), words(error)));
        };
        let message = status.message();
        match status.code() {
            Code::ResourceExhausted if message.contains("space exceeded") => {
                Trouble::Refused(EngineError::EtcdFull)
            }
            Code::OutOfRange if message.contains("compacted") => Trouble::Compacted,
            Code::Unauthenticated | Code::PermissionDenied => self.not_let_in(message),
            Code::InvalidArgument if message.contains("auth") || message.contains("user name") => {
                self.not_let_in(message)
            }
            Code::InvalidArgument | Code::FailedPrecondition => {
                Trouble::Refused(EngineError::Away(format!("etcd refuses: {message}")))
            }
            _ => Trouble::Away(format!("{}: {}", self.endpoint(), words(error))),
        }
    }

    fn not_let_in(&mut self, message: &str) -> Trouble {
        // A token that has expired is no reason to go on with it.
        self.client = None;
        let who = match &self.url.user {
            Some(user) => format!("etcd does not let user {user:?} in"),
            None => "etcd asks for a user".to_owned(),
        };
        let mend = format!("check user=, and the password in password-file= or {PASSWORD}");
        Trouble::Refused(EngineError::NotLetIn(format!("{who}: {message}; {mend}")))
    }
}

fn password(url: &EtcdUrl) -> Result<String, EngineError> {
    let Some(path) = &url.password_file else {
        return std::env::var(PASSWORD).map_err(|_| {
            let mend = format!("name a password-file= or set {PASSWORD}");
            EngineError::NotLetIn(format!("user= without a password; {mend}"))
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

/// An error with its causes, which is where TLS says what it does not like.
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
