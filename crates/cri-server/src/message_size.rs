//! Messages that are too long: the status that gRPC has for them.
//!
//! tonic answers `OutOfRange` for a message above the limit; every other implementation of gRPC
//! answers `ResourceExhausted` (its document on status codes: "the received message is larger than
//! the configured maximum"). No handler here ever answers `OutOfRange`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::Code;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tower::{Layer, Service};

/// The header of the gRPC specification ("Responses", Status).
const HEADER: &str = "grpc-status";

/// Turns the one status into the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageSizeLayer;

impl<S> Layer<S> for MessageSizeLayer {
    type Service = MessageSize<S>;

    fn layer(&self, inner: S) -> MessageSize<S> {
        MessageSize { inner }
    }
}

/// The service that [`MessageSizeLayer`] makes.
#[derive(Clone, Debug)]
pub struct MessageSize<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for MessageSize<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            let number = |code: Code| HeaderValue::from(i32::from(code));
            if let Some(status) = answer.headers_mut().get_mut(HEADER)
                && *status == number(Code::OutOfRange)
            {
                *status = number(Code::ResourceExhausted);
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::Status;

    use super::*;

    #[tokio::test]
    async fn only_the_one_status_changes() {
        for (given, expected) in [
            (Code::OutOfRange, Code::ResourceExhausted),
            (Code::NotFound, Code::NotFound),
        ] {
            let inner = tower::service_fn(move |_: Request<()>| async move {
                Ok::<_, Infallible>(Status::new(given, "too long").into_http::<()>())
            });
            let answer = MessageSizeLayer.layer(inner).call(Request::new(())).await;
            let status = Status::from_header_map(answer.unwrap().headers()).unwrap();
            assert_eq!((status.code(), status.message()), (expected, "too long"));
        }
    }
}
