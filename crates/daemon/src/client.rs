//! Connects to a CRI socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// A channel to the daemon on `socket`, or `None` when nobody listens there.
///
/// # Errors
/// If somebody listens but does not speak HTTP/2.
pub(crate) async fn connect(socket: &Path) -> anyhow::Result<Option<Channel>> {
    if UnixStream::connect(socket).await.is_err() {
        return Ok(None);
    }
    let path: PathBuf = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The address is only a name here: the connector knows the socket.
    let channel = Endpoint::from_static("http://pinpod")
        .connect_timeout(Duration::from_secs(5))
        .connect_with_connector(connector)
        .await
        .with_context(|| format!("nobody speaks gRPC on {}", socket.display()))?;
    Ok(Some(channel))
}
