//! The server on a socket, with an engine that has no pods: what requests without a URL that is
//! good get to hear, and that none of them costs anything.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pinpod_bundle::{NodeFacts, SpecDefaults};
use pinpod_cgroup::Hierarchy;
use pinpod_image::{Images, ImagesConfig};
use pinpod_model::CgroupDriver;
use pinpod_network::{Deadlines, Network, NetworkConfig};
use pinpod_pod::{Engine, Parts, Plugins, Settings};
use pinpod_streaming::{AttachRequest, Config, ExecRequest, PortForwardRequest, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn serve(directory: &Path) -> Server {
    let images = Images::open(ImagesConfig {
        root: directory.join("images"),
        registries_conf: directory.join("registries.conf"),
        registries_dir: directory.join("registries.conf.d"),
        ..ImagesConfig::default()
    });
    let settings = Settings {
        runroot: directory.join("run"),
        namespaces_dir: directory.join("namespaces"),
        cgroup_driver: CgroupDriver::Cgroupfs,
        handlers: Vec::new(),
        default_handler: "runc".into(),
        monitor_binary: "pinpod-monitor".into(),
        init_binary: "pinpod-init".into(),
        default_sysctls: Vec::new(),
        seccomp_dir: directory.to_owned(),
        spec_defaults: SpecDefaults::default(),
        shm_size: 64 << 20,
        unfetched_grace: Duration::from_secs(120),
    };
    let engine = Engine::recover(Parts {
        settings,
        node: NodeFacts::default(),
        cgroups: Hierarchy::detect().unwrap(),
        images: images.unwrap(),
        network: Network::new(NetworkConfig {
            conf_template: None,
            conf_dir: directory.join("net.d"),
            plugin_dirs: Vec::new(),
            default_network: None,
            cache_dir: directory.join("cni-cache"),
            deadlines: Deadlines::default(),
        }),
        plugins: Arc::new(Plugins::none()),
    });
    let engine = engine.await.unwrap();
    Server::bind(Config::default(), engine).unwrap()
}

/// The whole answer to a request, up to the end of the connection.
async fn ask(server: &Server, request: &str) -> String {
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    let request = format!("{request}\r\nHost: localhost\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = connection.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn requests_that_lead_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path()).await;
    let spdy = "HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1";
    let websocket = "HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket";
    for (request, status, text) in [
        ("GET / HTTP/1.1".to_owned(), "404", "no such URL"),
        ("GET /exec HTTP/1.1".to_owned(), "404", "no such URL"),
        (format!("GET /metrics/x {spdy}"), "404", "no such URL"),
        (format!("PUT /exec/x {spdy}"), "405", "only GET and POST"),
        ("POST /exec/x HTTP/1.1".to_owned(), "426", "upgrades"),
        (format!("GET /attach/x {websocket}"), "400", "Version"),
        (
            format!("POST /exec/x {spdy}\r\nX-Stream-Protocol-Version: v9"),
            "403",
            "v4.channel.k8s.io, v3.channel.k8s.io",
        ),
        (format!("POST /exec/x {spdy}"), "404", "its minute is over"),
        (format!("POST /portforward/x {spdy}"), "404", "no such URL"),
    ] {
        let answer = ask(&server, &request).await;
        let start = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&start), "{request}: {answer}");
        assert!(answer.contains(text), "{request}: {answer}");
    }
    server.stop().await;
    TcpStream::connect(server.address()).await.unwrap_err();
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path()).await;
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    connection
        .write_all(b"GET /exec/x HTTP/1.1\r\n")
        .await
        .unwrap();
    let line = [b"X-Filler: ", &[b'a'; 4096][..], b"\r\n"].concat();
    let mut sent = 0;
    while connection.write_all(&line).await.is_ok() {
        sent += line.len();
        assert!(sent < 16 << 20, "a header of {sent} bytes was read");
        tokio::task::yield_now().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn urls_for_what_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path()).await;
    let exec = ExecRequest {
        container_id: "c0ffee".into(),
        cmd: vec!["true".into()],
        stdout: true,
        ..ExecRequest::default()
    };
    let attach = AttachRequest {
        container_id: "c0ffee".into(),
        tty: true,
        stderr: true,
        ..AttachRequest::default()
    };
    let port = PortForwardRequest {
        pod_sandbox_id: "c0ffee".into(),
        ports: vec![70_000],
    };
    for (error, text) in [
        (server.exec_url(exec).unwrap_err(), "c0ffee"),
        (server.attach_url(attach).unwrap_err(), "stderr: a terminal"),
        (
            server.port_forward_url(port).unwrap_err(),
            "port: 70000 is not a port",
        ),
        (
            server.exec_url(ExecRequest::default()).unwrap_err(),
            "cmd: no command",
        ),
    ] {
        assert!(error.to_string().contains(text), "{error}");
    }
    server.stop().await;
}
