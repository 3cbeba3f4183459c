//! A node with a kubelet on it.

use std::time::Duration;

use anyhow::anyhow;
use pinpod_testkit::{Node, Options, Result, busybox, nginx, on_node, run, until};

use crate::kubelet::{LOG, remove_cgroups};
use crate::{Kubelet, Mode};

/// The node's name, which the kubelet adds to the names of static pods.
pub(crate) const NAME: &str = "pinpod-test";

/// The node's address.
pub const ADDRESS: &str = "192.0.2.1";

/// Runs a test on a node with a kubelet; `name` is that of the test function. The images of
/// [`busybox`] and [`nginx`] are there. After the body, the manifests that it left are removed, the
/// kubelet must let go of every pod, and nothing may be left.
///
/// # Errors
/// The body's error or each thing left, with the end of the logs.
pub fn on_kubelet<F>(name: &str, mode: Mode, body: F) -> Result
where
    F: AsyncFnOnce(&mut Node, &mut Kubelet) -> Result,
{
    on_node(name, Options::default(), async move |node| {
        let outcome = async {
            let mut kubelet = prepare(node, mode).await?;
            body(node, &mut kubelet).await?;
            kubelet.clear().await?;
            // The kubelet removes what it has stopped once a minute only.
            node.crictl(&["rmp", "--force", "--all"]).await?;
            remove_cgroups(node.cgroup_parent())?;
            node.assert_clean().await
        };
        outcome
            .await
            .map_err(|error| anyhow!("{error:?}\n\nThe kubelet's log ends with:\n{}", log_end()))
    })
}

async fn prepare(node: &mut Node, mode: Mode) -> Result<Kubelet> {
    node.import(busybox().await?).await?;
    node.import(nginx().await?).await?;
    run("ip", &["link", "add", "node0", "type", "bridge"]).await?;
    run(
        "ip",
        &["addr", "add", &format!("{ADDRESS}/24"), "dev", "node0"],
    )
    .await?;
    run("ip", &["link", "set", "node0", "up"]).await?;
    run("ip", &["route", "add", "default", "via", "192.0.2.254"]).await?;
    let kubelet = Kubelet::start(node, mode).await?;
    if mode == Mode::Events {
        let connected = "kubelet_evented_pleg_connection_success_count 1";
        until(
            "the kubelet's events",
            Duration::from_secs(10),
            async || {
                let metrics = kubelet.get("/metrics").await?;
                Ok(metrics.lines().any(|line| line == connected).then_some(()))
            },
        )
        .await?;
    }
    node.settle().await?;
    Ok(kubelet)
}

/// The last lines of the kubelet's log.
fn log_end() -> String {
    let log = std::fs::read(LOG).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    // What is asked again and again while a test waits.
    let lines = log.lines().filter(|line| !line.contains("httplog.go"));
    let lines: Vec<&str> = lines.collect();
    let skip = lines.len().saturating_sub(120);
    lines[skip..].join("\n")
}
