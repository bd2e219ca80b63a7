//! gRPC service of `store.proto`.

use std::pin::Pin;
use std::sync::Arc;

use morph_api::store::store_server;
use morph_api::store::{
    BackupPart, BackupRequest, CheckProgress, CheckRequest, CommitReply, ReadReply, ReadRequest,
    StatusReply, StatusRequest, Transaction, WatchReply, WatchRequest,
};
use tokio::sync::{mpsc, watch as watching};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::outflow::{self, Parts};
use super::status::status;
use super::watch;
use crate::engine::{Engine, EngineError, File};

/// Messages that are sent ahead of a watcher. The transport buffers too, and the rest waits in the subscriber queue.
const AHEAD: usize = 2;

pub(super) struct Service {
    engine: Engine,
    /// Cloned once for each open watch, to count them.
    watches: Arc<()>,
    /// Becomes true when the daemon ends.
    ended: watching::Receiver<bool>,
}

impl Service {
    pub(super) fn new(engine: Engine, ended: watching::Receiver<bool>) -> Self {
        Service {
            engine,
            watches: Arc::new(()),
            ended,
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Arc<File>) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, Status> {
        let file = self.engine.file();
        match tokio::task::spawn_blocking(move || work(file)).await {
            Ok(result) => result.map_err(|error| status(&error)),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }
}

#[tonic::async_trait]
impl store_server::Store for Service {
    async fn commit(&self, request: Request<Transaction>) -> Result<Response<CommitReply>, Status> {
        match self.engine.commit(request.into_inner()).await {
            Ok(reply) => Ok(Response::new(reply)),
            Err(error) => Err(status(&error)),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchReply, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let started = self.engine.watch(request.into_inner()).await;
        let started = started.map_err(|error| status(&error))?;
        let (replies, stream) = mpsc::channel(AHEAD);
        let (open, ended) = (Arc::clone(&self.watches), self.ended.clone());
        tokio::spawn(async move {
            watch::run(started, replies, ended).await;
            drop(open);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadReply>, Status> {
        let request = request.into_inner();
        let reply = self.blocking(move |file| file.read(&request)).await?;
        Ok(Response::new(reply))
    }

    type BackupStream = Parts<BackupPart>;

    async fn backup(
        &self,
        _: Request<BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let export = self.blocking(|file| file.export()).await?;
        Ok(Response::new(outflow::send_parts(export)))
    }

    type CheckStream = Parts<CheckProgress>;

    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<Self::CheckStream>, Status> {
        let check = self.blocking(|file| file.check()).await?;
        Ok(Response::new(outflow::send_parts(check)))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let incarnation = self.engine.incarnation();
        let reply = self.blocking(|file| file.status()).await?;
        let watches = Arc::strong_count(&self.watches) - 1;
        Ok(Response::new(StatusReply {
            incarnation,
            watches: u32::try_from(watches).unwrap_or(u32::MAX),
            backend: self.engine.source().to_owned(),
            trouble: self.engine.trouble().unwrap_or_default(),
            ..reply
        }))
    }
}
