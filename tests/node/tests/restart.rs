//! The daemon dies and comes back: what runs goes on, what was half made is gone.

use std::time::Duration;

use anyhow::ensure;
use pinpod_cri_api::runtime::v1::{ContainerState, NamespaceMode, PodSandboxState};
use pinpod_testkit::{Options, Result, Snapshot, busybox, container, on_node};

#[test]
fn containers_live_through_the_daemons_death() -> Result {
    on_node(
        "containers_live_through_the_daemons_death",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("survivor");
            let pod = node.run_pod(&config).await?;
            let script = "n=0; while :; do echo line $n; n=$((n+1)); sleep 0.1; done";
            let talker = node
                .launch(
                    &pod,
                    &config,
                    container("talker", &image, &["sh", "-c", script]),
                )
                .await?;
            let leaver = "sleep 0.5; exit 9";
            let leaver = node
                .launch(
                    &pod,
                    &config,
                    container("leaver", &image, &["sh", "-c", leaver]),
                )
                .await?;
            let started = node.container_status(&talker).await?.started_at;
            let address = node.pod_status(&pod).await?.network;

            node.kill9().await?;
            // The leaver ends while nobody looks.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            node.restart().await?;

            let status = node.pod_status(&pod).await?;
            assert_eq!(status.state(), PodSandboxState::SandboxReady);
            assert_eq!(status.network, address);
            let status = node.container_status(&talker).await?;
            assert_eq!(status.state(), ContainerState::ContainerRunning);
            assert_eq!(status.started_at, started);
            let status = node.container_status(&leaver).await?;
            assert_eq!(status.state(), ContainerState::ContainerExited);
            assert_eq!(status.exit_code, 9);

            // No line was lost or said twice.
            let log = std::fs::read_to_string(node.log_path(&config, "talker"))?;
            for (n, line) in log.lines().enumerate() {
                ensure!(
                    line.ends_with(&format!(" stdout F line {n}")),
                    "line {n}: {line}"
                );
            }
            ensure!(log.lines().count() > 10, "it went on: {log}");

            assert_eq!(node.output(&talker, &["hostname"]).await?, "survivor\n");
            assert_eq!(node.run_pod(&config).await?, pod, "the key is known still");
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}

#[test]
fn a_pod_without_containers_lives_through_it_too() -> Result {
    on_node(
        "a_pod_without_containers_lives_through_it_too",
        Options::default(),
        async |node| {
            let mut config = node.pod("empty");
            let linux = config.linux.get_or_insert_default();
            let security = linux.security_context.get_or_insert_default();
            let namespaces = security.namespace_options.get_or_insert_default();
            namespaces.set_pid(NamespaceMode::Pod);
            let pod = node.run_pod(&config).await?;
            node.kill9().await?;
            node.restart().await?;
            assert_eq!(
                node.pod_status(&pod).await?.state(),
                PodSandboxState::SandboxReady
            );
            let image = node.import(busybox().await?).await?;
            let sleep = container("late", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            assert_eq!(node.output(&id, &["hostname"]).await?, "empty\n");
            node.stop_daemon().await?;
            node.restart().await?;
            assert_eq!(node.output(&id, &["hostname"]).await?, "empty\n");
            node.remove_pod(&pod).await?;
            Ok(())
        },
    )
}

#[test]
fn a_stopped_pod_stays_stopped() -> Result {
    on_node(
        "a_stopped_pod_stays_stopped",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("stopped");
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            node.stop_pod(&pod).await?;
            node.kill9().await?;
            node.restart().await?;
            assert_eq!(
                node.pod_status(&pod).await?.state(),
                PodSandboxState::SandboxNotready
            );
            let status = node.container_status(&id).await?;
            assert_eq!(status.state(), ContainerState::ContainerExited);
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}

#[test]
fn a_daemon_killed_at_any_instant_leaves_nothing() -> Result {
    on_node(
        "a_daemon_killed_at_any_instant_leaves_nothing",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            for round in 0_u64..12 {
                let config = node.pod(&format!("round-{round}"));
                let create = async {
                    let pod = node.run_pod(&config).await?;
                    let sleep = container("main", &image, &["sleep", "1000"]);
                    node.launch(&pod, &config, sleep).await
                };
                // Later in each round: from the middle of the network to the running container.
                let limit = Duration::from_millis(5 + round * round * 4);
                let outcome = tokio::time::timeout(limit, create).await;
                node.kill9().await?;
                node.restart().await?;
                if let Ok(Err(error)) = outcome {
                    return Err(error);
                }
                // The kubelet asks again: the request must not find its name taken by a ruin.
                let pod = node.run_pod(&config).await?;
                node.remove_pod(&pod).await?;
            }
            node.assert_clean().await
        },
    )
}

#[test]
fn a_container_outlives_its_monitor() -> Result {
    on_node(
        "a_container_outlives_its_monitor",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("orphan");
            let before = Snapshot::take(node.cgroup_parent()).await?;
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            let mut processes = Snapshot::take(node.cgroup_parent()).await?.beyond(&before);
            processes.retain(|thing| thing.starts_with("process pinpod-monitor"));
            assert_eq!(processes.len(), 1, "one for the pod: {processes:?}");
            pinpod_testkit::run("pkill", &["-KILL", "-x", "pinpod-monitor"]).await?;
            tokio::time::sleep(Duration::from_millis(300)).await;
            let status = node.container_status(&id).await?;
            assert_eq!(status.state(), ContainerState::ContainerRunning);

            // Nobody can know its exit code then; the status says so.
            node.stop_container(&id, 0).await?;
            let status = node.exited(&id).await?;
            assert_eq!(status.exit_code, 255);
            ensure!(status.message.contains("monitor"), "{status:?}");
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}
