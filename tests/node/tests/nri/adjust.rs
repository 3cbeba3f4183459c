//! What plugins change.

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{LinuxContainerResources, UpdateContainerResourcesRequest};
use pinpod_testkit::{Node, Options, Result, busybox, container, on_node};
use serde_json::json;

use crate::plugin::Plugin;

const SLEEP: [&str; 2] = ["sleep", "1000"];

#[test]
fn adjustments_are_seen_inside() -> Result {
    on_node(
        "adjust::adjustments_are_seen_inside",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            std::fs::create_dir_all("/tmp/given")?;
            std::fs::write("/tmp/given/file", "from the plugin")?;
            let adjust = json!({
                "annotations": {"by": "plugin"},
                "env": [{"key": "ADDED", "value": "yes"}, {"key": "-GONE"}],
                "mounts": [{
                    "destination": "/given", "type": "bind", "source": "/tmp/given",
                    "options": ["rbind", "ro"],
                }],
                "rlimits": [{"type": "RLIMIT_CORE", "hard": "4096", "soft": "2048"}],
                "hooks": {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", "touch /tmp/hooked"]}]},
                "linux": {
                    "devices": [{"path": "/dev/given", "type": "c", "major": "1", "minor": "5",
                        "fileMode": {"value": 438}}],
                    "resources": {"cpu": {"shares": {"value": "300"}}},
                    "oomScoreAdj": {"value": "777"},
                    "sysctl": {"net.ipv4.ip_default_ttl": "77"},
                    "cgroupsPath": format!("{}/moved", node.cgroup_parent()),
                },
            });
            let config = json!({"Adjust": {"c": adjust}});
            let _plugin = Plugin::start("00", "adjust", config).await?;
            let pod_config = node.pod("p");
            let pod = node.run_pod(&pod_config).await?;
            let mut wanted = container("c", &image, &SLEEP);
            wanted.envs = vec![pinpod_cri_api::runtime::v1::KeyValue {
                key: "GONE".into(),
                value: "no".into(),
            }];
            let id = node.launch(&pod, &pod_config, wanted).await?;
            let script = "echo $ADDED,$GONE; cat /given/file; echo; ulimit -c; head -c 3 /dev/given | od -An -tx1; \
            cat /proc/1/oom_score_adj /proc/sys/net/ipv4/ip_default_ttl";
            let seen = node.output(&id, &["sh", "-c", script]).await?;
            assert_eq!(seen, "yes,\nfrom the plugin\n4\n 00 00 00\n777\n77\n");
            ensure!(shares(node, "moved")? == 300, "shares");
            // The kubelet still finds what it is about: its own annotations and the container's stats.
            let status = node.container_status(&id).await?;
            ensure!(!status.annotations.contains_key("by"), "{status:?}");
            node.remove_pod(&pod).await?;
            ensure!(
                std::path::Path::new("/tmp/hooked").exists(),
                "the hook did not run"
            );
            Ok(())
        },
    )
}

/// The CPU shares of a cgroup of the node.
fn shares(node: &Node, name: &str) -> Result<u64> {
    let parent = node.cgroup_parent();
    let v1 = std::fs::read_to_string(format!("/sys/fs/cgroup/cpu{parent}/{name}/cpu.shares"));
    match v1 {
        Ok(text) => Ok(text.trim().parse()?),
        Err(_) => {
            let path = format!("/sys/fs/cgroup{parent}/{name}/cpu.weight");
            let weight: u64 = std::fs::read_to_string(path)?.trim().parse()?;
            // As runc maps shares to a weight; a rounded way back.
            Ok((weight - 1) * 262_142 / 9_999 + 2)
        }
    }
}

#[test]
fn updates_reach_running_containers() -> Result {
    on_node(
        "adjust::updates_reach_running_containers",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let shares_of = |value: &str| json!({"containerId": "@old", "linux": {"resources": {"cpu": {"shares": {"value": value}}}}});
            let config =
                json!({"Update": {"CreateContainer": [], "StopContainer": [shares_of("400")]}});
            let mut plugin = Plugin::start("00", "update", config).await?;
            let config = node.pod("p");
            let pod = node.run_pod(&config).await?;
            let old = node
                .launch(&pod, &config, container("old", &image, &SLEEP))
                .await?;
            let other = node
                .launch(&pod, &config, container("other", &image, &SLEEP))
                .await?;
            let cgroup = format!("pinpod-{old}");
            let told = plugin.ask(shares_of("600")).await?;
            assert_eq!(told, "UpdateContainers 0 failed");
            assert_eq!(shares(node, &cgroup)?, 600);
            let status = node.container_status(&old).await?;
            let limits = status
                .resources
                .and_then(|it| it.linux)
                .context("no resources")?;
            assert_eq!(limits.cpu_shares, 600);
            // What it is not known for is told back.
            let unknown =
                json!({"containerId": "nobody", "linux": {"resources": {"cpu": {"cpus": "0"}}}});
            assert_eq!(plugin.ask(unknown).await?, "UpdateContainers 1 failed");
            // The end of one container lets the plugin change another.
            node.stop_container(&other, 0).await?;
            assert_eq!(shares(node, &cgroup)?, 400);
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn a_plugin_changes_an_update() -> Result {
    on_node(
        "adjust::a_plugin_changes_an_update",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let more = json!({
                "containerId": "@c", "linux": {"resources": {"cpu": {"shares": {"value": "900"}}}},
            });
            let _plugin =
                Plugin::start("00", "more", json!({"Update": {"UpdateContainer": [more]}})).await?;
            let config = node.pod("p");
            let pod = node.run_pod(&config).await?;
            let id = node
                .launch(&pod, &config, container("c", &image, &SLEEP))
                .await?;
            let update = UpdateContainerResourcesRequest {
                container_id: id.clone(),
                linux: Some(LinuxContainerResources {
                    cpu_shares: 512,
                    ..Default::default()
                }),
                ..Default::default()
            };
            node.runtime().update_container_resources(update).await?;
            assert_eq!(shares(node, &format!("pinpod-{id}"))?, 900);
            node.remove_pod(&pod).await
        },
    )
}
