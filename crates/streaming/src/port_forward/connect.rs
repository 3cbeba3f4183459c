//! A connection to a port on the loopback of a pod, made from the node: the socket is made on a
//! thread inside of the pod's network namespace, and stays in it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use pinpod_kernel::namespace::{EnterError, enter_thread};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::net::{TcpSocket, TcpStream};

/// How long one attempt may take. Loopback answers at once unless a firewall is silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The pod's network namespace.
    #[error("its network cannot be entered")]
    Namespace(#[from] EnterError),
    /// The thread for it ended early.
    #[error("its network cannot be entered")]
    Thread(#[from] tokio::task::JoinError),
    /// Neither address.
    #[error("nothing takes connections on 127.0.0.1 ({v4}) or ::1 ({v6})")]
    Refused {
        /// Over IPv4.
        v4: io::Error,
        /// Over IPv6.
        v6: io::Error,
    },
}

/// Connects over IPv4, else over IPv6; on the node's own network without a namespace.
///
/// # Errors
/// [`ConnectError`].
pub(super) async fn connect(netns: Option<&Path>, port: u16) -> Result<TcpStream, ConnectError> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    match attempt(netns, AddressFamily::INET, v4).await? {
        Ok(stream) => Ok(stream),
        Err(v4) => match attempt(netns, AddressFamily::INET6, v6).await? {
            Ok(stream) => Ok(stream),
            Err(v6) => Err(ConnectError::Refused { v4, v6 }),
        },
    }
}

async fn attempt(
    netns: Option<&Path>,
    family: AddressFamily,
    address: SocketAddr,
) -> Result<io::Result<TcpStream>, ConnectError> {
    let socket = match netns {
        None => socket(family),
        Some(netns) => {
            let netns = netns.to_owned();
            let enter = move || enter_thread(&[&netns], || socket(family));
            tokio::task::spawn_blocking(enter).await??
        }
    };
    let connecting = async {
        let socket = TcpSocket::from_std_stream(StdTcpStream::from(socket?));
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let connected = tokio::time::timeout(PATIENCE, connecting).await;
    Ok(connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
}

fn socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn either_family_will_do_and_both_refusals_are_told() {
        let v4 = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = v4.local_addr().unwrap().port();
        connect(None, port).await.unwrap();
        drop(v4);
        let refused = connect(None, port).await.unwrap_err().to_string();
        assert!(
            refused.contains("127.0.0.1 (Connection refused"),
            "{refused}"
        );
        if let Ok(v6) = TcpListener::bind("[::1]:0").await {
            let port = v6.local_addr().unwrap().port();
            connect(None, port).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_namespace_that_is_gone_is_told() {
        let error = connect(Some(Path::new("/run/netns/none-such")), 80).await;
        assert!(matches!(error, Err(ConnectError::Namespace(_))));
    }
}
