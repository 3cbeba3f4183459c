//! Who goes away in the middle: clients, and the daemon. The command runs on, nothing is left.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use pinpod_cri_api::runtime::v1::ExecSyncRequest;
use pinpod_testkit::{Node, Options, Result, Usage, busybox, container, on_node, until};
use tokio::io::AsyncReadExt as _;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{exec_url, request, start_client, websocket};

/// Says much more than any buffer holds, then that it came to its end.
const TALK: &str = "dd if=/dev/zero bs=64k count=800 2>/dev/null; read line; echo \"$?\" > /end";

async fn file(node: &Node, id: &str, path: &str) -> Result<String> {
    until(path, Duration::from_secs(60), async || {
        let read = node.exec(id, &["cat", path]).await?;
        let text = String::from_utf8(read.stdout)?;
        Ok(text.ends_with('\n').then_some(text))
    })
    .await
}

/// Waits until the monitor holds no more than before.
async fn let_go(before: Usage) -> Result {
    let mut last = before;
    let waited = until(
        "the monitor's descriptors",
        Duration::from_secs(20),
        async || {
            last = Usage::of_name("pinpod-monitor").await?;
            Ok((last.descriptors <= before.descriptors).then_some(()))
        },
    );
    waited
        .await
        .with_context(|| format!("{before}; then {last}"))
}

#[test]
fn a_client_that_goes_away_in_the_middle() -> Result {
    on_node(
        "leaving::a_client_that_goes_away_in_the_middle",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("leaving");
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            node.output(&id, &["true"]).await?;
            let (daemon, monitor) = (
                Usage::of(node.daemon_pid()?)?,
                Usage::of_name("pinpod-monitor").await?,
            );
            for transport in ["spdy", "websocket"] {
                node.output(&id, &["rm", "-f", "/end"]).await?;
                let url = exec_url(node, request(&id, &["sh", "-c", TALK], true, false)).await?;
                let mut client = start_client(&["exec", "-transport", transport, "-stdin", &url])?;
                let mut stdout = client.stdout.take().context("stdout")?;
                stdout.read_exact(&mut [0; 1000]).await?;
                client.kill().await?;
                // Its output is thrown away, its stdin has ended: `read` says so by its code.
                ensure!(file(node, &id, "/end").await? == "1\n");
                let_go(monitor).await?;
            }
            until(
                "the daemon's descriptors",
                Duration::from_secs(20),
                async || {
                    let now = Usage::of(node.daemon_pid()?)?;
                    Ok((now.descriptors <= daemon.descriptors).then_some(()))
                },
            )
            .await?;
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn the_daemon_ends_or_dies_while_a_command_runs() -> Result {
    on_node(
        "leaving::the_daemon_ends_or_dies_while_a_command_runs",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("restart");
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            node.output(&id, &["true"]).await?;
            for is_killed in [false, true] {
                let monitor = Usage::of_name("pinpod-monitor").await?;
                node.output(&id, &["rm", "-f", "/end"]).await?;
                // One that is held up by its client while the daemon goes, and one that waits.
                let url = exec_url(node, request(&id, &["sh", "-c", TALK], true, false)).await?;
                let mut deaf = websocket(&url, "v5.channel.k8s.io").await?;
                // It has begun: one that is still being started ends with its client.
                while deaf.next().await.context("the end")??.into_data().len() < 2 {}
                let script = "echo begun; read line; sleep 2; echo $? > /quiet";
                let url = exec_url(node, request(&id, &["sh", "-c", script], true, false)).await?;
                let mut quiet = websocket(&url, "v5.channel.k8s.io").await?;
                while quiet.next().await.context("the end")??.into_data().as_ref() != b"\x01begun\n"
                {
                }
                if is_killed {
                    node.kill9().await?;
                } else {
                    node.stop_daemon().await?;
                }
                // The clients see an end that no success looks like.
                for client in [&mut quiet, &mut deaf] {
                    let end = last_words(client).await;
                    if is_killed {
                        ensure!(end.is_none(), "{end:?}");
                    }
                }
                // The commands ran to their ends without a daemon.
                node.restart().await?;
                ensure!(file(node, &id, "/end").await? == "1\n");
                ensure!(file(node, &id, "/quiet").await? == "0\n");
                node.output(&id, &["rm", "/quiet"]).await?;
                let_go(monitor).await?;
                // What was asked for before is void, and said so.
                let answer = websocket(&url, "v5.channel.k8s.io").await;
                ensure!(answer.is_err(), "a URL of the daemon before");
            }
            node.remove_pod(&pod).await
        },
    )
}

/// The status on the error channel; `None` when the connection ended without one.
async fn last_words(
    client: &mut tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>,
) -> Option<String> {
    let mut said = None;
    while let Some(Ok(message)) = client.next().await {
        if let Message::Binary(bytes) = message
            && bytes.first() == Some(&3)
        {
            said = Some(String::from_utf8_lossy(&bytes[1..]).into_owned());
        }
    }
    said
}

#[test]
fn the_daemon_ends_or_dies_during_an_execsync() -> Result {
    on_node(
        "leaving::the_daemon_ends_or_dies_during_an_execsync",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("sync");
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            node.output(&id, &["true"]).await?;
            let monitor = Usage::of_name("pinpod-monitor").await?;
            for (is_killed, seconds) in [(true, "600"), (false, "2"), (false, "601")] {
                let mut runtime = node.runtime();
                let request = ExecSyncRequest {
                    container_id: id.clone(),
                    cmd: vec!["sleep".into(), seconds.into()],
                    timeout: 0,
                };
                let call = tokio::spawn(async move { runtime.exec_sync(request).await });
                let look = format!("ps | grep -q '[s]leep {seconds}'");
                until("the command", Duration::from_secs(20), async || {
                    let looked = node.exec(&id, &["sh", "-c", &look]).await?;
                    Ok((looked.exit_code == 0).then_some(()))
                })
                .await?;
                if is_killed {
                    node.kill9().await?;
                } else {
                    node.stop_daemon().await?;
                }
                let outcome = call.await?;
                match outcome {
                    // One that ends in time is waited for.
                    Ok(answer) => ensure!(seconds == "2" && answer.get_ref().exit_code == 0),
                    Err(status) => {
                        ensure!(seconds != "2", "{status}");
                        println!("killed: {is_killed}: {status}");
                        let code = status.code();
                        ensure!(
                            matches!(
                                code,
                                tonic::Code::Unavailable
                                    | tonic::Code::Unknown
                                    | tonic::Code::Cancelled
                            ),
                            "{status}"
                        );
                    }
                }
                node.restart().await?;
                // Nobody waits for it any more, so it is gone.
                until("the command's end", Duration::from_secs(20), async || {
                    let looked = node.exec(&id, &["sh", "-c", &look]).await?;
                    Ok((looked.exit_code != 0).then_some(()))
                })
                .await?;
                let_go(monitor).await?;
            }
            node.remove_pod(&pod).await
        },
    )
}
