//! Port-forward: connections to ports on a pod's loopback.

mod connect;
mod copy;
mod spdy;
#[cfg(test)]
mod tests;
mod websocket;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use spdy::Halves;
pub(crate) use spdy::run as run_spdy;
pub(crate) use websocket::{Protocol, run as run_websocket};

use std::time::Duration;

use bytes::Bytes;
use pinpod_pod::{Engine, PodState};
use tokio_util::sync::CancellationToken;

use crate::chain;
use crate::channel::{ClientGone, Incoming, Outgoing};
use crate::request::PortForward;

/// The protocol's name, in `X-Stream-Protocol-Version` and inside of a tunnel.
pub(crate) const SPDY_PROTOCOL: &str = "portforward.k8s.io";

/// How often is looked whether the pod is still there.
const POD_CHECK: Duration = Duration::from_secs(5);

/// The client's streams for one connection.
#[derive(Debug)]
pub(crate) struct Pair {
    port: u16,
    from_client: Incoming,
    to_client: Outgoing,
    error: Outgoing,
    /// Whether the client can end its direction by itself.
    ends: bool,
    /// The client wants no more of it.
    reset: CancellationToken,
}

/// Forwards one connection to its end.
async fn forward(what: &PortForward, pair: Pair) -> Result<(), ClientGone> {
    let Pair {
        port,
        from_client,
        to_client,
        error,
        ends,
        reset,
    } = pair;
    let connected = tokio::select! {
        connected = connect::connect(what.netns.as_deref(), port) => connected,
        () = reset.cancelled() => return error.end().await,
    };
    match connected {
        Ok(socket) => {
            tokio::select! {
                copied = copy::both_ways(socket, from_client, to_client, ends) => copied?,
                () = reset.cancelled() => {}
            }
        }
        Err(refusal) => {
            let text = chain(&refusal);
            tracing::debug!(pod = %what.pod, port, "{text}");
            let text = format!(
                "cannot forward port {port} of pod sandbox {}: {text}",
                what.pod
            );
            error.send(Bytes::from(text)).await?;
            to_client.end().await?;
        }
    }
    error.end().await
}

/// Returns when the pod is stopped or gone: a connection would keep its network alive.
async fn pod_gone(engine: &Engine, what: &PortForward) {
    loop {
        match engine.pod(what.pod.as_str()) {
            Ok(pod) if pod.state == PodState::Ready => tokio::time::sleep(POD_CHECK).await,
            _ => return,
        }
    }
}
