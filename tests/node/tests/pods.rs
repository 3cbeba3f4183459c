//! Pod sandboxes: what they are made of, and that nothing of them stays.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{
    ListPodSandboxRequest, NamespaceMode, PodSandboxConfig, PodSandboxState, PortMapping, Protocol,
    RemovePodSandboxRequest, StatusRequest, StopPodSandboxRequest,
};
use pinpod_testkit::{Node, Options, Result, Snapshot, busybox, container, nginx, on_node, run};

/// Sets a field of the pod's namespace options.
fn with_namespaces(
    mut config: PodSandboxConfig,
    set: impl FnOnce(&mut pinpod_cri_api::runtime::v1::NamespaceOption),
) -> PodSandboxConfig {
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    set(security.namespace_options.get_or_insert_default());
    config
}

async fn list(node: &Node) -> Result<Vec<(String, PodSandboxState)>> {
    let pods = node
        .runtime()
        .list_pod_sandbox(ListPodSandboxRequest::default())
        .await?;
    let pods = pods.into_inner().items;
    Ok(pods
        .iter()
        .map(|pod| (pod.id.clone(), pod.state()))
        .collect())
}

async fn new_processes(node: &Node, before: &Snapshot) -> Result<Vec<String>> {
    let mut new = Snapshot::take(node.cgroup_parent()).await?.beyond(before);
    new.retain(|thing| thing.starts_with("process "));
    Ok(new)
}

#[test]
fn a_pod_is_namespaces_and_no_process() -> Result {
    on_node(
        "a_pod_is_namespaces_and_no_process",
        Options::default(),
        async |node| {
            let before = Snapshot::take(node.cgroup_parent()).await?;
            let config = node.pod("web");
            let id = node.run_pod(&config).await?;
            assert_eq!(
                list(node).await?,
                [(id.clone(), PodSandboxState::SandboxReady)]
            );
            assert_eq!(new_processes(node, &before).await?, Vec::<String>::new());

            let status = node.pod_status(&id).await?;
            let network = status.network.context("no network in status")?;
            ensure!(network.ip.starts_with("10.88."), "{network:?}");
            assert_eq!(network.additional_ips.len(), 1, "one more of IPv6");
            let names = run("ip", &["netns", "list"]).await?;
            assert_eq!(names.lines().count(), 1, "{names}");
            let name = names.split_whitespace().next().context("no name")?;
            let inside = run("ip", &["-n", name, "-o", "addr"]).await?;
            ensure!(inside.contains(&format!(" {}/", network.ip)), "{inside}");
            ensure!(inside.contains("127.0.0.1/8"), "lo is not up: {inside}");
            for kind in ["ipcns", "utsns"] {
                let pins = std::fs::read_dir(Path::new("/run").join(kind))?.count();
                assert_eq!(pins, 1, "{kind}");
            }
            run("ping", &["-c", "1", "-W", "2", &network.ip]).await.ok();

            node.stop_pod(&id).await?;
            assert_eq!(
                list(node).await?,
                [(id.clone(), PodSandboxState::SandboxNotready)]
            );
            assert_eq!(run("ip", &["netns", "list"]).await?, "");
            node.remove_pod(&id).await?;
            assert_eq!(list(node).await?, []);
            node.assert_clean().await
        },
    )
}

#[test]
fn a_pod_on_the_nodes_network_has_no_namespace_of_it() -> Result {
    let name = "a_pod_on_the_nodes_network_has_no_namespace_of_it";
    on_node(name, Options::default(), async |node| {
        let before = Snapshot::take(node.cgroup_parent()).await?;
        let mut config = with_namespaces(node.pod("host"), |namespaces| {
            namespaces.set_network(NamespaceMode::Node);
            namespaces.set_pid(NamespaceMode::Container);
        });
        config.hostname = String::new();
        let id = node.run_pod(&config).await?;
        assert_eq!(run("ip", &["netns", "list"]).await?, "");
        assert_eq!(new_processes(node, &before).await?, Vec::<String>::new());
        let network = node.pod_status(&id).await?.network.unwrap_or_default();
        assert_eq!(
            network.ip, "",
            "the kubelet knows the node's address itself"
        );
        node.remove_pod(&id).await
    })
}

