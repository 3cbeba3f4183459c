//! What the kubelet tells of its pods in figures.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use pinpod_kubelet_tests::{Kubelet, Manifest, Mode, Pod, on_kubelet, shell};
use pinpod_testkit::{Node, Result, nginx, run, until};
use serde_json::{Value, json};

#[test]
fn figures_are_told_when_relisted() -> Result {
    on_kubelet(
        "figures_are_told_when_relisted",
        Mode::Relisting,
        async |_, kubelet| {
            let pod = web(kubelet).await?;
            let summary = summary(kubelet, &pod).await?;
            ensure!(summary["containers"][0]["name"] == "nginx", "{summary:#}");
            resource_metrics(kubelet, &pod).await?;
            // It finds the cgroup by itself and cannot know whose it is.
            let id = pod.container_id("nginx")?;
            until(
                "the cgroup's figures",
                Duration::from_secs(60),
                async || {
                    let metrics = kubelet.get("/metrics/cadvisor").await?;
                    Ok(line(&metrics, "container_memory_working_set_bytes", &[&id]).ok())
                },
            )
            .await?;
            Ok(())
        },
    )
}

#[test]
fn figures_are_told_with_events() -> Result {
    on_kubelet(
        "figures_are_told_with_events",
        Mode::Events,
        async |node, kubelet| {
            let pod = web(kubelet).await?;
            let summary = summary(kubelet, &pod).await?;
            let network = &summary["network"];
            ensure!(network["txBytes"].as_u64() > Some(0), "{summary:#}");
            resource_metrics(kubelet, &pod).await?;
            cadvisor_metrics(node, kubelet, &pod).await
        },
    )
}

async fn web(kubelet: &Kubelet) -> Result<Pod> {
    let mut server = shell(
        "nginx",
        &nginx().await?,
        // CRI counts a processor's seconds whole: some must be used.
        "echo written >/written; (ulimit -t 2; while :; do :; done) & exec nginx",
    );
    server["resources"] = json!({"limits": {"memory": "64Mi"}});
    kubelet.place(&Manifest::new("web", json!([server])))?;
    let pod = kubelet.ready("web").await?;
    // Without a probe it is ready before it listens.
    let patient = ["--retry", "30", "--retry-delay", "1", "--retry-connrefused"];
    let address = format!("http://{}/", pod.address());
    run("curl", &[&patient[..], &["-sS", &address]].concat()).await?;
    Ok(pod)
}

/// The pod's part of `/stats/summary`, once it has figures of its container.
async fn summary(kubelet: &Kubelet, pod: &Pod) -> Result<Value> {
    let mut last = Value::Null;
    let found = until("the pod's figures", Duration::from_secs(60), async || {
        let Ok(text) = kubelet.get("/stats/summary").await else {
            return Ok(None);
        };
        last = serde_json::from_str(&text)?;
        let pods = last["pods"].as_array().context("no pods")?;
        let mine = pods.iter().find(|it| it["podRef"]["name"] == pod.name());
        let complete = |it: &&Value| {
            let container = &it["containers"][0];
            [
                &container["memory"]["workingSetBytes"],
                &container["cpu"]["usageCoreNanoSeconds"],
                &container["rootfs"]["usedBytes"],
                &it["memory"]["workingSetBytes"],
            ]
            .iter()
            .all(|figure| figure.as_u64() > Some(0))
        };
        Ok(mine.filter(complete).cloned())
    });
    found.await.with_context(|| format!("last: {last:#}"))
}

async fn resource_metrics(kubelet: &Kubelet, pod: &Pod) -> Result {
    let metrics = kubelet.get("/metrics/resource").await?;
    let pod = format!("pod=\"{}\"", pod.name());
    let container = ["container=\"nginx\"", "namespace=\"default\"", &pod];
    for name in [
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "container_start_time_seconds",
    ] {
        line(&metrics, name, &container)?;
    }
    line(
        &metrics,
        "pod_memory_working_set_bytes",
        &["namespace=\"default\"", &pod],
    )?;
    Ok(())
}

async fn cadvisor_metrics(node: &Node, kubelet: &Kubelet, pod: &Pod) -> Result {
    let pod = format!("pod=\"{}\"", pod.name());
    let container = ["container=\"nginx\"", "namespace=\"default\"", &pod];
    let metrics = until("a second of CPU", Duration::from_secs(60), async || {
        let metrics = kubelet.get("/metrics/cadvisor").await?;
        let used = line(&metrics, "container_cpu_usage_seconds_total", &container);
        Ok(used.is_ok().then_some(metrics))
    })
    .await?;
    for name in [
        "container_memory_working_set_bytes",
        "container_spec_memory_limit_bytes",
    ] {
        line(&metrics, name, &container)?;
    }
    line(
        &metrics,
        "container_network_receive_bytes_total",
        &["interface=\"eth0\"", &pod],
    )?;
    // And crictl reads the same container.
    let stats: Value = serde_json::from_str(&node.crictl(&["stats", "-o", "json"]).await?)?;
    let names = stats["stats"].as_array().context("stats")?;
    ensure!(
        names
            .iter()
            .any(|it| it["attributes"]["metadata"]["name"] == "nginx"),
        "{stats:#}"
    );
    Ok(())
}

/// The line of a metric that has all these labels and a value above nothing.
fn line(metrics: &str, name: &str, labels: &[&str]) -> Result<String> {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    let line = lines
        .clone()
        .find(|line| labels.iter().all(|label| line.contains(label)));
    let line = line.with_context(|| {
        let all: Vec<&str> = lines.collect();
        format!("no {name} with {labels:?} in {all:#?}")
    })?;
    let value = line
        .split("} ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let value: f64 = value.context("no value")?.parse()?;
    ensure!(value > 0.0, "{line}");
    Ok(line.to_owned())
}
