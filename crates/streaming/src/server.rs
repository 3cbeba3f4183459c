//! The server: one listener, URLs, and a bound on everything that a client can open.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pinpod_model::ContainerId;
use pinpod_pod::{ContainerPhase, Engine, PodState};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::StreamError;
use crate::activity::Socket;
use crate::http::answer;
use crate::request::{
    Action, AttachRequest, ExecRequest, PortForward, PortForwardRequest, RemoteCommand, Ticket,
    Wanted, invalid, ports,
};
use crate::tls::{Tls, TlsConfig};
use crate::token::Tokens;

/// Connections that may be without an upgrade at once.
const MAX_REQUESTS: usize = 512;
/// Upgraded connections at once, unless the configuration says otherwise.
pub const MAX_CONNECTIONS: usize = 1000;
/// How long a client may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last without an upgrade: a TLS handshake, the request, the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;
/// The longest request, in bytes.
const MAX_REQUEST: usize = 16 << 10;
/// How long the listener rests when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections are given to end when the server is stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How a server is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; port 0 means any that is free.
    pub address: SocketAddr,
    /// How to speak TLS; `None` for plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Upgraded connections that may be open at once.
    pub max_connections: usize,
    /// How long a connection may be without a byte in either direction.
    pub idle_timeout: Duration,
    /// How long a client may take to open the streams that it needs.
    pub setup_timeout: Duration,
}

impl Default for Config {
    /// Loopback, any port, no TLS; idle for four hours at most, as the kubelet has it; thirty seconds for
    /// the streams.
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            max_connections: MAX_CONNECTIONS,
            idle_timeout: Duration::from_secs(4 * 3600),
            setup_timeout: Duration::from_secs(30),
        }
    }
}

/// What all connections use.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) config: Config,
    tls: Option<Tls>,
    pub(crate) tokens: Tokens<Ticket>,
    pub(crate) sessions: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    pub(crate) ending: CancellationToken,
}

/// Gives URLs and serves them. Cheap to clone; the listener ends with [`Server::stop`].
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Server {
    /// Listens and begins to serve, on the tokio runtime that it is called in.
    ///
    /// # Errors
    /// [`StreamError::Tls`], [`StreamError::Bind`].
    pub fn bind(config: Config, engine: Engine) -> Result<Self, StreamError> {
        let tls = config.tls.clone().map(Tls::load).transpose()?;
        let address = config.address;
        let bind = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // A port that is given can be taken again at once after a restart.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bind().map_err(|source| StreamError::Bind { address, source })?;
        let shared = Arc::new(Shared {
            engine,
            sessions: Arc::new(Semaphore::new(config.max_connections)),
            config,
            tls,
            tokens: Tokens::default(),
            tasks: TaskTracker::new(),
            ending: CancellationToken::new(),
        });
        shared.tasks.spawn(accept(shared.clone(), listener));
        Ok(Self { shared, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the listener and every connection.
    pub async fn stop(&self) {
        self.shared.ending.cancel();
        self.shared.tasks.close();
        let ended = tokio::time::timeout(STOP_TIMEOUT, self.shared.tasks.wait()).await;
        if ended.is_err() {
            tracing::warn!("streaming connections did not end in time");
        }
    }

    /// A URL at which the command is run in the container.
    ///
    /// # Errors
    /// [`StreamError`]; nothing is started yet.
    pub fn exec_url(&self, request: ExecRequest) -> Result<String, StreamError> {
        if request.cmd.is_empty() {
            return Err(invalid("cmd", "no command"));
        }
        let wanted = Wanted {
            tty: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        self.remote_command(&request.container_id, Action::Exec(request.cmd), wanted)
    }

    /// A URL at which the container's first process is attached to.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn attach_url(&self, request: AttachRequest) -> Result<String, StreamError> {
        let wanted = Wanted {
            tty: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        self.remote_command(&request.container_id, Action::Attach, wanted)
    }

    /// A URL at which ports of the pod are forwarded.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn port_forward_url(&self, request: PortForwardRequest) -> Result<String, StreamError> {
        let ports = ports(&request.ports)?;
        let pod = self.shared.engine.pod(&request.pod_sandbox_id)?;
        if pod.state != PodState::Ready {
            return Err(StreamError::NotReady(pod.id.clone()));
        }
        self.issue(Ticket::PortForward(PortForward {
            pod: pod.id.clone(),
            netns: pod.namespaces.net.clone(),
            ports,
        }))
    }

    fn remote_command(
        &self,
        container: &str,
        action: Action,
        wanted: Wanted,
    ) -> Result<String, StreamError> {
        let wanted = wanted.check()?;
        let container: ContainerId = {
            let container = self.shared.engine.container(container)?;
            if !matches!(container.phase, ContainerPhase::Running { .. }) {
                return Err(StreamError::NotRunning(container.id.clone()));
            }
            container.id.clone()
        };
        self.issue(Ticket::RemoteCommand(RemoteCommand {
            container,
            action,
            wanted,
        }))
    }

    fn issue(&self, ticket: Ticket) -> Result<String, StreamError> {
        let word = ticket.word();
        let token = self.shared.tokens.issue(ticket, Instant::now())?;
        let scheme = match self.shared.tls {
            None => "http",
            Some(_) => "https",
        };
        let address = reachable(self.address);
        Ok(format!("{scheme}://{address}/{word}/{token}"))
    }
}

/// The address that a client on this node uses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut pending = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.ending.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                make_room(&mut pending);
                pending.push_back(begin(&shared, stream));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a streaming connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Closes the oldest of the connections that have not made their request, if they are too many: who
/// has something to ask asks at once, so it is one that says nothing.
fn make_room(pending: &mut VecDeque<AbortHandle>) {
    if pending.len() < MAX_REQUESTS {
        return;
    }
    pending.retain(|task| !task.is_finished());
    if pending.len() >= MAX_REQUESTS
        && let Some(oldest) = pending.pop_front()
    {
        tracing::debug!("too many streaming connections without a request: the oldest is closed");
        oldest.abort();
    }
}

fn begin(shared: &Arc<Shared>, stream: TcpStream) -> AbortHandle {
    let (shared, tasks) = (shared.clone(), shared.tasks.clone());
    let task = tasks.spawn(async move {
        let ending = shared.ending.clone();
        tokio::select! {
            served = tokio::time::timeout(ANSWER_TIMEOUT, serve(shared, stream)) => {
                if served.is_err() {
                    tracing::debug!("a streaming request took too long");
                }
            }
            () = ending.cancelled() => {}
        }
    });
    task.abort_handle()
}

/// Serves the one request of a connection.
async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a streaming connection was closed at once");
        return;
    }
    let stream = Arc::new(stream);
    let socket = Socket::new(stream.clone());
    let Some(tls) = &shared.tls else {
        return serve_http(shared, stream, socket).await;
    };
    let handshake = tls.acceptor().accept(socket);
    match tokio::time::timeout(REQUEST_TIMEOUT, handshake).await {
        Ok(Ok(socket)) => serve_http(shared, stream, socket).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn serve_http<IO>(shared: Arc<Shared>, stream: Arc<TcpStream>, io: IO)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| answer(shared.clone(), stream.clone(), request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(MAX_REQUEST)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a streaming request ended badly");
    }
}
