//! Port-forward: both transports of Kubernetes' library, numbered channels, both families of
//! addresses, pods on the node's network or with users of their own, connections of which one half
//! ends first.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use pinpod_cri_api::runtime::v1::{NamespaceMode, PodSandboxConfig};
use pinpod_testkit::{Image, Node, Options, Result, busybox, container, on_node, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Forward, address, forward_url, websocket};
use crate::exec::{hex, noise};
use crate::users::pod_with_users;

/// What runs in the pod: echo on both families, files on IPv6 alone, a sum of what came when it ends,
/// and a file. Port 9099 has nobody.
const SERVERS: &str = "nc -ll -p 9001 -e /bin/cat & httpd -f -p [::1]:9002 -h /etc & \
    nc -ll -p 9003 -e /bin/sha256sum & head -c 104857600 /dev/urandom > /data; \
    nc -ll -p 9004 -e /bin/cat /data & echo ready; wait";

async fn serve(node: &Node, config: &PodSandboxConfig, image: &Image) -> Result<(String, String)> {
    let pod = node.run_pod(config).await?;
    let servers = container("servers", image, &["sh", "-c", SERVERS]);
    let id = node.launch(&pod, config, servers).await?;
    // In hexadecimal, with the state of one that listens.
    let listening = "for port in 2329 232A 232B 232C; do \
        cat /proc/net/tcp /proc/net/tcp6 | grep -q \":$port 0*:0000 0A \" || exit 1; done";
    until("the servers", Duration::from_secs(60), async || {
        let looked = node.exec(&id, &["sh", "-c", listening]).await?;
        Ok((looked.exit_code == 0).then_some(()))
    })
    .await?;
    Ok((pod, id))
}

async fn echo(mut socket: TcpStream, bytes: &[u8]) -> Result {
    socket.write_all(bytes).await?;
    let mut back = vec![0; bytes.len()];
    socket.read_exact(&mut back).await?;
    ensure!(back == bytes, "other bytes came back");
    Ok(())
}

const GET: &[u8] = b"GET /group HTTP/1.0\r\n\r\n";

async fn get(mut socket: TcpStream) -> Result {
    socket.write_all(GET).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    ensure!(
        answer.contains("200 OK") && answer.contains("nogroup:"),
        "{answer}"
    );
    Ok(())
}

#[test]
fn connections_with_kubernetes_library() -> Result {
    on_node(
        "port_forward::connections_with_kubernetes_library",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let own = node.pod("own");
            let mut shared = node.pod("shared");
            let linux = shared.linux.get_or_insert_default();
            let security = linux.security_context.get_or_insert_default();
            let namespaces = security.namespace_options.get_or_insert_default();
            namespaces.set_network(NamespaceMode::Node);
            let users = pod_with_users(node, "users");
            for config in [own, shared, users] {
                let (pod, id) = serve(node, &config, &image).await?;
                let sum = node.output(&id, &["sha256sum", "/data"]).await?;
                let sum = sum.split(' ').next().context("a sum")?.to_owned();
                for transport in ["spdy", "websocket"] {
                    exercise(node, &pod, &sum, transport)
                        .await
                        .with_context(|| format!("{transport} {}", config.hostname))?;
                }
                node.remove_pod(&pod).await?;
            }
            Ok(())
        },
    )
}

