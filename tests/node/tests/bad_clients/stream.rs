//! Bad clients of the stream server that never get to speak a protocol.

use std::time::Duration;

use anyhow::ensure;
use pinpod_testkit::{Node, Options, Result, on_node, until};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::socket::{
    all_send, answer, collect, exec_url, forward_url, noise, send, spdy, split, upgrade, websocket,
};
use crate::table::{Target, Watch};

/// KiB that a thousand connections may take while they are open.
const MOST: u64 = 64 << 10;

#[test]
fn requests_that_are_none() -> Result {
    on_node(
        "stream::requests_that_are_none",
        Options::default(),
        async |node| {
            let target = Target::start(node, "requests").await?;
            let (address, path) = {
                let url = exec_url(node, &target.container).await?;
                let (address, path) = split(&url)?;
                (address, path.to_owned())
            };
            let noise = noise(4096);
            let huge = format!("GET {path} HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
            let many = format!("GET {path} HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(2000));
            let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 500]].concat();
            for (what, count, bytes, answers) in [
                ("noise", 200, &noise[..], "400"),
                ("a TLS handshake without TLS", 200, &hello, "400"),
                (
                    "HTTP/2",
                    200,
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
                    "",
                ),
                ("a header of 1 MiB", 200, huge.as_bytes(), "431"),
                ("2,000 headers", 200, many.as_bytes(), "431"),
                (
                    "half a request, 1,000 at once",
                    1000,
                    b"GET /exec/x HTTP/1.1\r\nHost",
                    "closed",
                ),
                ("silence, 1,000 at once", 1000, b"", "closed"),
            ] {
                let watch = Watch::begin(node)?;
                let working = exec_works(node, &target.container);
                let (answered, works) = tokio::join!(all_send(address, count, bytes), working);
                let answered = answered?;
                works?;
                watch.end(node, what, &answered, MOST).await?;
                ensure!(
                    !answered.contains("open") && answered.contains(answers),
                    "{what}: {answered}"
                );
            }
            slowloris(node, &target).await?;
            node.remove_pod(&target.pod).await
        },
    )
}

/// A good client of exec while bad ones are connected.
async fn exec_works(node: &Node, container: &str) -> Result {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let said = node.crictl(&["exec", container, "echo", "works"]).await?;
    ensure!(said == "works", "{said}");
    Ok(())
}

async fn slowloris(node: &Node, target: &Target) -> Result {
    let watch = Watch::begin(node)?;
    let url = exec_url(node, &target.container).await?;
    let (address, path) = split(&url)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}", "x".repeat(2000));
    let mut all = Vec::new();
    for _ in 0..1000 {
        let mut socket = TcpStream::connect(address).await?;
        let request = request.clone();
        all.push(tokio::spawn(async move {
            for byte in request.bytes() {
                if socket.write_u8(byte).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            answer(socket).await
        }));
    }
    exec_works(node, &target.container).await?;
    let answered = collect(all).await?;
    watch
        .end(node, "a byte each 0.3 s, 1,000 at once", &answered, MOST)
        .await?;
    ensure!(!answered.contains("open"), "{answered}");
    Ok(())
}

