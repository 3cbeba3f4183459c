//! What followers of GetContainerEvents hear: whole lives in order, and how a stream ends.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use pinpod_cri_api::runtime::v1::{
    ContainerEventResponse, ContainerEventType, ContainerState, GetEventsRequest,
    LinuxContainerResources, NamespaceMode, PodSandboxConfig, PodSandboxState,
    PodSandboxStatusRequest, StatusRequest,
};
use pinpod_testkit::{Node, Options, Result, busybox, container, on_node, until};
use tonic::{Code, Streaming};

const MANY: u32 = 1 << 20;

async fn follow(node: &Node) -> Result<Streaming<ContainerEventResponse>> {
    let mut client = node.runtime_apart(MANY)?;
    let response = client.get_container_events(GetEventsRequest {}).await;
    Ok(response.context("GetContainerEvents")?.into_inner())
}

async fn next(events: &mut Streaming<ContainerEventResponse>) -> Result<ContainerEventResponse> {
    let next = tokio::time::timeout(Duration::from_secs(20), events.message());
    let event = next.await.context("no event within 20 s")??;
    event.context("the stream of events has ended")
}

/// As many events as `names` has, each as `<who> <what>`.
async fn hear(
    events: &mut Streaming<ContainerEventResponse>,
    names: &[(&str, &str)],
    count: usize,
) -> Result<(Vec<String>, Vec<ContainerEventResponse>)> {
    let (mut words, mut all) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let event = next(events).await?;
        let who = names.iter().find(|(id, _)| *id == event.container_id);
        let who = who.map_or(event.container_id.as_str(), |(_, name)| *name);
        words.push(format!("{who} {}", word(event.container_event_type())));
        all.push(event);
    }
    Ok((words, all))
}

fn word(kind: ContainerEventType) -> &'static str {
    match kind {
        ContainerEventType::ContainerCreatedEvent => "created",
        ContainerEventType::ContainerStartedEvent => "started",
        ContainerEventType::ContainerStoppedEvent => "stopped",
        ContainerEventType::ContainerDeletedEvent => "deleted",
    }
}

async fn followers(node: &Node) -> Result<u64> {
    let request = StatusRequest { verbose: true };
    let info = node.runtime().status(request).await?.into_inner().info;
    let events: serde_json::Value = serde_json::from_str(&info["events"])?;
    events["followers"].as_u64().context("no followers in info")
}

/// A pod that takes no network plugin to make.
fn quick_pod(node: &Node, name: &str) -> PodSandboxConfig {
    let mut config = node.pod(name);
    config.hostname = String::new();
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    let namespaces = security.namespace_options.get_or_insert_default();
    namespaces.set_network(NamespaceMode::Node);
    config
}

