//! Bytes between a socket and a client, with half-close in both directions. Each direction waits
//! for its receiver, so at most a few chunks are held.

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::channel::{CHUNK, ClientGone, Incoming, Outgoing};

/// Copies until both directions have ended. A client that cannot end its direction by itself
/// (`ends` is false) has ended it when the pod has.
pub(super) async fn both_ways(
    socket: TcpStream,
    from_client: Incoming,
    to_client: Outgoing,
    ends: bool,
) -> Result<(), ClientGone> {
    let (read, write) = socket.into_split();
    let mut inward = std::pin::pin!(inward(from_client, write));
    let mut outward = std::pin::pin!(outward(read, to_client));
    tokio::select! {
        // What the pod answers may still come.
        () = &mut inward => outward.await,
        told = &mut outward => {
            told?;
            if ends {
                inward.await;
            }
            Ok(())
        }
    }
}

/// Until the client has no more, or the pod takes no more.
async fn inward(mut from_client: Incoming, mut socket: OwnedWriteHalf) {
    while let Some(bytes) = from_client.next().await {
        if let Err(error) = socket.write_all(&bytes).await {
            tracing::trace!(%error, "the pod takes no more");
            return;
        }
    }
    if let Err(error) = socket.shutdown().await {
        tracing::trace!(%error, "the pod has closed already");
    }
}

async fn outward(mut socket: OwnedReadHalf, to_client: Outgoing) -> Result<(), ClientGone> {
    let mut buffer = vec![0; CHUNK];
    loop {
        // A connection that the pod resets has ended, and a client cannot be told more.
        let count = socket.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            return to_client.end().await;
        }
        let bytes = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
        to_client.send(bytes).await?;
    }
}
