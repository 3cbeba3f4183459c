//! Bytes on sockets: what each connection is answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use pinpod_cri_api::runtime::v1::{ExecRequest, PortForwardRequest};
use pinpod_testkit::{Node, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

pub(crate) const CRI: &str = "/run/pinpod/pinpod.sock";
/// Longer than each patience of the daemon.
const DEADLINE: Duration = Duration::from_secs(90);

/// What a connection answered until it was closed; an end of its own is `closed`, the lack of one
/// `open`.
pub(crate) async fn answer(mut socket: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(DEADLINE, socket.read_to_end(&mut bytes)).await;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().next().unwrap_or_default();
    match read {
        _ if line.starts_with("HTTP/1.1 ") => line[9..].to_owned(),
        Ok(_) => "closed".to_owned(),
        Err(_) => "open".to_owned(),
    }
}

/// Sends bytes, as far as they are taken, and then waits for what is answered.
pub(crate) async fn send<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, bytes: &[u8]) -> String {
    // A server that has heard enough closes while it is still being spoken to.
    socket.write_all(bytes).await.ok();
    answer(socket).await
}

/// How often each answer came, as text.
pub(crate) fn tally(answers: impl IntoIterator<Item = String>) -> String {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer).or_insert(0) += 1;
    }
    let words: Vec<String> = counts
        .iter()
        .map(|(word, n)| format!("{n} × {word}"))
        .collect();
    words.join(", ")
}

/// Every connection sends the same bytes at once and keeps quiet.
pub(crate) async fn all_send(address: SocketAddr, count: usize, bytes: &[u8]) -> Result<String> {
    let mut all = Vec::new();
    for _ in 0..count {
        let socket = TcpStream::connect(address).await?;
        let bytes = bytes.to_vec();
        all.push(tokio::spawn(async move { send(socket, &bytes).await }));
    }
    collect(all).await
}

/// The same on the CRI socket.
pub(crate) async fn all_send_cri(count: usize, bytes: &[u8]) -> Result<String> {
    let mut all = Vec::new();
    for _ in 0..count {
        let socket = UnixStream::connect(CRI).await?;
        let bytes = bytes.to_vec();
        all.push(tokio::spawn(async move { send(socket, &bytes).await }));
    }
    collect(all).await
}

pub(crate) async fn collect(all: Vec<tokio::task::JoinHandle<String>>) -> Result<String> {
    let mut answers = Vec::new();
    for one in all {
        answers.push(one.await?);
    }
    Ok(tally(answers))
}

/// A URL for `cat`, with stdin.
pub(crate) async fn exec_url(node: &Node, container: &str) -> Result<String> {
    let request = ExecRequest {
        container_id: container.to_owned(),
        cmd: vec!["cat".into()],
        stdin: true,
        stdout: true,
        ..Default::default()
    };
    let response = node.runtime().exec(request).await;
    Ok(response.context("Exec")?.into_inner().url)
}

/// A URL to forward port 9 of a pod.
pub(crate) async fn forward_url(node: &Node, pod: &str) -> Result<String> {
    let request = PortForwardRequest {
        pod_sandbox_id: pod.to_owned(),
        port: vec![9],
    };
    let response = node.runtime().port_forward(request).await;
    Ok(response.context("PortForward")?.into_inner().url)
}

/// Address and path of a URL.
pub(crate) fn split(url: &str) -> Result<(SocketAddr, &str)> {
    let rest = url.strip_prefix("http://").context("http")?;
    let slash = rest.find('/').context("a path")?;
    Ok((rest[..slash].parse()?, &rest[slash..]))
}

/// A request to upgrade to SPDY.
pub(crate) fn spdy(path: &str, protocol: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: {protocol}\r\n\r\n"
    )
}

/// A request to upgrade to WebSocket.
pub(crate) fn websocket(path: &str, protocol: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )
}

/// Connects and makes a request; the answer's head is read.
pub(crate) async fn upgrade(url: &str, request: &str) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(split(url)?.0).await?;
    socket.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    anyhow::ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    Ok(socket)
}

/// So many bytes in no order.
pub(crate) fn noise(length: u32) -> Vec<u8> {
    (0..length)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1])
        .collect()
}