#[test]
fn the_whole_life_of_a_pod_is_told() -> Result {
    on_node(
        "the_whole_life_of_a_pod_is_told",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let mut events = follow(node).await?;
            let config = node.pod("life");
            let pod = node.run_pod(&config).await?;
            let main = container("main", &image, &["sleep", "1000"]);
            let main = node.launch(&pod, &config, main).await?;
            let short = container("short", &image, &["sh", "-c", "exit 3"]);
            let short = node.launch(&pod, &config, short).await?;
            node.exited(&short).await?;
            let refused = container("refused", &image, &["/no/such/program"]);
            ensure!(node.launch(&pod, &config, refused).await.is_err());
            node.stop_container(&main, 0).await?;
            node.remove_container(&short).await?;
            node.remove_pod(&pod).await?;

            let names = [
                (pod.as_str(), "pod"),
                (main.as_str(), "main"),
                (short.as_str(), "short"),
            ];
            let (words, all) = hear(&mut events, &names, 12).await?;
            let expected = [
                "pod created",
                "pod started",
                "main created",
                "main started",
                "short created",
                "short started",
                "short stopped",
                "main stopped",
                "short deleted",
                "pod stopped",
                "main deleted",
                "pod deleted",
            ];
            assert_eq!(words, expected);
            for pair in all.windows(2) {
                ensure!(
                    pair[0].created_at < pair[1].created_at,
                    "in order of time: {pair:#?}"
                );
            }
            for event in &all {
                let status = event.pod_sandbox_status.as_ref();
                let status = status.context("no status of the pod")?;
                assert_eq!(status.id, pod);
                assert_eq!(status.metadata, config.metadata);
            }
            let states = |index: usize| -> Vec<_> {
                let statuses = all[index].containers_statuses.iter();
                statuses
                    .map(|it| (it.id.as_str(), it.state(), it.exit_code))
                    .collect()
            };
            use ContainerState::{ContainerExited, ContainerRunning};
            assert_eq!(states(1), []);
            let running = (main.as_str(), ContainerRunning, 0);
            let newest_first = [(short.as_str(), ContainerExited, 3), running];
            assert_eq!(states(6), newest_first);
            assert_eq!(states(9), [(main.as_str(), ContainerExited, 137)]);
            assert_eq!(states(11), []);
            let sandbox = |index: usize| all[index].pod_sandbox_status.as_ref().unwrap().state();
            assert_eq!(sandbox(1), PodSandboxState::SandboxReady);
            assert_eq!(sandbox(9), PodSandboxState::SandboxNotready);
            Ok(())
        },
    )
}

