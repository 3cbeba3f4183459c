//! What containers and pods use, as the kubelet asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1 as cri;
use pinpod_testkit::{Node, Options, Result, busybox, container, on_node, until};

/// As long as the background task may take to measure a layer again, on a busy machine.
const MEASURED: Duration = Duration::from_secs(40);

async fn stats(node: &Node, id: &str) -> Result<cri::ContainerStats> {
    let request = cri::ContainerStatsRequest {
        container_id: id.to_owned(),
    };
    let answer = node.runtime().container_stats(request).await?.into_inner();
    answer.stats.context("no stats")
}

async fn list(node: &Node) -> Result<Vec<cri::ContainerStats>> {
    let request = cri::ListContainerStatsRequest::default();
    Ok(node
        .runtime()
        .list_container_stats(request)
        .await?
        .into_inner()
        .stats)
}

async fn pod_stats(node: &Node, id: &str) -> Result<cri::LinuxPodSandboxStats> {
    let request = cri::PodSandboxStatsRequest {
        pod_sandbox_id: id.to_owned(),
    };
    let answer = node
        .runtime()
        .pod_sandbox_stats(request)
        .await?
        .into_inner();
    answer
        .stats
        .and_then(|stats| stats.linux)
        .context("no stats")
}

fn number(value: Option<cri::UInt64Value>) -> u64 {
    value.map_or(0, |value| value.value)
}

