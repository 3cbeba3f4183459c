//! Bad clients of the CRI socket.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{
    ContainerConfig, ContainerFilter, CreateContainerRequest, Device, ExecSyncRequest, KeyValue,
    ListContainersRequest, Mount, PodSandboxConfig, PortMapping, RunPodSandboxRequest,
    VersionRequest,
};
use pinpod_testkit::{Node, Options, Result, on_node};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tonic::{Code, Request, Status};

use crate::socket::{CRI, all_send_cri, answer, collect, noise, tally};
use crate::table::{Target, Watch};

/// How every connection of HTTP/2 begins: the preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[test]
fn connections_that_speak_no_grpc() -> Result {
    on_node(
        "grpc::connections_that_speak_no_grpc",
        Options::default(),
        async |node| {
            let target = Target::start(node, "silent").await?;
            let noise = noise(65_536);
            let giant = [PREFACE, &[0xff, 0xff, 0xff, 1, 4, 0, 0, 0, 1], &[0; 65_536]].concat();
            let garbage = [PREFACE, &noise[..]].concat();
            for (what, count, bytes) in [
                ("CRI socket: noise", 200, &noise[..]),
                (
                    "CRI socket: HTTP/1.1",
                    200,
                    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                ),
                ("CRI socket: HTTP/2, then noise", 200, &garbage),
                ("CRI socket: a frame of 16 MiB", 200, &giant),
                ("CRI socket: silence, 1,000 at once", 1000, b""),
                (
                    "CRI socket: half a preface, 1,000 at once",
                    1000,
                    &PREFACE[..20],
                ),
                ("CRI socket: 1,100 at once", 1100, b""),
                (
                    "CRI socket: HTTP/2, then silence, 900 at once",
                    900,
                    PREFACE,
                ),
            ] {
                let watch = Watch::begin(node)?;
                let answered = all_send_cri(count, bytes).await?;
                watch.end(node, what, &answered, 64 << 10).await?;
                ensure!(!answered.contains("open"), "{what}: {answered}");
            }
            node.remove_pod(&target.pod).await
        },
    )
}

#[test]
fn many_calls_at_once() -> Result {
    on_node(
        "grpc::many_calls_at_once",
        Options::default(),
        async |node| {
            let target = Target::start(node, "calls").await?;
            let watch = Watch::begin(node)?;
            let mut all = Vec::new();
            for _ in 0..5000 {
                let mut client = node.runtime();
                all.push(tokio::spawn(async move {
                    let listed = client
                        .list_containers(ListContainersRequest::default())
                        .await;
                    code(&listed.map(drop))
                }));
            }
            let answered = collect(all).await?;
            watch
                .end(
                    node,
                    "5,000 ListContainers at once on one connection",
                    &answered,
                    64 << 10,
                )
                .await?;
            ensure!(answered == "5000 × Ok", "{answered}");

            // A call that begins and never ends: the head of a message, and nothing after it.
            let watch = Watch::begin(node)?;
            let mut all = Vec::new();
            for _ in 0..900 {
                let mut socket = UnixStream::connect(CRI).await?;
                all.push(tokio::spawn(async move {
                    socket.write_all(&begun_call()).await.ok();
                    answer(socket).await
                }));
            }
            let answered = collect(all).await?;
            watch
                .end(
                    node,
                    "900 calls with the head of a message of 64 MiB",
                    &answered,
                    64 << 10,
                )
                .await?;
            ensure!(!answered.contains("open"), "{answered}");
            node.remove_pod(&target.pod).await
        },
    )
}

