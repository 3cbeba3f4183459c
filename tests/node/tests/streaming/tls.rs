//! The stream server over TLS: `crictl`, Kubernetes' library, certificates of clients, and a
//! certificate that is replaced while the daemon runs.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use pinpod_testkit::{Node, Options, Result, busybox, container, on_node, run, tool};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::client::{exec_url, forward_url, request, stream_client};

const DIRECTORY: &str = "/etc/pinpod";

/// A certificate for 127.0.0.1 of the node's authority.
async fn issue(name: &str) -> Result {
    let file = |ending: &str| format!("{DIRECTORY}/{name}.{ending}");
    let (key, pem) = (file("key"), file("pem"));
    let subject = format!("/CN={name}");
    let ca = [format!("{DIRECTORY}/ca.pem"), format!("{DIRECTORY}/ca.key")];
    let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt"];
    args.extend(["ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    args.extend(["-subj", &subject, "-keyout", &key, "-out", &pem]);
    if name != "ca" {
        args.extend(["-CA", &ca[0], "-CAkey", &ca[1]]);
        args.extend(["-addext", "subjectAltName=IP:127.0.0.1"]);
        args.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    run("openssl", &args).await?;
    Ok(())
}

/// What `stream-client` says of `echo secret` over TLS, with a certificate of this name.
async fn ask(node: &Node, id: &str, transport: &str, name: Option<&str>) -> Result<String> {
    let url = exec_url(node, request(id, &["echo", "secret"], false, false)).await?;
    ensure!(url.starts_with("https://127.0.0.1:"), "{url}");
    let ca = format!("{DIRECTORY}/ca.pem");
    let mut args = vec!["exec", "-transport", transport, "-ca", &ca];
    let (cert, key);
    if let Some(name) = name {
        cert = format!("{DIRECTORY}/{name}.pem");
        key = format!("{DIRECTORY}/{name}.key");
        args.extend(["-cert", &cert, "-key", &key]);
    }
    args.push(&url);
    let output = stream_client(&args, b"").await?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{stderr}");
    Ok(String::from_utf8(output.stdout)?)
}

/// A port of a pod through `crictl port-forward`, which is told no port of this side.
#[allow(
    clippy::disallowed_methods,
    reason = "a program that runs beside the test"
)]
async fn forward_with_crictl(pod: &str, transport: &str, port: u16) -> Result {
    let file = |name: &str| format!("{DIRECTORY}/{name}");
    let mut crictl = Command::new(tool("crictl")?)
        .args(["--runtime-endpoint", Node::ENDPOINT, "port-forward"])
        .args(["--transport", transport, "--tls-ca", &file("ca.pem")])
        .args([
            "--tls-cert",
            &file("kubelet.pem"),
            "--tls-key",
            &file("kubelet.key"),
        ])
        .args(["--tls-server-name", "127.0.0.1", pod, &format!("0:{port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // Forwarding from 127.0.0.1:46105 -> 9001
    let mut lines = BufReader::new(crictl.stdout.take().context("stdout")?).lines();
    let line = lines.next_line().await?.context("no port of crictl")?;
    let local = line.split([' ', ':']).find_map(|word| word.parse().ok());
    let local: u16 = local.with_context(|| line.clone())?;
    let mut socket = TcpStream::connect(("127.0.0.1", local)).await?;
    socket.write_all(b"over TLS").await?;
    let mut back = [0; 8];
    socket.read_exact(&mut back).await?;
    assert_eq!(&back, b"over TLS", "{transport}");
    crictl.kill().await?;
    Ok(())
}

#[test]
fn streams_over_tls() -> Result {
    on_node("tls::streams_over_tls", Options::default(), async |node| {
        for name in ["ca", "server", "kubelet"] {
            issue(name).await?;
        }
        let image = node.import(busybox().await?).await?;
        let config = node.pod("tls");
        let pod = node.run_pod(&config).await?;
        let echo = container(
            "main",
            &image,
            &["nc", "-ll", "-p", "9001", "-e", "/bin/cat"],
        );
        let id = node.launch(&pod, &config, echo).await?;
        let base = std::fs::read_to_string("/etc/pinpod/pinpod.conf")?;
        let with = |more: &str| {
            let api = format!(
                "{base}\n[pinpod.api]\nstream_enable_tls = true\n\
                 stream_tls_cert = \"{DIRECTORY}/server.pem\"\n\
                 stream_tls_key = \"{DIRECTORY}/server.key\"\n{more}"
            );
            std::fs::write("/etc/pinpod/pinpod.conf", api)
        };
        with("")?;
        node.restart().await?;
        for transport in ["spdy", "websocket"] {
            ensure!(ask(node, &id, transport, None).await? == "secret\n");
            let exec = ["exec", "--transport", transport, &id, "echo", "secret"];
            let said = node.crictl(&exec).await?;
            ensure!(said == "secret", "{said}");
            forward_with_crictl(&pod, transport, 9001).await?;
        }
        let url = forward_url(node, &pod, &[80]).await?;
        ensure!(url.starts_with("https://"), "{url}");

        // A certificate of another authority is not trusted; the old one comes back.
        issue("next").await?;
        run(
            "/bin/sh",
            &[
                "-c",
                "cd /etc/pinpod && mv server.pem old.pem && mv server.key old.key",
            ],
        )
        .await?;
        let other = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ];
        let other = [&other[..], &["-nodes", "-subj", "/CN=other"]].concat();
        let out = [
            "-keyout",
            "/etc/pinpod/server.key",
            "-out",
            "/etc/pinpod/server.pem",
        ];
        run("openssl", &[&other[..], &out].concat()).await?;
        let refused = ask(node, &id, "spdy", None).await.unwrap_err().to_string();
        ensure!(refused.contains("certificate"), "{refused}");
        run(
            "/bin/sh",
            &[
                "-c",
                "cd /etc/pinpod && mv next.pem server.pem && mv next.key server.key",
            ],
        )
        .await?;
        ensure!(ask(node, &id, "spdy", None).await? == "secret\n");

        // Clients that must show one.
        with(&format!(
            "stream_tls_ca = \"{DIRECTORY}/ca.pem\"\ntls_min_version = \"VersionTLS13\"\n"
        ))?;
        node.restart().await?;
        for transport in ["spdy", "websocket"] {
            ensure!(ask(node, &id, transport, Some("kubelet")).await? == "secret\n");
            let refused = ask(node, &id, transport, None)
                .await
                .unwrap_err()
                .to_string();
            ensure!(refused.contains("certificate required"), "{refused}");
        }
        node.remove_pod(&pod).await
    })
}