/// The kubelet takes either for the newer one by its time, and the first container of a name for the last.
#[test]
fn status_and_events_agree() -> Result {
    on_node(
        "status_and_events_agree",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let mut events = follow(node).await?;
            let config = node.pod("agree");
            let pod = node.run_pod(&config).await?;
            for attempt in 0..3 {
                let mut main = container("main", &image, &["sleep", "1000"]);
                main.metadata.get_or_insert_default().attempt = attempt;
                node.launch(&pod, &config, main).await?;
            }
            let (_, all) = hear(&mut events, &[], 8).await?;
            let request = PodSandboxStatusRequest {
                pod_sandbox_id: pod.clone(),
                verbose: false,
            };
            let status = node.runtime().pod_sandbox_status(request).await?;
            let status = status.into_inner();
            ensure!(status.timestamp > all[7].created_at, "the later is newer");
            assert_eq!(status.containers_statuses, all[7].containers_statuses);
            assert_eq!(status.status, all[7].pod_sandbox_status);
            let attempts = status.containers_statuses.iter();
            let attempts: Vec<_> = attempts
                .map(|it| it.metadata.as_ref().map(|metadata| metadata.attempt))
                .collect();
            assert_eq!(attempts, [2, 1, 0].map(Some));
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn an_oom_kill_is_told_with_its_reason() -> Result {
    on_node(
        "an_oom_kill_is_told_with_its_reason",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = quick_pod(node, "hungry");
            let pod = node.run_pod(&config).await?;
            let mut events = follow(node).await?;
            let mut main = container("main", &image, &["sh", "-c", "tail /dev/zero"]);
            let linux = main.linux.get_or_insert_default();
            let security = linux.security_context.get_or_insert_default();
            let namespaces = security.namespace_options.get_or_insert_default();
            namespaces.set_network(NamespaceMode::Node);
            linux.resources = Some(LinuxContainerResources {
                memory_limit_in_bytes: 24 << 20,
                memory_swap_limit_in_bytes: 24 << 20,
                ..Default::default()
            });
            let id = node.launch(&pod, &config, main).await?;
            let (words, all) = hear(&mut events, &[(&id, "main")], 3).await?;
            assert_eq!(words, ["main created", "main started", "main stopped"]);
            let status = &all[2].containers_statuses[0];
            assert_eq!(
                (status.reason.as_str(), status.exit_code),
                ("OOMKilled", 137)
            );
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn a_slow_follower_is_told_what_it_lost() -> Result {
    on_node(
        "a_slow_follower_is_told_what_it_lost",
        Options::default(),
        async |node| {
            let mut slow = node.runtime_apart(1024)?;
            let slow = slow.get_container_events(GetEventsRequest {}).await?;
            let mut slow = slow.into_inner();
            let mut quick = follow(node).await?;
            // Each is four events, and 1024 may wait.
            let pods = 400;
            for number in 0..pods {
                let config = quick_pod(node, &format!("p{number}"));
                let pod = node.run_pod(&config).await?;
                node.remove_pod(&pod).await?;
                let (words, _) = hear(&mut quick, &[(&pod, "pod")], 4).await?;
                assert_eq!(
                    words,
                    ["pod created", "pod started", "pod stopped", "pod deleted"]
                );
            }
            assert_eq!(followers(node).await?, 2);
            let (heard, lost) = rest(&mut slow).await?;
            assert_eq!(heard + lost + 1024, pods * 4, "heard {heard}, lost {lost}");
            until("its end", Duration::from_secs(5), async || {
                Ok((followers(node).await? == 1).then_some(()))
            })
            .await
        },
    )
}

/// Reads a stream to the error that ends it: how many events came, and how many it says are lost.
async fn rest(events: &mut Streaming<ContainerEventResponse>) -> Result<(u64, u64)> {
    let mut heard = 0;
    loop {
        match events.message().await {
            Ok(Some(_)) => heard += 1,
            Ok(None) => bail!("it ended without a word after {heard}"),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                let text = status.message();
                let lost = text.split(' ').next().context("no number")?;
                return Ok((heard, lost.parse().with_context(|| text.to_owned())?));
            }
        }
    }
}

#[test]
fn a_follower_that_is_gone_is_forgotten_at_once() -> Result {
    on_node(
        "a_follower_that_is_gone_is_forgotten_at_once",
        Options::default(),
        async |node| {
            let are = async |count: u64| {
                until("the followers", Duration::from_secs(5), async || {
                    Ok((followers(node).await? == count).then_some(()))
                })
                .await
            };
            // One connection with two streams.
            let mut client = node.runtime_apart(MANY)?;
            let one = client.get_container_events(GetEventsRequest {}).await?;
            let two = client.get_container_events(GetEventsRequest {}).await?;
            are(2).await?;
            drop(one);
            are(1).await?;
            // The connection goes with the rest.
            drop((two, client));
            are(0).await?;
            // A process of its own, which is killed.
            let mut killed = crictl_events()?;
            are(1).await?;
            killed.kill()?;
            killed.wait()?;
            are(0).await
        },
    )
}

#[allow(clippy::disallowed_methods, reason = "it is killed while it runs")]
fn crictl_events() -> Result<std::process::Child> {
    let crictl = pinpod_testkit::tool("crictl")?;
    Ok(std::process::Command::new(crictl)
        .args(["--runtime-endpoint", "unix:///run/pinpod/pinpod.sock"])
        .arg("events")
        .stdout(std::process::Stdio::null())
        .spawn()?)
}

#[test]
fn a_restart_ends_streams_and_repeats_nothing() -> Result {
    on_node(
        "a_restart_ends_streams_and_repeats_nothing",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("restarted");
            let pod = node.run_pod(&config).await?;
            let main = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, main).await?;
            let mut events = follow(node).await?;
            node.stop_daemon().await?;
            let end = events.message().await.unwrap_err();
            assert_eq!(end.code(), Code::Unavailable, "{end:?}");
            node.restart().await?;

            let mut events = follow(node).await?;
            node.stop_container(&id, 0).await?;
            let names = [(pod.as_str(), "pod"), (id.as_str(), "main")];
            let (words, _) = hear(&mut events, &names, 1).await?;
            assert_eq!(words, ["main stopped"]);

            node.kill9().await?;
            ensure!(events.message().await.is_err(), "a dead daemon is noticed");
            node.restart().await?;
            let mut events = follow(node).await?;
            node.remove_pod(&pod).await?;
            let (words, _) = hear(&mut events, &names, 3).await?;
            assert_eq!(words, ["pod stopped", "main deleted", "pod deleted"]);
            Ok(())
        },
    )
}
