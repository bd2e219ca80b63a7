//! Dispatch of calls to services by the first part of the path (gRPC over HTTP/2: `/SERVICE/METHOD`).

use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// A gRPC service as tonic generates it.
pub(super) trait Grpc:
    Service<
        Request,
        Response = Response,
        Error = Infallible,
        Future = BoxFuture<Response, Infallible>,
    > + NamedService
    + Clone
    + Send
    + 'static
{
}

impl<S> Grpc for S where
    S: Service<
            Request,
            Response = Response,
            Error = Infallible,
            Future = BoxFuture<Response, Infallible>,
        > + NamedService
        + Clone
        + Send
        + 'static
{
}

/// Four services behind one endpoint. The first also gets calls for unknown services and answers them with UNIMPLEMENTED.
#[derive(Clone)]
pub(super) struct Routes<A, B, C, D>(pub(super) A, pub(super) B, pub(super) C, pub(super) D);

impl<A: Grpc, B: Grpc, C: Grpc, D: Grpc> Service<Request> for Routes<A, B, C, D> {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Services that tonic generates are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match request.uri().path().split('/').nth(1) {
            Some(name) if name == B::NAME => self.1.call(request),
            Some(name) if name == C::NAME => self.2.call(request),
            Some(name) if name == D::NAME => self.3.call(request),
            Some(_) | None => self.0.call(request),
        }
    }
}
