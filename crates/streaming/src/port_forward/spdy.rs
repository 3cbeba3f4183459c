//! Port-forward over SPDY: for each connection the client opens two streams, one for data and one
//! for the error, with the same `requestid` and the port in their headers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pinpod_pod::Engine;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Pair, forward, pod_gone};
use crate::request::PortForward;
use crate::spdy::OpenStream;

/// How often is looked for streams that wait for their other.
const SWEEP: Duration = Duration::from_secs(1);

/// Serves one client until it goes away or the pod does.
pub(crate) async fn run(
    engine: &Engine,
    what: &PortForward,
    setup: Duration,
    opened: mpsc::Receiver<OpenStream>,
) {
    tokio::select! {
        () = serve(what, setup, opened) => {}
        () = pod_gone(engine, what) => tracing::debug!(pod = %what.pod, "stopped while forwarded"),
    }
}

pub(super) async fn serve(
    what: &PortForward,
    setup: Duration,
    mut opened: mpsc::Receiver<OpenStream>,
) {
    let mut halves = Halves::default();
    let mut running = JoinSet::new();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            stream = opened.recv() => {
                let Some(stream) = stream else { return };
                match halves.add(stream, Instant::now()) {
                    Ok(Some(pair)) => {
                        let what = what.clone();
                        running.spawn(async move {
                            // When the client is gone, the connection's end is on its way.
                            forward(&what, pair).await.unwrap_or_default();
                        });
                    }
                    Ok(None) => {}
                    Err(stream) => refuse(*stream, "a stream that fits no connection").await,
                }
            }
            Some(_) = running.join_next() => {}
            _ = sweep.tick() => {
                for stream in halves.expire(setup, Instant::now()) {
                    refuse(stream, "a stream whose other never came").await;
                }
            }
        }
    }
}

async fn refuse(stream: OpenStream, why: &str) {
    tracing::debug!(stream = stream.id, "{why}");
    stream.outgoing.reset().await.unwrap_or_default();
}

/// Streams that wait for their other. Their number is bounded by that of a connection's streams.
#[derive(Debug, Default)]
pub(crate) struct Halves {
    waiting: HashMap<String, (Instant, Kind, u16, OpenStream)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

impl Halves {
    /// The connection, when this stream completes one.
    pub(crate) fn add(
        &mut self,
        stream: OpenStream,
        now: Instant,
    ) -> Result<Option<Pair>, Box<OpenStream>> {
        let kind = match stream.header("streamtype") {
            Some("data") => Kind::Data,
            Some("error") => Kind::Error,
            _ => return Err(Box::new(stream)),
        };
        let port = stream.header("port").and_then(|port| port.parse().ok());
        let Some(port) = port.filter(|&port: &u16| port != 0) else {
            return Err(Box::new(stream));
        };
        let request = match (stream.header("requestid"), kind) {
            (Some(id), _) => id.to_owned(),
            // Clients from before this header open the error stream, then the data stream.
            (None, Kind::Error) => format!("stream {}", stream.id),
            (None, Kind::Data) => format!("stream {}", stream.id.saturating_sub(2)),
        };
        let Some((since, other_kind, other_port, other)) = self.waiting.remove(&request) else {
            self.waiting.insert(request, (now, kind, port, stream));
            return Ok(None);
        };
        if other_kind == kind || other_port != port {
            self.waiting
                .insert(request, (since, other_kind, other_port, other));
            return Err(Box::new(stream));
        }
        let (data, error) = match kind {
            Kind::Data => (stream, other),
            Kind::Error => (other, stream),
        };
        Ok(Some(Pair {
            port,
            from_client: data.incoming,
            to_client: data.outgoing,
            error: error.outgoing,
            ends: true,
            reset: data.reset,
        }))
    }

    /// Those that have waited too long.
    fn expire(&mut self, limit: Duration, now: Instant) -> Vec<OpenStream> {
        let late = |since: Instant| now.duration_since(since) >= limit;
        let expired = self.waiting.extract_if(|_, (since, ..)| late(*since));
        expired.map(|(_, (.., stream))| stream).collect()
    }
}
