//! Containers: their life, their logs, what runs in them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{
    ContainerConfig, ContainerState, ExecSyncRequest, Int64Value, KeyValue,
    LinuxContainerResources, LinuxContainerSecurityContext, ListContainersRequest, Mount,
    NamespaceMode, NamespaceOption, RemoveContainerRequest, StopContainerRequest,
    UpdateContainerResourcesRequest,
};
use pinpod_testkit::{Node, Options, Result, busybox, container, on_node, tiny};
use tonic::Code;

fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default()
}

/// The stream and the text of each line of a CRI log.
fn log_lines(
    node: &Node,
    pod: &pinpod_cri_api::runtime::v1::PodSandboxConfig,
    name: &str,
) -> Result<Vec<String>> {
    let path = node.log_path(pod, name);
    let log = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    log.lines()
        .map(|line| {
            let (time, rest) = line.split_once(' ').context("no time")?;
            ensure!(time.contains('T') && time.len() >= 20, "{line}");
            Ok(rest.to_owned())
        })
        .collect()
}

#[test]
fn the_life_of_a_container() -> Result {
    on_node(
        "the_life_of_a_container",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("life");
            let pod = node.run_pod(&config).await?;
            let mut main = container("main", &image, &["sh", "-c"]);
            main.args =
                vec!["echo out; echo err >&2; printf partial; sleep 0.2; exit 3".to_owned()];
            main.envs = vec![KeyValue {
                key: "A".to_owned(),
                value: b"b".to_vec(),
            }];
            let id = node.create_container(&pod, &config, main).await?;
            let status = node.container_status(&id).await?;
            assert_eq!(status.state(), ContainerState::ContainerCreated);
            ensure!(
                status.created_at > 0 && status.started_at == 0,
                "{status:?}"
            );

            node.start_container(&id).await?;
            let status = node.exited(&id).await?;
            assert_eq!(status.exit_code, 3);
            assert_eq!(status.reason, "Error");
            ensure!(status.created_at <= status.started_at, "{status:?}");
            ensure!(status.started_at <= status.finished_at, "{status:?}");
            let mut lines = log_lines(node, &config, "main")?;
            lines.sort();
            assert_eq!(lines, ["stderr F err", "stdout F out", "stdout P partial"]);

            node.remove_container(&id).await?;
            let error = node.container_status(&id).await.expect_err("it is gone");
            let status = error
                .downcast_ref::<tonic::Status>()
                .context("no gRPC status")?;
            assert_eq!(status.code(), Code::NotFound);
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}

#[test]
fn exec_sync_runs_beside_the_container() -> Result {
    on_node(
        "exec_sync_runs_beside_the_container",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("exec");
            let pod = node.run_pod(&config).await?;
            let id = node
                .launch(&pod, &config, container("main", &image, &["sleep", "1000"]))
                .await?;
            let script = "echo out; echo err >&2; exit 7";
            let response = node.exec(&id, &["sh", "-c", script]).await?;
            assert_eq!(response.stdout, b"out\n");
            assert_eq!(response.stderr, b"err\n");
            assert_eq!(response.exit_code, 7);
            assert_eq!(node.output(&id, &["hostname"]).await?, "exec\n");
            // A megabyte goes through whole.
            let big = node
                .output(&id, &["sh", "-c", "yes 1234567 | head -c 1000000"])
                .await?;
            assert_eq!(big.len(), 1_000_000);

            let begin = Instant::now();
            let late = ExecSyncRequest {
                container_id: id.clone(),
                cmd: vec!["sleep".to_owned(), "100".to_owned()],
                timeout: 1,
            };
            let status = node
                .runtime()
                .exec_sync(late)
                .await
                .expect_err("it takes too long");
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
            ensure!(
                begin.elapsed() < Duration::from_secs(5),
                "{:?}",
                begin.elapsed()
            );
            let left = node.output(&id, &["ps"]).await?;
            ensure!(!left.contains("sleep 100\n"), "{left}");
            let unknown = node.exec(&id, &["/no/such/program"]).await;
            ensure!(unknown.is_err() || unknown.is_ok_and(|r| r.exit_code != 0));
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn stop_waits_for_the_signal_and_then_kills() -> Result {
    on_node(
        "stop_waits_for_the_signal_and_then_kills",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("stop");
            let pod = node.run_pod(&config).await?;
            let polite = "trap 'exit 5' TERM; while :; do sleep 0.1; done";
            let polite = node
                .launch(
                    &pod,
                    &config,
                    container("polite", &image, &["sh", "-c", polite]),
                )
                .await?;
            let stubborn = "trap '' TERM; while :; do sleep 0.1; done";
            let stubborn = node
                .launch(
                    &pod,
                    &config,
                    container("stubborn", &image, &["sh", "-c", stubborn]),
                )
                .await?;
            // The traps must be set before the signal comes.
            tokio::time::sleep(Duration::from_millis(300)).await;

            node.stop_container(&polite, 20).await?;
            assert_eq!(node.container_status(&polite).await?.exit_code, 5);
            let begin = Instant::now();
            node.stop_container(&stubborn, 1).await?;
            ensure!(
                begin.elapsed() >= Duration::from_millis(900),
                "{:?}",
                begin.elapsed()
            );
            assert_eq!(node.container_status(&stubborn).await?.exit_code, 137);

            // Both may be asked again, and about what never was.
            for container_id in [polite, stubborn, "f".repeat(64)] {
                let stop = StopContainerRequest {
                    container_id: container_id.clone(),
                    timeout: 0,
                };
                node.runtime().stop_container(stop).await?;
                for _ in 0..2 {
                    let remove = RemoveContainerRequest {
                        container_id: container_id.clone(),
                    };
                    node.runtime().remove_container(remove).await?;
                }
            }
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn stopping_the_pod_stops_its_containers() -> Result {
    on_node(
        "stopping_the_pod_stops_its_containers",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("whole");
            let pod = node.run_pod(&config).await?;
            for name in ["one", "two"] {
                let sleep = container(name, &image, &["sleep", "1000"]);
                node.launch(&pod, &config, sleep).await?;
            }
            node.create_container(&pod, &config, container("three", &image, &["true"]))
                .await?;
            node.stop_pod(&pod).await?;
            let list = node
                .runtime()
                .list_containers(ListContainersRequest::default())
                .await?;
            let containers = list.into_inner().containers;
            assert_eq!(containers.len(), 3);
            for one in containers {
                ensure!(one.state() != ContainerState::ContainerRunning, "{one:?}");
            }
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}

#[test]
fn containers_share_what_the_pod_says() -> Result {
    on_node(
        "containers_share_what_the_pod_says",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let shared = |pid| NamespaceOption {
                network: NamespaceMode::Pod.into(),
                pid,
                ipc: NamespaceMode::Pod.into(),
                ..Default::default()
            };
            let mut config = node.pod("shared");
            let linux = config.linux.get_or_insert_default();
            let pod_security = linux.security_context.get_or_insert_default();
            pod_security.namespace_options = Some(shared(NamespaceMode::Pod.into()));
            let pod = node.run_pod(&config).await?;
            let launch = async |name: &str, pid: NamespaceMode| {
                let mut sleep = container(name, &image, &["sleep", "1000"]);
                security(&mut sleep).namespace_options = Some(shared(pid.into()));
                node.launch(&pod, &config, sleep).await
            };
            let one = launch("one", NamespaceMode::Pod).await?;
            let two = launch("two", NamespaceMode::Pod).await?;
            let own = launch("own", NamespaceMode::Container).await?;
            for kind in ["pid", "net", "ipc", "uts"] {
                let link = format!("/proc/self/ns/{kind}");
                let link = ["readlink", &link];
                let first = node.output(&one, &link).await?;
                assert_eq!(first, node.output(&two, &link).await?, "{kind}");
                let third = node.output(&own, &link).await?;
                assert_eq!(first == third, kind != "pid", "{kind}");
            }
            let seen = node.output(&two, &["ps"]).await?;
            assert_eq!(seen.matches("sleep 1000").count(), 2, "{seen}");
            let seen = node.output(&own, &["ps"]).await?;
            assert_eq!(seen.matches("sleep 1000").count(), 1, "{seen}");

            // Orphans are reaped by process 1 of the pod.
            node.output(&one, &["sh", "-c", "sh -c 'sleep 0.1 &'"])
                .await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let zombies = "grep -l 'State:.Z' /proc/[0-9]*/status || true";
            assert_eq!(node.output(&one, &["sh", "-c", zombies]).await?, "");

            // /dev/shm is the pod's.
            node.output(&one, &["sh", "-c", "echo hello > /dev/shm/note"])
                .await?;
            assert_eq!(
                node.output(&own, &["cat", "/dev/shm/note"]).await?,
                "hello\n"
            );
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}

#[test]
fn the_image_says_what_the_request_does_not() -> Result {
    on_node(
        "the_image_says_what_the_request_does_not",
        Options::default(),
        async |node| {
            let image = node.import(tiny().await?).await?;
            let config = node.pod("tiny");
            let pod = node.run_pod(&config).await?;
            let id = node
                .launch(&pod, &config, container("plain", &image, &[]))
                .await?;
            let id_text = node.output(&id, &["id"]).await?;
            ensure!(id_text.contains("uid=1000(app) gid=1000(app)"), "{id_text}");
            ensure!(id_text.contains("2000(extra)"), "{id_text}");
            assert_eq!(node.output(&id, &["pwd"]).await?, "/home/app\n");

            let mut other = container("other", &image, &[]);
            other.args = vec!["exec sleep 500".to_owned()];
            other.working_dir = "/tmp".to_owned();
            security(&mut other).run_as_user = Some(Int64Value { value: 4000 });
            let id = node.launch(&pod, &config, other).await?;
            ensure!(
                node.output(&id, &["id"])
                    .await?
                    .starts_with("uid=4000 gid=0")
            );
            assert_eq!(node.output(&id, &["pwd"]).await?, "/tmp\n");
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn the_images_volumes_are_there() -> Result {
    on_node(
        "the_images_volumes_are_there",
        Options::default(),
        async |node| {
            let image = node.import(tiny().await?).await?;
            let config = node.pod("volumes");
            let pod = node.run_pod(&config).await?;
            let main = container("main", &image, &[]);
            let id = node.launch(&pod, &config, main).await?;
            // The image names the volume and does not hold the directory.
            node.output(&id, &["test", "-d", "/data"]).await?;
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn mounts_and_limits_hold() -> Result {
    on_node("mounts_and_limits_hold", Options::default(), async |node| {
        let image = node.import(busybox().await?).await?;
        let config = node.pod("mounts");
        let pod = node.run_pod(&config).await?;
        std::fs::create_dir_all("/tmp/volume")?;
        std::fs::write("/tmp/volume/file", "from the node\n")?;
        let mount = |path: &str, readonly| Mount {
            container_path: path.to_owned(),
            host_path: "/tmp/volume".to_owned(),
            readonly,
            ..Default::default()
        };
        let mut main = container("main", &image, &["sleep", "1000"]);
        main.mounts = vec![mount("/rw", false), mount("/ro", true)];
        security(&mut main).readonly_rootfs = true;
        let linux = main.linux.get_or_insert_default();
        linux.resources = Some(LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            cpu_shares: 512,
            ..Default::default()
        });
        let id = node.launch(&pod, &config, main).await?;
        assert_eq!(
            node.output(&id, &["cat", "/ro/file"]).await?,
            "from the node\n"
        );
        node.output(&id, &["sh", "-c", "echo back > /rw/new"])
            .await?;
        assert_eq!(std::fs::read_to_string("/tmp/volume/new")?, "back\n");
        for path in ["/ro/x", "/x"] {
            ensure!(node.output(&id, &["touch", path]).await.is_err(), "{path}");
        }
        assert_eq!(memory_limit(&id)?, 64 << 20);
        let update = UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(LinuxContainerResources {
                memory_limit_in_bytes: 96 << 20,
                ..Default::default()
            }),
            ..Default::default()
        };
        node.runtime().update_container_resources(update).await?;
        assert_eq!(memory_limit(&id)?, 96 << 20);
        node.remove_pod(&pod).await
    })
}

/// The limit in the cgroup whose path names the container.
fn memory_limit(id: &str) -> Result<u64> {
    fn find(directory: &std::path::Path, id: &str) -> Option<String> {
        for entry in std::fs::read_dir(directory).ok()?.flatten() {
            let path = entry.path();
            if !path.is_dir() {
                continue;
            }
            if path.display().to_string().contains(id) {
                let files = ["memory.limit_in_bytes", "memory.max"];
                return files
                    .into_iter()
                    .find_map(|file| std::fs::read_to_string(path.join(file)).ok());
            }
            if let Some(found) = find(&path, id) {
                return Some(found);
            }
        }
        None
    }
    let limit = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"]
        .into_iter()
        .find_map(|top| find(std::path::Path::new(top), id));
    Ok(limit
        .context("no cgroup of the container")?
        .trim()
        .parse()?)
}

#[test]
fn a_container_that_eats_its_memory_is_oom_killed() -> Result {
    let name = "a_container_that_eats_its_memory_is_oom_killed";
    on_node(name, Options::default(), async |node| {
        let image = node.import(busybox().await?).await?;
        let config = node.pod("hungry");
        let pod = node.run_pod(&config).await?;
        let mut main = container("main", &image, &["sh", "-c", "tail /dev/zero"]);
        let linux = main.linux.get_or_insert_default();
        linux.resources = Some(LinuxContainerResources {
            memory_limit_in_bytes: 24 << 20,
            memory_swap_limit_in_bytes: 24 << 20,
            ..Default::default()
        });
        let id = node.launch(&pod, &config, main).await?;
        let status = node.exited(&id).await?;
        assert_eq!(status.reason, "OOMKilled", "{status:?}");
        assert_eq!(status.exit_code, 137);
        node.remove_pod(&pod).await
    })
}

#[test]
fn what_cannot_be_created_leaves_nothing() -> Result {
    on_node(
        "what_cannot_be_created_leaves_nothing",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("refused");
            let pod = node.run_pod(&config).await?;
            node.settle().await?;
            let mut absent = image.clone();
            absent.reference = "localhost:5000/test/absent:1".to_owned();
            let no_program = container("main", &image, &["/no/such/program"]);
            let mut no_source = container("main", &image, &["true"]);
            no_source.mounts = vec![Mount {
                container_path: "/data".to_owned(),
                host_path: "/proc/no-such-source".to_owned(),
                ..Default::default()
            }];
            let mut no_user = container("main", &image, &["true"]);
            security(&mut no_user).run_as_username = "nobody-here".to_owned();
            for (config_of, text) in [
                (container("main", &absent, &["true"]), "test/absent:1"),
                (no_program, "/no/such/program"),
                (no_source, "no-such-source"),
                (no_user, "nobody-here"),
            ] {
                let outcome = async {
                    let id = node.create_container(&pod, &config, config_of).await?;
                    // Some runtimes look for the program only now.
                    let started = node.start_container(&id).await;
                    node.remove_container(&id).await?;
                    started
                };
                let error = format!("{:?}", outcome.await.expect_err(text));
                ensure!(error.contains(text), "{text} not named: {error}");
            }
            let list = node
                .runtime()
                .list_containers(ListContainersRequest::default())
                .await?;
            assert_eq!(list.into_inner().containers, []);
            node.remove_pod(&pod).await
        },
    )
}