async fn exercise(node: &Node, pod: &str, sum: &str, transport: &str) -> Result {
    let ports = [9001, 9002, 9003, 9004, 9099];
    let url = forward_url(node, pod, &ports).await?;
    let forward = Forward::start(transport, &url, &ports).await?;
    // IPv4 (or both), IPv6 alone, and twenty connections at once.
    echo(forward.connect(0).await?, b"four")
        .await
        .context("over IPv4")?;
    get(forward.connect(1).await?).await?;
    let mut many = Vec::new();
    for number in 0..20_u32 {
        // One after the other up to the first answer: nc lets two wait to be accepted.
        let mut socket = forward.connect(0).await?;
        socket.write_u32(number).await?;
        ensure!(socket.read_u32().await? == number, "connection {number}");
        let bytes = number.to_be_bytes().repeat(20_000);
        many.push(tokio::spawn(async move { echo(socket, &bytes).await }));
    }
    for (number, one) in many.into_iter().enumerate() {
        one.await?
            .with_context(|| format!("connection {number} of twenty"))?;
    }
    // What goes in is summed only when its half has ended; the answer comes on the other.
    let input = noise(100 << 20)?;
    let mut socket = forward.connect(2).await?;
    socket.write_all(&input).await?;
    socket.shutdown().await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    ensure!(answer.trim() == format!("{}  -", hex(&input)), "{answer}");
    let mut output = Vec::new();
    forward.connect(3).await?.read_to_end(&mut output).await?;
    ensure!(output.len() == 100 << 20, "{} bytes came", output.len());
    ensure!(hex(&output) == sum, "other bytes came");
    // Nobody there: this connection ends, the others go on.
    let mut refused = forward.connect(4).await?;
    let ended = refused.read(&mut [0; 1]).await;
    ensure!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    Ok(())
}

/// The next message of a channel protocol: channel and bytes.
async fn next(stream: &mut WebSocketStream<TcpStream>) -> Result<Option<(u8, Vec<u8>)>> {
    loop {
        return Ok(Some(match stream.next().await.context("the end")?? {
            Message::Binary(bytes) => {
                let (channel, rest) = bytes.split_first().context("an empty message")?;
                (*channel, rest.to_vec())
            }
            Message::Text(text) => {
                let (channel, rest) = text.split_at(1);
                (channel.parse()?, STANDARD.decode(rest)?)
            }
            Message::Close(_) => return Ok(None),
            _ => continue,
        }));
    }
}

#[test]
fn numbered_channels() -> Result {
    on_node(
        "port_forward::numbered_channels",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("channels");
            let (pod, _) = serve(node, &config, &image).await?;
            for protocol in ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
                let ports = [9001, 9099, 9002];
                let url = forward_url(node, &pod, &ports).await?;
                let mut stream = websocket(&url, protocol).await?;
                let is_text = protocol.contains("base64");
                for (channel, bytes) in [(0_u8, &b"hello"[..]), (4, GET)] {
                    let message = if is_text {
                        Message::Text(format!("{channel}{}", STANDARD.encode(bytes)).into())
                    } else {
                        Message::Binary([&[channel], bytes].concat().into())
                    };
                    stream.send(message).await?;
                }
                let mut came = vec![Vec::new(); 6];
                while came[0].len() < 7 || came[4].len() < 20 || came[3].len() < 3 {
                    let (channel, bytes) = next(&mut stream).await?.context("the end")?;
                    came[usize::from(channel)].extend(bytes);
                }
                for (channel, port) in [(0, 9001_u16), (2, 9099), (4, 9002)] {
                    for channel in [channel, channel + 1] {
                        let begins = came[channel].starts_with(&port.to_le_bytes());
                        ensure!(begins, "channel {channel}: {:?}", came[channel]);
                    }
                }
                ensure!(came[0][2..] == *b"hello", "{came:?}");
                let page = String::from_utf8_lossy(&came[4][2..]).into_owned();
                ensure!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
                let refusal = String::from_utf8_lossy(&came[3][2..]).into_owned();
                ensure!(refusal.contains("port 9099"), "{refusal}");
                ensure!(refusal.contains("Connection refused"), "{refusal}");
                stream.close(None).await?;
            }
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn the_server_on_an_address_of_ipv6() -> Result {
    let options = Options {
        config: "[pinpod.api]\nstream_address = \"::1\"\n".to_owned(),
        ..Options::default()
    };
    on_node(
        "port_forward::the_server_on_an_address_of_ipv6",
        options,
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("six");
            let (pod, _) = serve(node, &config, &image).await?;
            let url = forward_url(node, &pod, &[9002]).await?;
            ensure!(address(&url)?.is_ipv6() && url.contains("[::1]"), "{url}");
            let forward = Forward::start("spdy", &url, &[9002]).await?;
            get(forward.connect(0).await?).await?;
            node.remove_pod(&pod).await
        },
    )
}
