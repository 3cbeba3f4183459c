//! Bad clients that speak a protocol, after the upgrade: frames that are none, too long, too many.

use std::time::Duration;

use anyhow::ensure;
use pinpod_testkit::{Node, Options, Result, on_node};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::socket::{exec_url, forward_url, noise, spdy, split, tally, upgrade, websocket};
use crate::table::{Target, Watch};

/// How often each attack is made.
const TIMES: usize = 20;

/// A protocol after its upgrade.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spoken {
    ExecSpdy,
    ForwardSpdy,
    ExecWebSocket(&'static str),
    ForwardWebSocket(&'static str),
}

impl Spoken {
    async fn open(self, node: &Node, target: &Target) -> Result<TcpStream> {
        let url = match self {
            Self::ExecSpdy | Self::ExecWebSocket(_) => exec_url(node, &target.container).await?,
            Self::ForwardSpdy | Self::ForwardWebSocket(_) => forward_url(node, &target.pod).await?,
        };
        let path = split(&url)?.1;
        let request = match self {
            Self::ExecSpdy => spdy(path, "v4.channel.k8s.io"),
            Self::ForwardSpdy => spdy(path, "portforward.k8s.io"),
            Self::ExecWebSocket(name) | Self::ForwardWebSocket(name) => websocket(path, name),
        };
        upgrade(&url, &request).await
    }
}

/// The last words of the connection: SPDY's GOAWAY, WebSocket's close code, or neither.
async fn last_words(mut socket: TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = socket.read_to_end(&mut bytes);
    if tokio::time::timeout(Duration::from_secs(60), reading)
        .await
        .is_err()
    {
        return "open".to_owned();
    }
    if let [.., 0x80, 3, 0, 7, 0, 0, 0, 8, _, _, _, _, 0, 0, 0, status] = bytes[..] {
        return format!("GOAWAY {status}");
    }
    // A close frame is the last and short: its code stands after its two bytes of head.
    let close = bytes
        .windows(4)
        .rev()
        .find(|it| it[0] == 0x88 && it[1] >= 2);
    match close {
        Some(&[_, _, high, low]) => format!("close {}", u16::from_be_bytes([high, low])),
        _ => "closed".to_owned(),
    }
}

/// A frame of a client with a mask of zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut bytes = vec![0x80 | opcode];
    match u16::try_from(length) {
        Ok(short) if short < 126 => bytes.push(0x80 | short.to_be_bytes()[1]),
        Ok(short) => {
            bytes.push(0x80 | 126);
            bytes.extend(short.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn frames_that_are_none() -> Result {
    on_node(
        "frames::frames_that_are_none",
        Options::default(),
        async |node| {
            let target = Target::start(node, "frames").await?;
            let noise = noise(65_536);
            let (v4, v5) = ("v4.channel.k8s.io", "v5.channel.k8s.io");
            let base64 = "v4.base64.channel.k8s.io";
            let tunnel = "SPDY/3.1+portforward.k8s.io";
            let giant = [&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff][..], &[0; 1000]].concat();
            let syn = |block: &[u8]| {
                let length = u8::try_from(block.len() + 10).unwrap_or(u8::MAX);
                let head = [0x80, 3, 0, 1, 0, 0, 0, length, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
                [&head[..], block].concat()
            };
            use Spoken::{ExecSpdy, ExecWebSocket, ForwardSpdy, ForwardWebSocket};
            for (what, spoken, bytes, expected) in [
                (
                    "SPDY: noise",
                    ExecSpdy,
                    [&[0xff][..], &noise].concat(),
                    "GOAWAY 1",
                ),
                (
                    "SPDY: another version",
                    ForwardSpdy,
                    b"\x80\x02\0\x01\0\0\0\0".to_vec(),
                    "GOAWAY 1",
                ),
                (
                    "SPDY: a control frame of 16 MiB",
                    ExecSpdy,
                    giant.clone(),
                    "GOAWAY 1",
                ),
                (
                    "SPDY: headers that are not compressed",
                    ExecSpdy,
                    syn(b"streamtype"),
                    "GOAWAY 1",
                ),
                (
                    "SPDY: data of no stream",
                    ForwardSpdy,
                    b"\0\0\0\x05\0\0\0\x01x".to_vec(),
                    "GOAWAY 1",
                ),
                (
                    "SPDY: half a frame, then the end",
                    ExecSpdy,
                    b"\x80\x03\0".to_vec(),
                    "closed",
                ),
                (
                    "WebSocket: noise",
                    ExecWebSocket(v5),
                    noise.clone(),
                    "close 100",
                ),
                (
                    "WebSocket: not masked",
                    ExecWebSocket(v4),
                    b"\x82\x01x".to_vec(),
                    "close 1002",
                ),
                (
                    "WebSocket: an unknown opcode",
                    ExecWebSocket(v4),
                    frame(0xb, b"x"),
                    "close 1002",
                ),
                (
                    "WebSocket: a message of 16 MiB",
                    ExecWebSocket(v4),
                    frame(2, &vec![0; 16 << 20]),
                    "close 1009",
                ),
                (
                    "WebSocket: a channel ended badly",
                    ExecWebSocket(v5),
                    frame(2, &[255]),
                    "close 1002",
                ),
                (
                    "WebSocket: text that is not UTF-8",
                    ExecWebSocket(v5),
                    frame(1, &[0xff, 0xfe]),
                    "close 1007",
                ),
                (
                    "WebSocket: not base64",
                    ExecWebSocket(base64),
                    frame(1, b"0%%%"),
                    "close 1002",
                ),
                (
                    "WebSocket: no channel",
                    ForwardWebSocket(base64),
                    frame(1, b"x"),
                    "close",
                ),
                (
                    "tunnel: noise inside",
                    ForwardWebSocket(tunnel),
                    frame(2, &[&[0xff][..], &noise].concat()),
                    "close",
                ),
                (
                    "tunnel: a message of 16 MiB",
                    ForwardWebSocket(tunnel),
                    frame(2, &vec![0; 16 << 20]),
                    "close",
                ),
            ] {
                let watch = Watch::begin(node)?;
                let mut answers = Vec::new();
                for _ in 0..TIMES {
                    let mut socket = spoken.open(node, &target).await?;
                    // As much as is taken; a server that has heard enough closes.
                    socket.write_all(&bytes).await.ok();
                    if expected == "closed" {
                        socket.shutdown().await?;
                    }
                    answers.push(last_words(socket).await);
                }
                let answered = tally(answers.iter().cloned());
                watch.end(node, what, &answered, 32 << 10).await?;
                let fits = answers.iter().filter(|it| it.starts_with(expected)).count();
                // A reset may overtake the last words of a server that was still being spoken to.
                let is_long = bytes.len() > 1 << 16;
                ensure!(
                    fits == TIMES || is_long && !answered.contains("open"),
                    "{what}: {answered}"
                );
            }
            node.remove_pod(&target.pod).await
        },
    )
}

#[test]
fn frames_without_end() -> Result {
    on_node(
        "frames::frames_without_end",
        Options::default(),
        async |node| {
            let target = Target::start(node, "endless").await?;
            let ping = b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x01".repeat(4096);
            let window = b"\x80\x03\0\x09\0\0\0\x08\0\0\0\x01\0\0\0\x01".repeat(4096);
            let data = [&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff][..], &vec![0; 0xff_ffff]].concat();
            for (what, spoken, bytes) in [
                ("SPDY: pings, and no answer is read", Spoken::ExecSpdy, ping),
                ("SPDY: window updates", Spoken::ForwardSpdy, window),
                (
                    "SPDY: 16 MiB of data for no stream",
                    Spoken::ForwardSpdy,
                    data,
                ),
                (
                    "WebSocket: pings, and no answer is read",
                    Spoken::ExecWebSocket("v5.channel.k8s.io"),
                    frame(9, &[0; 100]).repeat(1000),
                ),
                (
                    "WebSocket: a message in endless pieces",
                    Spoken::ExecWebSocket("v5.channel.k8s.io"),
                    [&[0x02][..], &frame(0, &[0; 60_000])[1..]].concat(),
                ),
            ] {
                let watch = Watch::begin(node)?;
                let mut all = Vec::new();
                for _ in 0..TIMES {
                    let mut socket = spoken.open(node, &target).await?;
                    let bytes = bytes.clone();
                    all.push(tokio::spawn(async move {
                        let mut sent = 0_u64;
                        let flood = async {
                            while socket.write_all(&bytes).await.is_ok() {
                                sent += bytes.len() as u64;
                            }
                        };
                        let flooding = tokio::time::timeout(Duration::from_secs(4), flood).await;
                        let end = if flooding.is_ok() {
                            "closed"
                        } else {
                            "held up or served"
                        };
                        (end.to_owned(), sent)
                    }));
                }
                let (mut answers, mut sent) = (Vec::new(), 0);
                for one in all {
                    let (answer, bytes) = one.await?;
                    answers.push(answer);
                    sent += bytes;
                }
                let answered = format!("{}; {} MiB sent", tally(answers), sent >> 20);
                watch.end(node, what, &answered, 64 << 10).await?;
            }
            node.remove_pod(&target.pod).await
        },
    )
}