#[test]
fn tokens_that_are_not_good() -> Result {
    on_node(
        "stream::tokens_that_are_not_good",
        Options::default(),
        async |node| {
            let target = Target::start(node, "tokens").await?;
            let url = exec_url(node, &target.container).await?;
            let (address, path) = split(&url)?;

            let watch = Watch::begin(node)?;
            let wrong = path[..path.len() - 4].to_owned() + "AAAA";
            let other = path.replace("/exec/", "/attach/");
            let v4 = "v4.channel.k8s.io";
            for bad in [&wrong, "/exec/", "/exec/../../etc/passwd"] {
                let answered = all_send(address, 100, spdy(bad, v4).as_bytes()).await?;
                ensure!(answered == "100 × 404 Not Found", "{bad}: {answered}");
            }
            watch
                .end(node, "wrong tokens", "300 × 404 Not Found", 16 << 10)
                .await?;

            // Of many that use one token at once, one is served.
            let watch = Watch::begin(node)?;
            let mut all = Vec::new();
            for _ in 0..100 {
                let mut socket = TcpStream::connect(address).await?;
                let request = websocket(path, "v5.channel.k8s.io");
                all.push(tokio::spawn(async move {
                    // The one that is served ends its stdin; `cat` ends then.
                    let close = [0x82, 0x82, 0, 0, 0, 0, 255, 0];
                    socket.write_all(request.as_bytes()).await.ok();
                    socket.write_all(&close).await.ok();
                    answer(&mut socket).await
                }));
            }
            let answered = collect(all).await?;
            watch
                .end(
                    node,
                    "one token used 100 times at once",
                    &answered,
                    16 << 10,
                )
                .await?;
            ensure!(
                answered == "1 × 101 Switching Protocols, 99 × 404 Not Found",
                "{answered}"
            );
            let again = send(
                TcpStream::connect(address).await?,
                spdy(&other, v4).as_bytes(),
            )
            .await;
            ensure!(again == "404 Not Found", "{again}");

            // Tokens that nobody uses.
            let watch = Watch::begin(node)?;
            let mut given = Vec::new();
            let refused = loop {
                match exec_url(node, &target.container).await {
                    Ok(url) => given.push(url),
                    Err(error) => break format!("{error:#}"),
                }
            };
            let answered = format!("{} URLs, then ResourceExhausted", given.len());
            ensure!(
                refused.contains("exhausted") && refused.contains("1000 streaming URLs"),
                "{refused}"
            );
            ensure!(given.len() == 1000, "{answered}");
            let late = until("an URL again", Duration::from_secs(90), async || {
                Ok(exec_url(node, &target.container).await.ok())
            });
            late.await?;
            let expired = send(
                TcpStream::connect(address).await?,
                spdy(split(&given[0])?.1, v4).as_bytes(),
            )
            .await;
            ensure!(expired == "404 Not Found", "{expired}");
            let answered = format!("{answered}; after a minute 404");
            watch
                .end(node, "URLs asked for and left", &answered, 16 << 10)
                .await?;
            node.remove_pod(&target.pod).await
        },
    )
}

#[test]
fn upgraded_and_then_silent() -> Result {
    let options = Options {
        config: "[pinpod.api]\nstream_max_connections = 300\nstream_idle_timeout = \"20s\"\n"
            .to_owned(),
        ..Options::default()
    };
    on_node("stream::upgraded_and_then_silent", options, async |node| {
        let target = Target::start(node, "silent").await?;
        let watch = Watch::begin(node)?;
        let (mut all, mut exec, mut forward) = (Vec::new(), 0, 0);
        for number in 0..300 {
            let (url, protocol) = if number % 2 == 0 {
                exec += 1;
                (
                    exec_url(node, &target.container).await?,
                    "v4.channel.k8s.io",
                )
            } else {
                forward += 1;
                (forward_url(node, &target.pod).await?, "portforward.k8s.io")
            };
            let socket = upgrade(&url, &spdy(split(&url)?.1, protocol)).await?;
            all.push(tokio::spawn(async move { answer(socket).await }));
        }
        // No more of them, and it costs no token.
        let url = exec_url(node, &target.container).await?;
        let (address, path) = split(&url)?;
        let request = spdy(path, "v4.channel.k8s.io");
        let refused = send(TcpStream::connect(address).await?, request.as_bytes()).await;
        ensure!(refused == "503 Service Unavailable", "{refused}");
        let answered = collect(all).await?;
        ensure!(answered == "300 × closed", "{answered}");
        upgrade(&url, &request).await?;
        let what = format!("upgraded, no stream opened: {exec} exec, {forward} port-forward");
        watch
            .end(
                node,
                &what,
                "301st: 503; all closed at stream_idle_timeout",
                64 << 10,
            )
            .await?;
        node.remove_pod(&target.pod).await
    })
}