#[test]
fn sysctls_are_the_pods_own() -> Result {
    on_node(
        "sysctls_are_the_pods_own",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let mut config = node.pod("sysctls");
            let linux = config.linux.get_or_insert_default();
            linux.sysctls = [
                ("net.ipv4.ip_local_port_range", "20000 30000"),
                ("kernel.shm_rmid_forced", "1"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
            let pod = node.run_pod(&config).await?;
            let sleep = container("sleep", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            let range = ["cat", "/proc/sys/net/ipv4/ip_local_port_range"];
            assert_eq!(node.output(&id, &range).await?, "20000\t30000\n");
            let forced = ["cat", "/proc/sys/kernel/shm_rmid_forced"];
            assert_eq!(node.output(&id, &forced).await?, "1\n");
            let outside = std::fs::read_to_string("/proc/sys/kernel/shm_rmid_forced")?;
            assert_eq!(outside, "0\n");
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn a_bad_sysctl_leaves_nothing() -> Result {
    on_node(
        "a_bad_sysctl_leaves_nothing",
        Options::default(),
        async |node| {
            let mut config = node.pod("bad-sysctl");
            let linux = config.linux.get_or_insert_default();
            linux.sysctls = [("net.ipv4.no_such_thing".to_owned(), "1".to_owned())].into();
            let error = node.run_pod(&config).await.expect_err("no such sysctl");
            ensure!(format!("{error:?}").contains("no_such_thing"), "{error:?}");
            assert_eq!(list(node).await?, []);
            node.assert_clean().await
        },
    )
}

#[test]
fn a_failing_network_leaves_nothing() -> Result {
    on_node(
        "a_failing_network_leaves_nothing",
        Options::default(),
        async |node| {
            // The bridge gets its addresses, then the last plugin refuses.
            let path = "/etc/cni/net.d/10-pinpod-bridge.conflist";
            let mut list: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(path)?)?;
            let plugins = list["plugins"].as_array_mut().context("no plugins")?;
            plugins.push(serde_json::json!({
                "type": "tuning", "sysctl": {"net.ipv4.no_such_thing": "1"},
            }));
            std::fs::write(path, list.to_string())?;
            node.restart().await?;
            node.settle().await?;
            let config = node.pod("unlucky");
            for _ in 0..2 {
                let error = node.run_pod(&config).await.expect_err("the plugin refuses");
                let text = format!("{error:?}");
                ensure!(
                    text.contains("tuning") && text.contains("no_such_thing"),
                    "{text}"
                );
            }
            node.assert_clean().await
        },
    )
}

#[test]
fn without_a_network_status_says_what_is_missing() -> Result {
    let options = Options {
        network: false,
        ..Options::default()
    };
    on_node(
        "without_a_network_status_says_what_is_missing",
        options,
        async |node| {
            let status = node
                .runtime()
                .status(StatusRequest::default())
                .await?
                .into_inner();
            let conditions = status.status.context("no status")?.conditions;
            let network = conditions
                .iter()
                .find(|condition| condition.r#type == "NetworkReady")
                .context("no NetworkReady")?;
            ensure!(!network.status, "{network:?}");
            ensure!(network.message.contains("/etc/cni/net.d"), "{network:?}");
            let error = node
                .run_pod(&node.pod("early"))
                .await
                .expect_err("no network yet");
            ensure!(format!("{error:?}").contains("/etc/cni/net.d"), "{error:?}");
            node.assert_clean().await?;

            // A pod on the node's network needs none.
            let mut config = with_namespaces(node.pod("host"), |namespaces| {
                namespaces.set_network(NamespaceMode::Node);
            });
            config.hostname = String::new();
            let id = node.run_pod(&config).await?;
            node.remove_pod(&id).await
        },
    )
}

#[test]
fn the_same_request_gets_the_same_pod() -> Result {
    on_node(
        "the_same_request_gets_the_same_pod",
        Options::default(),
        async |node| {
            let config = node.pod("twice");
            let (first, second) = tokio::join!(node.run_pod(&config), node.run_pod(&config));
            let id = first?;
            assert_eq!(id, second?);
            assert_eq!(id, node.run_pod(&config).await?);
            assert_eq!(list(node).await?.len(), 1);
            // Another attempt is another pod.
            let mut next = config.clone();
            next.metadata.get_or_insert_default().attempt = 1;
            let other = node.run_pod(&next).await?;
            assert_ne!(id, other);
            node.remove_pod(&id).await?;
            node.remove_pod(&other).await
        },
    )
}

#[test]
fn a_caller_that_goes_away_stops_nothing() -> Result {
    on_node(
        "a_caller_that_goes_away_stops_nothing",
        Options::default(),
        async |node| {
            let config = node.pod("patient");
            let hurried =
                tokio::time::timeout(Duration::from_millis(1), node.run_pod(&config)).await;
            ensure!(hurried.is_err(), "nothing is that fast: {hurried:?}");
            let id = node.run_pod(&config).await?;
            assert_eq!(
                list(node).await?,
                [(id.clone(), PodSandboxState::SandboxReady)]
            );
            node.remove_pod(&id).await
        },
    )
}

#[test]
fn stop_and_remove_may_be_repeated() -> Result {
    on_node(
        "stop_and_remove_may_be_repeated",
        Options::default(),
        async |node| {
            let id = node.run_pod(&node.pod("again")).await?;
            let (first, second) = tokio::join!(node.stop_pod(&id), node.stop_pod(&id));
            first?;
            second?;
            node.stop_pod(&id).await?;
            node.remove_pod(&id).await?;
            let unknown = "0".repeat(64);
            for pod_sandbox_id in [id, unknown] {
                let stop = StopPodSandboxRequest {
                    pod_sandbox_id: pod_sandbox_id.clone(),
                };
                node.runtime().stop_pod_sandbox(stop).await?;
                let remove = RemovePodSandboxRequest { pod_sandbox_id };
                node.runtime().remove_pod_sandbox(remove).await?;
            }
            Ok(())
        },
    )
}

#[test]
fn a_port_of_the_node_leads_to_the_pod() -> Result {
    on_node(
        "a_port_of_the_node_leads_to_the_pod",
        Options::default(),
        async |node| {
            let image = node.import(nginx().await?).await?;
            let mut config = node.pod("web");
            config.port_mappings = vec![
                PortMapping {
                    protocol: Protocol::Tcp.into(),
                    container_port: 80,
                    host_port: 18080,
                    host_ip: String::new(),
                },
                PortMapping {
                    container_port: 81,
                    ..Default::default()
                },
            ];
            let pod = node.run_pod(&config).await?;
            node.launch(&pod, &config, container("nginx", &image, &[]))
                .await?;
            let ip = node.pod_status(&pod).await?.network.unwrap_or_default().ip;
            for address in [format!("{ip}:80"), "127.0.0.1:18080".to_owned()] {
                let page = pinpod_testkit::until(&address, Duration::from_secs(10), async || {
                    Ok(get(&address).await.ok())
                });
                assert!(page.await?.ends_with("pinpod\n"));
            }
            node.remove_pod(&pod).await?;
            assert!(get("127.0.0.1:18080").await.is_err());
            node.assert_clean().await
        },
    )
}

/// One HTTP request.
async fn get(address: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let connect = tokio::net::TcpStream::connect(address);
    let mut stream = tokio::time::timeout(Duration::from_secs(2), connect).await??;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}

#[test]
fn many_pods_at_once() -> Result {
    on_node("many_pods_at_once", Options::default(), async |node| {
        let node = &*node;
        let configs: Vec<_> = (0..10).map(|n| node.pod(&format!("pod-{n}"))).collect();
        let mut ids = Vec::new();
        let runs: Vec<_> = configs.iter().map(|config| node.run_pod(config)).collect();
        for id in join_all(runs).await {
            ids.push(id?);
        }
        let mut addresses = Vec::new();
        for id in &ids {
            addresses.push(node.pod_status(id).await?.network.unwrap_or_default().ip);
        }
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 10, "{addresses:?}");
        for removed in join_all(ids.iter().map(|id| node.remove_pod(id)).collect()).await {
            removed?;
        }
        node.assert_clean().await
    })
}

/// Drives futures at the same time, on one task.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        match outputs.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
