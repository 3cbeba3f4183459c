//! The clients of the tests.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use pinpod_command::{Command, Output};
use pinpod_cri_api::runtime::v1::{AttachRequest, ExecRequest, PortForwardRequest};
use pinpod_testkit::{Node, Result, tool};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

const DEADLINE: Duration = Duration::from_secs(120);
const OUTPUT_CAP: usize = 256 << 20;

/// An exec with stdout, and stdin and stderr as they are asked for.
pub(crate) fn request(id: &str, cmd: &[&str], stdin: bool, stderr: bool) -> ExecRequest {
    ExecRequest {
        container_id: id.to_owned(),
        cmd: cmd.iter().map(|word| (*word).to_owned()).collect(),
        stdin,
        stdout: true,
        stderr,
        tty: false,
    }
}

/// The URL of an exec.
pub(crate) async fn exec_url(node: &Node, request: ExecRequest) -> Result<String> {
    let response = node.runtime().exec(request).await;
    Ok(response.context("Exec")?.into_inner().url)
}

/// The URL of an attach, with stdin and stdout.
pub(crate) async fn attach_url(node: &Node, id: &str) -> Result<String> {
    let request = AttachRequest {
        container_id: id.to_owned(),
        stdin: true,
        stdout: true,
        ..Default::default()
    };
    let response = node.runtime().attach(request).await;
    Ok(response.context("Attach")?.into_inner().url)
}

/// The URL of a port-forward.
pub(crate) async fn forward_url(node: &Node, pod: &str, ports: &[i32]) -> Result<String> {
    let request = PortForwardRequest {
        pod_sandbox_id: pod.to_owned(),
        port: ports.to_vec(),
    };
    let response = node.runtime().port_forward(request).await;
    Ok(response.context("PortForward")?.into_inner().url)
}

/// Runs `stream-client` to its end.
pub(crate) async fn stream_client(args: &[&str], stdin: &[u8]) -> Result<Output> {
    let command = Command::new(tool("stream-client")?).args(args.iter().copied());
    let command = command.stdin_bytes(stdin).output_cap(OUTPUT_CAP);
    Ok(command.run(DEADLINE).await?)
}

/// A `stream-client` that goes on beside the test, with pipes. It is killed when it is dropped.
#[allow(
    clippy::disallowed_methods,
    reason = "a client that runs beside the test, and that the test may kill"
)]
pub(crate) fn start_client(args: &[&str]) -> Result<Child> {
    let mut command = tokio::process::Command::new(tool("stream-client")?);
    command.args(args).env_clear().kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command.spawn()?)
}

/// A port-forward that goes on while it is held.
pub(crate) struct Forward {
    _client: Child,
    ports: Vec<u16>,
}

impl Forward {
    /// Forwards these ports of a URL's pod.
    pub(crate) async fn start(transport: &str, url: &str, ports: &[i32]) -> Result<Self> {
        let pairs: Vec<String> = ports.iter().map(|port| format!("0:{port}")).collect();
        let mut args = vec!["portforward", "-transport", transport, url];
        args.extend(pairs.iter().map(String::as_str));
        let mut client = start_client(&args)?;
        let mut lines = BufReader::new(client.stdout.take().context("stdout")?).lines();
        let mut local = Vec::new();
        while local.len() < ports.len() {
            let line = lines.next_line().await?.context("the client's ports")?;
            let port = line.split(' ').next().unwrap_or_default();
            local.push(port.parse().with_context(|| line.clone())?);
        }
        Ok(Self {
            _client: client,
            ports: local,
        })
    }

    /// A connection to one of the ports, by its place in the list.
    pub(crate) async fn connect(&self, index: usize) -> Result<TcpStream> {
        Ok(TcpStream::connect(("127.0.0.1", self.ports[index])).await?)
    }
}

/// Where a URL's server listens.
pub(crate) fn address(url: &str) -> Result<SocketAddr> {
    let mut parts = url.split('/');
    ensure!(parts.next() == Some("http:"), "{url}");
    let host = parts.nth(1).context("no host")?;
    Ok(host.parse()?)
}

/// A WebSocket, upgraded with this subprotocol.
pub(crate) async fn websocket(
    url: &str,
    protocol: &'static str,
) -> Result<WebSocketStream<TcpStream>> {
    let mut request = url.replacen("http", "ws", 1).into_client_request()?;
    let name = HeaderValue::from_static(protocol);
    request.headers_mut().insert("Sec-WebSocket-Protocol", name);
    let socket = TcpStream::connect(address(url)?).await?;
    let (stream, answer) = tokio_tungstenite::client_async(request, socket).await?;
    let chosen = answer.headers().get("Sec-WebSocket-Protocol");
    ensure!(chosen.is_some_and(|it| it == protocol), "{answer:?}");
    Ok(stream)
}