/// The beginning of a call of Version with a message of 64 MiB, of which nothing comes.
fn begun_call() -> Vec<u8> {
    // HPACK: :method POST, :scheme http, then :path, content-type and te as literals.
    let mut headers = vec![0x83, 0x86];
    for (name, value) in [
        (":path", "/runtime.v1.RuntimeService/Version"),
        (":authority", "pinpod"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        headers.push(0);
        for text in [name, value] {
            headers.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            headers.extend(text.as_bytes());
        }
    }
    let length = u8::try_from(headers.len()).unwrap_or(u8::MAX);
    let message = [0, 4, 0, 0, 0, 1, 2, 3];
    [
        PREFACE,
        &[0, 0, length, 1, 4, 0, 0, 0, 1],
        &headers,
        &[0, 0, 8, 0, 0, 0, 0, 0, 1],
        &message,
    ]
    .concat()
}

fn code(outcome: &std::result::Result<(), Status>) -> String {
    let code = outcome.as_ref().err().map_or(Code::Ok, Status::code);
    format!("{code:?}")
}

#[test]
fn messages_that_are_too_much() -> Result {
    on_node(
        "grpc::messages_that_are_too_much",
        Options::default(),
        async |node| {
            let target = Target::start(node, "much").await?;
            let mib = "x".repeat(1 << 20);
            let env = |count: usize| {
                let pair = |n: usize| KeyValue {
                    key: format!("N{n}"),
                    value: mib.clone().into(),
                };
                (0..count).map(pair).collect::<Vec<_>>()
            };
            let base = &target.template;
            let named = |name: &str, config: ContainerConfig| {
                let mut config = config;
                config.metadata.get_or_insert_default().name = name.to_owned();
                config
            };
            let mount = |n: usize| Mount {
                host_path: "/tmp".into(),
                container_path: format!("/mnt/{n}"),
                ..Default::default()
            };
            let device = |n: usize| Device {
                host_path: "/dev/null".into(),
                container_path: format!("/dev/n{n}"),
                permissions: "rw".into(),
            };
            for (what, config, expected) in [
                (
                    "CreateContainer of 100 MiB",
                    ContainerConfig {
                        envs: env(100),
                        ..base.clone()
                    },
                    &["ResourceExhausted"][..],
                ),
                (
                    "CreateContainer with 16 MiB of environment",
                    ContainerConfig {
                        envs: env(16),
                        ..base.clone()
                    },
                    &["InvalidArgument"],
                ),
                (
                    "CreateContainer with 16 MiB of arguments",
                    ContainerConfig {
                        args: vec![mib.clone(); 16],
                        ..base.clone()
                    },
                    &["InvalidArgument"],
                ),
                (
                    "CreateContainer with 16 MiB of annotations",
                    ContainerConfig {
                        annotations: (0..16).map(|n| (n.to_string(), mib.clone())).collect(),
                        ..base.clone()
                    },
                    &["InvalidArgument"],
                ),
                (
                    "CreateContainer with 100,000 mounts",
                    ContainerConfig {
                        mounts: (0..100_000).map(mount).collect(),
                        ..base.clone()
                    },
                    &["InvalidArgument"],
                ),
                (
                    "CreateContainer with 100,000 devices",
                    ContainerConfig {
                        devices: (0..100_000).map(device).collect(),
                        ..base.clone()
                    },
                    &["InvalidArgument"],
                ),
            ] {
                let watch = Watch::begin(node)?;
                let answered = create(node, &target, named("big", config)).await;
                watch.end(node, what, &answered, 400 << 10).await?;
                ensure!(
                    expected.iter().any(|it| answered.starts_with(it)),
                    "{what}: {answered}"
                );
            }
            pods_and_lists(node, &target).await?;
            node.output(&target.container, &["true"]).await?;
            node.remove_pod(&target.pod).await
        },
    )
}

/// Creates a container and removes it if that was done; what was answered.
async fn create(node: &Node, target: &Target, config: ContainerConfig) -> String {
    let request = CreateContainerRequest {
        pod_sandbox_id: target.pod.clone(),
        config: Some(config),
        sandbox_config: Some(target.config.clone()),
    };
    match node.runtime().create_container(request).await {
        Ok(created) => {
            let id = created.into_inner().container_id;
            match node.remove_container(&id).await {
                Ok(()) => "Ok".to_owned(),
                Err(error) => format!("Ok, but not removed: {error:#}"),
            }
        }
        Err(status) => told(&status),
    }
}

/// Code and beginning of what was said.
fn told(status: &Status) -> String {
    let text: String = status.message().chars().take(100).collect();
    format!("{:?}: {}", status.code(), text.replace('\n', " "))
}

async fn pods_and_lists(node: &Node, target: &Target) -> Result {
    let mut runtime = node.runtime();
    let pod = |name: &str, change: &dyn Fn(&mut PodSandboxConfig)| {
        let mut config = node.pod(name);
        change(&mut config);
        RunPodSandboxRequest {
            config: Some(config),
            ..Default::default()
        }
    };
    let port = |n: i32| PortMapping {
        container_port: 80,
        host_port: n % 65_535 + 1,
        host_ip: format!("127.0.{}.{}", n >> 8 & 255, n & 255),
        ..Default::default()
    };
    let label = || (0..16).map(|n| (n.to_string(), "x".repeat(1 << 20)));
    for (what, request) in [
        (
            "RunPodSandbox with 100,000 ports",
            pod("ports", &|it| {
                it.port_mappings = (0..100_000).map(port).collect()
            }),
        ),
        (
            "RunPodSandbox with 16 MiB of labels",
            pod("labels", &|it| it.labels = label().collect()),
        ),
        (
            "RunPodSandbox with a host name of 1 MiB",
            pod("name", &|it| it.hostname = "x".repeat(1 << 20)),
        ),
    ] {
        let watch = Watch::begin(node)?;
        let answered = match runtime.run_pod_sandbox(request).await {
            Ok(made) => {
                node.remove_pod(&made.into_inner().pod_sandbox_id).await?;
                "Ok".to_owned()
            }
            Err(status) => told(&status),
        };
        watch.end(node, what, &answered, 256 << 10).await?;
        ensure!(
            answered.starts_with("InvalidArgument"),
            "{what}: {answered}"
        );
    }
    let watch = Watch::begin(node)?;
    let selector = (0..500_000)
        .map(|n| (n.to_string(), n.to_string()))
        .collect();
    let filter = ContainerFilter {
        label_selector: selector,
        ..Default::default()
    };
    let listed = runtime
        .list_containers(ListContainersRequest {
            filter: Some(filter),
        })
        .await;
    let answered = format!("Ok, {} containers", listed?.into_inner().containers.len());
    watch
        .end(
            node,
            "ListContainers with 500,000 labels to match",
            &answered,
            256 << 10,
        )
        .await?;
    let watch = Watch::begin(node)?;
    // The kernel's limit of arguments decides whether it runs.
    let many = ExecSyncRequest {
        container_id: target.container.clone(),
        cmd: vec!["echo".to_owned(); 500_000],
        timeout: 10,
    };
    let answered = runtime
        .exec_sync(many)
        .await
        .map_or_else(|status| told(&status), |_| "Ok".to_owned());
    watch
        .end(node, "ExecSync with 500,000 words", &answered, 256 << 10)
        .await?;
    let watch = Watch::begin(node)?;
    let mut long = Request::new(VersionRequest::default());
    long.metadata_mut()
        .insert("x", "a".repeat(1 << 20).parse()?);
    // On a connection of its own, which it costs.
    let answered = node
        .runtime_apart(65_535)?
        .version(long)
        .await
        .map_or_else(|status| told(&status), |_| "Ok".to_owned());
    watch
        .end(node, "a call with a header of 1 MiB", &answered, 64 << 10)
        .await?;
    ensure!(answered != "Ok", "{answered}");
    Ok(())
}

#[test]
fn output_without_end() -> Result {
    on_node(
        "grpc::output_without_end",
        Options::default(),
        async |node| {
            let target = Target::start(node, "endless").await?;
            let exec = |command: &str, timeout: i64| {
                let mut runtime = node.runtime().max_decoding_message_size(80 << 20);
                let request = ExecSyncRequest {
                    container_id: target.container.clone(),
                    cmd: ["sh", "-c", command].map(str::to_owned).to_vec(),
                    timeout,
                };
                tokio::spawn(async move {
                    match runtime.exec_sync(request).await {
                        Ok(answer) => {
                            let answer = answer.into_inner();
                            let (out, err) = (answer.stdout.len() >> 20, answer.stderr.len() >> 20);
                            format!("Ok, code {}, {out} + {err} MiB", answer.exit_code)
                        }
                        Err(status) => told(&status),
                    }
                })
            };
            let watch = Watch::begin(node)?;
            let answered = exec("yes & yes >&2", 3).await?;
            watch
                .end(
                    node,
                    "ExecSync of `yes` on both streams for 3 s",
                    &answered,
                    128 << 10,
                )
                .await?;
            ensure!(answered.starts_with("DeadlineExceeded"), "{answered}");
            let watch = Watch::begin(node)?;
            let answered = exec("head -c 200000000 /dev/zero; exit 3", 120).await?;
            watch
                .end(node, "ExecSync that says 200 MB", &answered, 128 << 10)
                .await?;
            ensure!(answered == "Ok, code 3, 16 + 0 MiB", "{answered}");
            let watch = Watch::begin(node)?;
            let ten: Vec<_> = (0..10).map(|_| exec("yes", 5)).collect();
            let mut answers = Vec::new();
            for one in ten {
                answers.push(one.await?);
            }
            let answered = tally(answers);
            watch
                .end(
                    node,
                    "10 ExecSync of `yes` at once for 5 s",
                    &answered,
                    512 << 10,
                )
                .await?;
            tokio::time::timeout(
                Duration::from_secs(20),
                node.output(&target.container, &["true"]),
            )
            .await
            .context("the monitor is stuck")??;
            node.remove_pod(&target.pod).await
        },
    )
}
