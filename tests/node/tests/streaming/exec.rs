//! Exec and attach: protocols, terminals, exit codes, many at once, much of it.

use anyhow::{Context as _, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use pinpod_cri_api::runtime::v1::ExecRequest;
use pinpod_testkit::{Options, Result, busybox, container, on_node, run, tool};
use sha2::{Digest as _, Sha256};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{attach_url, exec_url, request, stream_client, websocket};

/// What stream-client ends with when the stream failed, or ended with text instead of a code.
const FAILED: i32 = 111;
/// In the first version the library may end before it reads the text.
const EITHER: i32 = -1;

#[test]
fn output_and_exit_codes_over_every_protocol() -> Result {
    on_node(
        "exec::output_and_exit_codes_over_every_protocol",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("protocols");
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            let script = ["sh", "-c", "echo out; echo err >&2; exit 7"];
            for (transport, protocols, code) in [
                ("spdy", "", 7),
                ("spdy", "v4.channel.k8s.io", 7),
                ("spdy", "v3.channel.k8s.io", FAILED),
                ("spdy", "v2.channel.k8s.io", FAILED),
                ("spdy", "channel.k8s.io", EITHER),
                ("websocket", "", 7),
                ("websocket", "v5.channel.k8s.io", 7),
                ("websocket", "v4.channel.k8s.io", 7),
                ("websocket", "channel.k8s.io", EITHER),
            ] {
                let url = exec_url(node, request(&id, &script, false, true)).await?;
                let args = ["exec", "-transport", transport, "-protocols", protocols];
                let args = [&args[..], &["-stderr", &url]].concat();
                let output = stream_client(&args, b"").await?;
                let what = format!("{transport} {protocols:?}: {output:?}");
                let stderr = String::from_utf8_lossy(&output.stderr);
                ensure!(output.stdout == b"out\n", "{what}");
                ensure!(stderr.starts_with("err\n"), "{what}");
                if code == EITHER {
                    continue;
                }
                ensure!(output.status.code() == Some(code), "{what}");
                let told = stderr.contains("command terminated with exit code 7");
                ensure!(told == (code == FAILED), "{what}");
            }
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn stdin_ends_by_itself_where_the_protocol_can() -> Result {
    on_node(
        "exec::stdin_ends_by_itself_where_the_protocol_can",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("stdin");
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            let input = vec![b'x'; 300_000];
            for (transport, protocols) in [
                ("spdy", "v4.channel.k8s.io"),
                ("spdy", "v3.channel.k8s.io"),
                ("spdy", "v2.channel.k8s.io"),
                ("websocket", "v5.channel.k8s.io"),
            ] {
                let url = exec_url(node, request(&id, &["wc", "-c"], true, false)).await?;
                let args = ["exec", "-transport", transport, "-protocols", protocols];
                let args = [&args[..], &["-stdin", &url]].concat();
                let output = stream_client(&args, &input).await?;
                ensure!(output.stdout == b"300000\n", "{protocols}: {output:?}");
            }

            // Text channels, where it cannot.
            for protocol in ["base64.channel.k8s.io", "v4.base64.channel.k8s.io"] {
                let head = request(&id, &["head", "-c", "5"], true, false);
                let url = exec_url(node, head).await?;
                let mut stream = websocket(&url, protocol).await?;
                stream.send(Message::Text("0aGVsbG8K".into())).await?;
                let mut came = Vec::new();
                while let Some(message) = stream.next().await {
                    match message? {
                        Message::Text(text) => came.push(text.to_string()),
                        Message::Close(frame) => {
                            let code = frame.context("a close without a code")?.code;
                            ensure!(u16::from(code) == 1000, "{code}");
                        }
                        other => anyhow::bail!("{other:?}"),
                    }
                }
                ensure!(came.first().is_some_and(|it| it == "1"), "{came:?}");
                ensure!(came.contains(&"1aGVsbG8=".to_owned()), "{came:?}");
                if protocol.starts_with("v4") {
                    let status = "3eyJtZXRhZGF0YSI6e30sInN0YXR1cyI6IlN1Y2Nlc3MifQ==";
                    ensure!(came.last().is_some_and(|it| it == status), "{came:?}");
                }
            }
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn a_terminal_has_the_size_of_its_client() -> Result {
    on_node(
        "exec::a_terminal_has_the_size_of_its_client",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("terminal");
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            // stty complains of a terminal without a size, which it is until the client has said one.
            let wait = |size: &str| {
                format!("until [ \"$(stty size 2>/dev/null)\" = \"{size}\" ]; do sleep 0.1; done")
            };
            let script = format!(
                "{}; stty size; {}; stty size; exit 4",
                wait("24 80"),
                wait("40 132")
            );
            for transport in ["spdy", "websocket"] {
                let url = exec_url(
                    node,
                    ExecRequest {
                        tty: true,
                        ..request(&id, &["sh", "-c", &script], true, false)
                    },
                );
                let url = url.await?;
                let args = ["exec", "-transport", transport, "-stdin", "-tty"];
                let args = [&args[..], &["-sizes", "80x24,132x40", &url]].concat();
                let output = stream_client(&args, b"").await?;
                ensure!(output.stdout == b"24 80\r\n40 132\r\n", "{output:?}");
                ensure!(output.status.code() == Some(4), "{output:?}");
            }
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn a_hundred_commands_at_once() -> Result {
    on_node(
        "exec::a_hundred_commands_at_once",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("many");
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            let input: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
            let expected = hex(&input);
            for transport in ["spdy", "websocket"] {
                let mut urls = Vec::new();
                for number in 0..100 {
                    let script = format!("cat; exit {number}");
                    let cat = request(&id, &["sh", "-c", &script], true, false);
                    urls.push(exec_url(node, cat).await?);
                }
                let mut args = vec!["exec", "-transport", transport, "-stdin"];
                args.extend(urls.iter().map(String::as_str));
                let output = stream_client(&args, &input).await?;
                let lines = String::from_utf8(output.stdout)?;
                let expected: Vec<String> = (0..100)
                    .map(|number| format!("{number} {number} {} {expected}", input.len()))
                    .collect();
                let lines: Vec<&str> = lines.lines().collect();
                let stderr = String::from_utf8_lossy(&output.stderr);
                ensure!(lines == expected, "{transport}: {lines:#?} {stderr}");
            }
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn a_hundred_megabytes_each_way() -> Result {
    on_node(
        "exec::a_hundred_megabytes_each_way",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("much");
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            let input = noise(100 << 20)?;
            let expected = hex(&input);
            for transport in ["spdy", "websocket"] {
                let save = request(
                    &id,
                    &["sh", "-c", "cat > /data; sha256sum < /data"],
                    true,
                    false,
                );
                let url = exec_url(node, save).await?;
                let args = ["exec", "-transport", transport, "-stdin", &url];
                let output = stream_client(&args, &input).await?;
                let hash = String::from_utf8_lossy(&output.stdout).into_owned();
                ensure!(hash.trim() == format!("{expected}  -"), "{hash}");
                let url = exec_url(node, request(&id, &["cat", "/data"], false, false)).await?;
                let output = stream_client(&["exec", "-transport", transport, &url], b"").await?;
                ensure!(
                    output.stdout.len() == input.len(),
                    "{}",
                    output.stdout.len()
                );
                ensure!(hex(&output.stdout) == expected, "other bytes came back");
            }
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn an_attached_client_ends_a_stdin_that_is_for_one() -> Result {
    on_node(
        "exec::an_attached_client_ends_a_stdin_that_is_for_one",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("attached");
            let pod = node.run_pod(&config).await?;
            for transport in ["spdy", "websocket"] {
                let mut once = container(&format!("once-{transport}"), &image, &["cat"]);
                (once.stdin, once.stdin_once) = (true, true);
                let once = node.launch(&pod, &config, once).await?;
                let url = attach_url(node, &once).await?;
                let args = ["exec", "-transport", transport, "-stdin", &url];
                let output = stream_client(&args, b"hello\n").await?;
                ensure!(output.stdout == b"hello\n", "{output:?}");
                ensure!(output.status.success(), "{output:?}");
                let status = node.exited(&once).await?;
                ensure!(status.exit_code == 0, "{status:?}");
            }
            // crictl, which leaves a stdin open that is not for one client.
            let mut shared = container(
                "shared",
                &image,
                &["sh", "-c", "read a; echo 1 $a; read b; echo 2 $b"],
            );
            shared.stdin = true;
            let shared = node.launch(&pod, &config, shared).await?;
            let attach = format!(
                "(echo one; sleep 1) | timeout -s KILL 8 {0} {1} attach -i {2} || true; \
                 (echo two; sleep 1) | timeout -s KILL 8 {0} {1} attach -i --transport websocket {2} || true",
                tool("crictl")?.display(),
                "--runtime-endpoint unix:///run/pinpod/pinpod.sock",
                shared,
            );
            run("/bin/sh", &["-c", &attach]).await?;
            let status = node.exited(&shared).await?;
            ensure!(status.exit_code == 0, "{status:?}");
            let log = std::fs::read_to_string(node.log_path(&config, "shared"))?;
            ensure!(log.contains("F 1 one") && log.contains("F 2 two"), "{log}");
            node.remove_pod(&pod).await
        },
    )
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that no compression makes shorter.
pub(crate) fn noise(length: usize) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = vec![0; length];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
