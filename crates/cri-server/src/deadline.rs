//! Callers' deadlines: a request that is not answered in time is given up with the status that
//! gRPC has for it.
//!
//! A gRPC client says how long it waits in `grpc-timeout`. tonic drops the request at that time too,
//! but answers `Cancelled`, and on a Unix socket that answer may reach the client before its own
//! timer ends: it then hears that it cancelled a call it did not cancel.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::Status;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};

/// The header of the gRPC specification ("Requests", Timeout).
const HEADER: &str = "grpc-timeout";
/// How much earlier than tonic a request is given up: its timers have this resolution.
const EARLIER: Duration = Duration::from_millis(1);

/// Answers `DeadlineExceeded` at the caller's deadline and drops the request, which is how a handler
/// learns that nobody waits any more. What a job has begun goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

/// The service that [`DeadlineLayer`] makes.
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(patience) = patience(request.headers()) else {
            return Box::pin(self.inner.call(request));
        };
        let path = request.uri().path().to_owned();
        let answer = self.inner.call(request);
        Box::pin(async move {
            match tokio::time::timeout(patience.saturating_sub(EARLIER), answer).await {
                Ok(answered) => answered,
                Err(_) => Ok(exceeded(&path, patience).into_http()),
            }
        })
    }
}

fn exceeded(path: &str, patience: Duration) -> Status {
    let method = path.rsplit('/').next().unwrap_or(path);
    Status::deadline_exceeded(format!(
        "{method} was not done within the {patience:?} that its caller gave it"
    ))
}

/// How long the caller waits: at most eight digits and a unit. What cannot be read is no deadline;
/// the client keeps its own.
fn patience(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::Code;

    use super::*;

    fn request(timeout: &str) -> Request<()> {
        Request::builder()
            .uri("/runtime.v1.ImageService/PullImage")
            .header(HEADER, timeout)
            .body(())
            .unwrap()
    }

    #[test]
    fn timeouts_of_the_header() {
        for (value, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("120000m", Some(Duration::from_secs(120))),
            ("981u", Some(Duration::from_micros(981))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("999999999n", None),
            ("-1S", None),
            ("S", None),
            ("1", None),
            ("", None),
            ("1\u{e9}", None),
        ] {
            assert_eq!(patience(request(value).headers()), expected, "{value:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_passes_and_a_late_one_does_not() {
        for (timeout, takes, code) in [
            ("1S", 900, Code::Ok),
            ("1S", 1100, Code::DeadlineExceeded),
            ("1m", 1, Code::DeadlineExceeded),
        ] {
            let inner = tower::service_fn(move |_: Request<()>| async move {
                tokio::time::sleep(Duration::from_millis(takes)).await;
                Ok::<_, Infallible>(Response::new(String::new()))
            });
            let answer = DeadlineLayer
                .layer(inner)
                .call(request(timeout))
                .await
                .unwrap();
            let status = Status::from_header_map(answer.headers());
            assert_eq!(status.map_or(Code::Ok, |status| status.code()), code);
        }
    }
}