#[test]
fn a_busy_container_uses_cpu_and_memory_and_an_ended_one_its_layer() -> Result {
    on_node(
        "a_busy_container_uses_cpu_and_memory_and_an_ended_one_its_layer",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("busy");
            let pod = node.run_pod(&config).await?;
            let busy = container("busy", &image, &["sh", "-c", "while :; do :; done"]);
            let busy = node.launch(&pod, &config, busy).await?;
            let first = stats(node, &busy).await?.cpu.context("no CPU")?;
            let second = until("CPU time", Duration::from_secs(20), async || {
                let cpu = stats(node, &busy).await?.cpu.context("no CPU")?;
                let begin = number(first.usage_core_nano_seconds);
                let used = number(cpu.usage_core_nano_seconds) > begin + 1_000_000_000;
                Ok(used.then_some(cpu))
            })
            .await?;
            ensure!(second.timestamp > first.timestamp, "{first:?} {second:?}");
            ensure!(number(second.usage_nano_cores) > 0, "{second:?}");
            let all = stats(node, &busy).await?;
            let memory = all.memory.context("no memory")?;
            ensure!(number(memory.working_set_bytes) > 0, "{memory:?}");
            ensure!(number(memory.rss_bytes) > 0, "{memory:?}");
            ensure!(memory.available_bytes.is_none(), "it has no limit");

            let linux = pod_stats(node, &pod).await?;
            ensure!(number(linux.cpu.context("CPU")?.usage_core_nano_seconds) > 0);
            let tasks = linux.process.context("processes")?;
            ensure!(number(tasks.process_count) >= 1, "{tasks:?}");
            assert_eq!(linux.containers.len(), 1);

            node.stop_container(&busy, 0).await?;
            let ended = until("the layer of the ended one", MEASURED, async || {
                let ended = stats(node, &busy).await?;
                Ok(ended.writable_layer.is_some().then_some(ended))
            })
            .await?;
            assert_eq!((ended.cpu, ended.memory), (None, None));
            assert_eq!(list(node).await?.len(), 1);
            node.remove_container(&busy).await?;
            assert_eq!(list(node).await?, []);
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn what_a_container_writes_is_in_its_layer() -> Result {
    on_node(
        "what_a_container_writes_is_in_its_layer",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("writer");
            let pod = node.run_pod(&config).await?;
            let idle = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, idle).await?;
            let before = until("a first measurement", MEASURED, async || {
                Ok(stats(node, &id).await?.writable_layer)
            })
            .await?;
            let script =
                "mkdir /new && dd if=/dev/zero of=/new/big bs=1M count=3 && touch /new/a /new/b";
            node.output(&id, &["sh", "-c", script]).await?;
            let after = until("the new files", MEASURED, async || {
                let layer = stats(node, &id).await?.writable_layer.context("a layer")?;
                let grown = number(layer.used_bytes) >= number(before.used_bytes) + (3 << 20);
                Ok(grown.then_some(layer))
            })
            .await?;
            ensure!(
                number(after.inodes_used) >= number(before.inodes_used) + 4,
                "{before:?} {after:?}"
            );
            ensure!(after.timestamp > before.timestamp, "{before:?} {after:?}");
            let request = cri::ImageFsInfoRequest {};
            let answer = node.images().image_fs_info(request).await?.into_inner();
            assert_eq!(after.fs_id, answer.container_filesystems[0].fs_id);
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn what_passes_a_pods_interface_is_counted() -> Result {
    on_node(
        "what_passes_a_pods_interface_is_counted",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("sender");
            let pod = node.run_pod(&config).await?;
            let idle = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, idle).await?;
            let network = |stats: cri::LinuxPodSandboxStats| {
                let network = stats.network.context("no network")?;
                network.default_interface.context("no interface")
            };
            let before = network(pod_stats(node, &pod).await?)?;
            assert_eq!(before.name, "eth0");
            // The test is on the node's side of the bridge.
            let listener = tokio::net::TcpListener::bind("0.0.0.0:7777").await?;
            let echo = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await?;
                let (mut input, mut output) = stream.split();
                tokio::io::copy(&mut input, &mut output).await
            });
            let ip = node
                .pod_status(&pod)
                .await?
                .network
                .context("no address")?
                .ip;
            let (network_part, _) = ip.rsplit_once('.').context("IPv4")?;
            let script = format!("head -c 20000 /dev/zero | nc {network_part}.1 7777 >/dev/null");
            node.output(&id, &["sh", "-c", &script]).await?;
            echo.await??;
            let after = network(pod_stats(node, &pod).await?)?;
            for (what, before, after) in [
                ("sent", before.tx_bytes, after.tx_bytes),
                ("received", before.rx_bytes, after.rx_bytes),
            ] {
                let passed = number(after) - number(before);
                ensure!(passed >= 20_000, "{what}: {passed}");
            }

            let mut on_node = node.pod("hosted");
            let linux = on_node.linux.as_mut().context("linux")?;
            let security = linux.security_context.as_mut().context("security")?;
            let options = security.namespace_options.as_mut().context("options")?;
            options.network = cri::NamespaceMode::Node.into();
            on_node.hostname.clear();
            let hosted = node.run_pod(&on_node).await?;
            assert_eq!(pod_stats(node, &hosted).await?.network, None);
            node.remove_pod(&hosted).await?;
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn a_slow_stop_holds_no_statistics_up() -> Result {
    on_node(
        "a_slow_stop_holds_no_statistics_up",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("slow");
            let pod = node.run_pod(&config).await?;
            let script = "trap '' TERM; touch /ready; while :; do sleep 0.1; done";
            let stubborn = container("stubborn", &image, &["sh", "-c", script]);
            let id = node.launch(&pod, &config, stubborn).await?;
            until("the trap", Duration::from_secs(20), async || {
                let there = node.exec(&id, &["ls", "/ready"]).await?;
                Ok((there.exit_code == 0).then_some(()))
            })
            .await?;
            let mut client = node.runtime();
            let request = cri::StopContainerRequest {
                container_id: id.clone(),
                timeout: 600,
            };
            let stop = tokio::spawn(async move { client.stop_container(request).await });
            for _ in 0..20 {
                let one = stats(node, &id).await?;
                ensure!(one.cpu.is_some(), "{one:?}");
                assert_eq!(list(node).await?.len(), 1);
                pod_stats(node, &pod).await?;
                let metrics = cri::ListPodSandboxMetricsRequest {};
                node.runtime().list_pod_sandbox_metrics(metrics).await?;
            }
            ensure!(!stop.is_finished(), "the stop takes ten minutes");
            node.stop_container(&id, 0).await?;
            stop.await??;
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn metrics_are_described_and_labelled() -> Result {
    on_node(
        "metrics_are_described_and_labelled",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("measured");
            let pod = node.run_pod(&config).await?;
            let idle = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, idle).await?;
            let descriptors = cri::ListMetricDescriptorsRequest {};
            let descriptors = node.runtime().list_metric_descriptors(descriptors).await?;
            let described: BTreeMap<String, Vec<String>> = descriptors
                .into_inner()
                .descriptors
                .into_iter()
                .map(|known| (known.name, known.label_keys))
                .collect();
            let request = cri::ListPodSandboxMetricsRequest {};
            let answer = node.runtime().list_pod_sandbox_metrics(request).await?;
            let pods = answer.into_inner().pod_metrics;
            assert_eq!(pods.len(), 1);
            let containers = &pods[0].container_metrics;
            assert_eq!(
                (containers.len(), containers[0].container_id.as_str()),
                (1, id.as_str())
            );
            let mut names = BTreeSet::new();
            for metric in pods[0].metrics.iter().chain(&containers[0].metrics) {
                let keys = described.get(&metric.name);
                let keys = keys.with_context(|| format!("{} is not described", metric.name))?;
                assert_eq!(keys.len(), metric.label_values.len(), "{}", metric.name);
                ensure!(
                    metric.value.is_some() && metric.timestamp == 0,
                    "{metric:?}"
                );
                names.insert(metric.name.as_str());
            }
            for name in [
                "container_cpu_usage_seconds_total",
                "container_last_seen",
                "container_memory_working_set_bytes",
                "container_network_transmit_bytes_total",
                "container_oom_events_total",
                "container_processes",
                "container_spec_cpu_shares",
                "container_start_time_seconds",
            ] {
                ensure!(names.contains(name), "{name} is missing: {names:?}");
            }
            let usage = containers[0].metrics.iter();
            let usage = usage
                .clone()
                .find(|metric| metric.name.contains("working_set"));
            let usage = usage.context("no working set")?;
            assert_eq!(
                usage.label_values[1..],
                [&id, &image.reference, "measured", "default", "main"]
            );
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn what_is_collected_ahead_is_given_until_something_changes() -> Result {
    let options = Options {
        config: "[pinpod.stats]\ncollection_period = 2\n".to_owned(),
        ..Options::default()
    };
    let name = "what_is_collected_ahead_is_given_until_something_changes";
    on_node(name, options, async |node| {
        let image = node.import(busybox().await?).await?;
        let config = node.pod("ahead");
        let pod = node.run_pod(&config).await?;
        let busy = container("busy", &image, &["sh", "-c", "while :; do :; done"]);
        let busy = node.launch(&pod, &config, busy).await?;
        // Before the first collection that has it, it is read at once.
        ensure!(stats(node, &busy).await?.cpu.is_some());
        let known = until("two answers of one collection", MEASURED, async || {
            let (first, second) = (stats(node, &busy).await?.cpu, stats(node, &busy).await?.cpu);
            Ok(first.filter(|first| Some(first) == second.as_ref()))
        })
        .await?;
        let later = until("the next collection", MEASURED, async || {
            let cpu = stats(node, &busy).await?.cpu.context("no CPU")?;
            Ok((cpu.timestamp > known.timestamp).then_some(cpu))
        })
        .await?;
        let (before, after) = (known.usage_core_nano_seconds, later.usage_core_nano_seconds);
        ensure!(number(after) > number(before), "{known:?} {later:?}");
        let of_pod = pod_stats(node, &pod).await?;
        ensure!(number(of_pod.cpu.context("CPU")?.usage_core_nano_seconds) > 0);
        let metrics = cri::ListPodSandboxMetricsRequest {};
        let metrics = node.runtime().list_pod_sandbox_metrics(metrics).await?;
        assert_eq!(metrics.into_inner().pod_metrics.len(), 1);

        // What has changed is not answered with what was collected before.
        let late = container("late", &image, &["sleep", "1000"]);
        let late = node.launch(&pod, &config, late).await?;
        ensure!(stats(node, &late).await?.memory.is_some());
        assert_eq!(pod_stats(node, &pod).await?.containers.len(), 2);
        node.stop_container(&busy, 0).await?;
        let ended = stats(node, &busy).await?;
        assert_eq!((ended.cpu, ended.memory), (None, None));
        node.remove_container(&busy).await?;
        assert_eq!(list(node).await?.len(), 1);
        node.remove_pod(&pod).await?;
        assert_eq!(list(node).await?, []);
        Ok(())
    })
}
