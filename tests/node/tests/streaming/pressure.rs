//! Clients that do not read, containers that do not read, and what daemon and monitor hold for them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use pinpod_testkit::{Node, Options, Result, Usage, busybox, container, on_node, until};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{attach_url, exec_url, forward_url, request, websocket};

/// What may be held for one stream that stands, in KiB: some 300 in the daemon by its bounds, and
/// what an allocator keeps.
const HELD: u64 = 4096;

/// How much daemon and monitor have grown.
async fn growth(node: &Node, before: (Usage, Usage)) -> Result<(u64, u64)> {
    let (daemon, monitor) = usage(node).await?;
    Ok((
        daemon.rss.saturating_sub(before.0.rss),
        monitor.rss.saturating_sub(before.1.rss),
    ))
}

async fn usage(node: &Node) -> Result<(Usage, Usage)> {
    let monitor = Usage::of_name("pinpod-monitor").await?;
    Ok((Usage::of(node.daemon_pid()?)?, monitor))
}

/// Returns the size of a file of a process' container when it has not grown for a second.
async fn stands(node: &Node, id: &str, path: &str) -> Result<u64> {
    let mut last = None;
    until("a writer that waits", Duration::from_secs(60), async || {
        // It may not be there yet, or be empty for a moment.
        let read = node.exec(id, &["cat", path]).await?;
        let count = String::from_utf8(read.stdout)?;
        let count: u64 = count.trim().parse().unwrap_or_default();
        if last == Some(count) && count > 0 {
            return Ok(Some(count));
        }
        last = Some(count);
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(None)
    })
    .await
}

#[test]
fn who_does_not_read_holds_up_the_writer_and_nobody_else() -> Result {
    on_node(
        "pressure::who_does_not_read_holds_up_the_writer_and_nobody_else",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("pressure");
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            node.output(&id, &["true"]).await?;
            let before = usage(node).await?;

            // A client that reads nothing: the command stops after what the sockets and we hold.
            let block = "dd if=/dev/zero bs=64k count=1 2>/dev/null";
            let script = format!("n=0; while {block}; do n=$((n+64)); echo $n > /out; done");
            let url = exec_url(node, request(&id, &["sh", "-c", &script], false, false)).await?;
            let mut deaf = websocket(&url, "v5.channel.k8s.io").await?;
            let written = stands(node, &id, "/out").await?;
            let grown = growth(node, before).await?;
            println!(
                "a client that does not read: {written} KiB written, daemon and monitor grew by {grown:?} KiB"
            );
            ensure!(written < 32 << 10, "{written} KiB were written");
            ensure!(grown.0 < HELD && grown.1 < HELD, "{grown:?}");
            // When it reads again, the command goes on.
            let mut read = 0;
            while read < 64 << 20 {
                read += deaf.next().await.context("the end")??.len();
            }
            drop(deaf);

            // A container that reads nothing: the client is not read from.
            let url = exec_url(node, request(&id, &["sleep", "1000"], true, false)).await?;
            let mut eager = websocket(&url, "v5.channel.k8s.io").await?;
            let sent = pour(&mut eager).await;
            let grown = growth(node, before).await?;
            println!(
                "a command that does not read: {sent} KiB sent, daemon and monitor grew by {grown:?} KiB"
            );
            ensure!(sent < 32 << 10, "{sent} KiB were taken");
            ensure!(grown.0 < HELD && grown.1 < HELD, "{grown:?}");
            drop(eager);

            // A port whose server reads nothing.
            let deaf = container(
                "deaf",
                &image,
                &["sh", "-c", "nc -l -p 9000 -e /bin/sleep 1000"],
            );
            let deaf = node.launch(&pod, &config, deaf).await?;
            // In hexadecimal, with the state of one that listens.
            let listening = "cat /proc/net/tcp /proc/net/tcp6 | grep -q ':2328 0*:0000 0A '";
            until("the server", Duration::from_secs(60), async || {
                let looked = node.exec(&deaf, &["sh", "-c", listening]).await?;
                Ok((looked.exit_code == 0).then_some(()))
            })
            .await?;
            let url = forward_url(node, &pod, &[9000]).await?;
            let mut eager = websocket(&url, "v4.channel.k8s.io").await?;
            let sent = pour(&mut eager).await;
            let grown = growth(node, before).await?;
            println!(
                "a port that does not read: {sent} KiB sent, daemon and monitor grew by {grown:?} KiB"
            );
            ensure!(sent < 64 << 10, "{sent} KiB were taken");
            ensure!(grown.0 < HELD && grown.1 < HELD, "{grown:?}");

            node.output(&id, &["true"]).await?;
            node.remove_pod(&pod).await
        },
    )
}

/// Sends on channel 0 until nothing is taken for two seconds; KiB that were.
async fn pour(stream: &mut tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>) -> u64 {
    let message = Message::Binary(vec![0; 32 << 10].into());
    let mut sent = 0;
    let patience = Duration::from_secs(2);
    while let Ok(Ok(())) = tokio::time::timeout(patience, stream.send(message.clone())).await {
        sent += 32;
        if sent > 1 << 20 {
            break;
        }
    }
    sent
}

#[test]
fn an_attached_client_that_does_not_read_is_cut_off() -> Result {
    on_node(
        "pressure::an_attached_client_that_does_not_read_is_cut_off",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("attached");
            let pod = node.run_pod(&config).await?;
            let script = "read go; dd if=/dev/zero bs=64k count=1600 2>/dev/null | tr '\\0' a; echo done > /done; cat";
            let mut talker = container("talker", &image, &["sh", "-c", script]);
            talker.stdin = true;
            talker.log_path = String::new();
            let id = node.launch(&pod, &config, talker).await?;
            let before = usage(node).await?;
            let url = attach_url(node, &id).await?;
            let mut deaf = websocket(&url, "v5.channel.k8s.io").await?;
            deaf.send(Message::Binary(b"\0go\n".to_vec().into()))
                .await?;
            // The container is held up for five seconds at most, and then goes on without it.
            until("the talker's end", Duration::from_secs(60), async || {
                let done = node.exec(&id, &["test", "-e", "/done"]).await?;
                Ok((done.exit_code == 0).then_some(()))
            })
            .await?;
            let grown = growth(node, before).await?;
            println!(
                "an attached client that does not read: daemon and monitor grew by {grown:?} KiB"
            );
            ensure!(grown.0 < HELD && grown.1 < HELD, "{grown:?}");
            // It hears of it, after what had been sent.
            let mut said = Vec::new();
            while let Some(Ok(message)) = deaf.next().await {
                if let Message::Binary(bytes) = message
                    && bytes.first() == Some(&3)
                {
                    said.extend_from_slice(&bytes[1..]);
                }
            }
            let said = String::from_utf8(said)?;
            ensure!(
                said.contains("\"Failure\"") && said.contains("cut"),
                "{said}"
            );
            node.remove_pod(&pod).await
        },
    )
}
