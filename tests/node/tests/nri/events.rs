//! What plugins hear, and in which order.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{
    LinuxContainerResources, UpdateContainerResourcesRequest, UpdatePodSandboxResourcesRequest,
};
use pinpod_testkit::{Options, Result, busybox, container, on_node, tool, until};
use serde_json::json;

use crate::plugin::{Plugin, log_of, read};

const SLEEP: [&str; 2] = ["sleep", "1000"];

#[test]
fn every_event_in_order() -> Result {
    on_node(
        "events::every_event_in_order",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let plugin = Plugin::start("00", "log", json!({})).await?;
            let config = node.pod("p");
            let pod = node.run_pod(&config).await?;
            let id = node
                .launch(&pod, &config, container("c", &image, &SLEEP))
                .await?;
            let resources = LinuxContainerResources {
                cpu_shares: 512,
                ..Default::default()
            };
            let update = UpdateContainerResourcesRequest {
                container_id: id.clone(),
                linux: Some(resources.clone()),
                ..Default::default()
            };
            node.runtime().update_container_resources(update).await?;
            let update = UpdatePodSandboxResourcesRequest {
                pod_sandbox_id: pod.clone(),
                resources: Some(resources),
                ..Default::default()
            };
            node.runtime().update_pod_sandbox_resources(update).await?;
            node.stop_container(&id, 0).await?;
            node.remove_container(&id).await?;
            // One that ends by itself is told of, too.
            let id = node
                .launch(&pod, &config, container("d", &image, &["true"]))
                .await?;
            node.exited(&id).await?;
            node.remove_pod(&pod).await?;
            let expected = "Configure pinpod v0.1.0\n\
            Synchronize\n\
            RunPodSandbox p\n\
            CreateContainer p c CREATED\n\
            PostCreateContainer p c CREATED\n\
            StartContainer p c CREATED\n\
            PostStartContainer p c RUNNING\n\
            UpdateContainer p c RUNNING\n\
            PostUpdateContainer p c RUNNING\n\
            UpdatePodSandbox p\n\
            PostUpdatePodSandbox p\n\
            StopContainer p c STOPPED\n\
            RemoveContainer p c STOPPED\n\
            CreateContainer p d CREATED\n\
            PostCreateContainer p d CREATED\n\
            StartContainer p d CREATED\n\
            PostStartContainer p d RUNNING\n\
            StopContainer p d STOPPED\n\
            StopPodSandbox p\n\
            RemoveContainer p d STOPPED\n\
            RemovePodSandbox p";
            assert_eq!(plugin.record().join("\n"), expected);
            node.stop_daemon().await?;
            plugin.wait_for("Closed", 1).await?;
            let record = plugin.record();
            assert_eq!(record[record.len() - 2..], ["Shutdown", "Closed"]);
            Ok(())
        },
    )
}

#[test]
fn plugins_are_called_by_their_index() -> Result {
    on_node(
        "events::plugins_are_called_by_their_index",
        Options::default(),
        async |node| {
            // One log for both, so that it shows who was first.
            let signed = |sign: &str| json!({"Sign": sign, "Events": "pod"});
            let second = Plugin::start("20", "one", signed("20")).await?;
            symlink(log_of("one"), log_of("two"))?;
            let mut config = signed("10");
            config["Events"] = json!("RunPodSandbox");
            let _first = Plugin::spawn("10", "two", config, &[])?;
            second.wait_for("Synchronize", 2).await?;
            let pod = node.run_pod(&node.pod("p")).await?;
            node.remove_pod(&pod).await?;
            let record = second.record();
            let heard = [
                "RunPodSandbox p 10",
                "RunPodSandbox p 20",
                "StopPodSandbox p 20",
                "RemovePodSandbox p 20",
            ];
            // Each hears what it subscribed to and nothing else.
            assert_eq!(record[record.len() - 4..], heard);
            Ok(())
        },
    )
}

#[test]
fn one_that_joins_late_is_told_of_everything_once() -> Result {
    on_node(
        "events::one_that_joins_late_is_told_of_everything_once",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = node.pod("old");
            let old = node.run_pod(&config).await?;
            let running = node
                .launch(&old, &config, container("runs", &image, &SLEEP))
                .await?;
            node.create_container(&old, &config, container("waits", &image, &SLEEP))
                .await?;
            let ended = node
                .launch(&old, &config, container("ends", &image, &["true"]))
                .await?;
            node.exited(&ended).await?;
            // Pods come and go while it joins.
            let names: Vec<String> = (0..12).map(|n| format!("p{n}")).collect();
            let mut pods = vec![old];
            for name in &names[..4] {
                pods.push(node.run_pod(&node.pod(name)).await?);
            }
            let plugin = Plugin::spawn("00", "late", json!({}), &[])?;
            for name in &names[4..] {
                pods.push(node.run_pod(&node.pod(name)).await?);
            }
            plugin.wait_for("Synchronize", 1).await?;
            let last = node.run_pod(&node.pod("last")).await?;
            pods.push(last);
            let record = plugin.record();
            let first = record.iter().find(|line| line.starts_with("Synchronize"));
            let first = first.context("no Synchronize")?.clone();
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for name in names.iter().chain([&"old".to_owned(), &"last".to_owned()]) {
                let listed = usize::from(first.contains(&format!("\"{name}\"")));
                let heard = record
                    .iter()
                    .filter(|line| **line == format!("RunPodSandbox {name}"));
                seen.insert(name.clone(), listed + heard.count());
            }
            ensure!(
                seen.values().all(|times| *times == 1),
                "{seen:?}\n{record:#?}"
            );
            ensure!(
                first.contains(r#"["runs RUNNING","waits CREATED"]"#),
                "{first}"
            );
            node.stop_container(&running, 0).await?;
            ensure!(
                plugin
                    .record()
                    .contains(&"StopContainer old runs STOPPED".to_owned())
            );
            for pod in pods {
                node.remove_pod(&pod).await?;
            }
            let gone = plugin
                .record()
                .iter()
                .filter(|it| it.starts_with("RemovePod"))
                .count();
            assert_eq!(gone, names.len() + 2);
            Ok(())
        },
    )
}

#[test]
fn plugins_come_back_after_a_restart_of_the_daemon() -> Result {
    on_node(
        "events::plugins_come_back_after_a_restart_of_the_daemon",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let plugin = Plugin::spawn("00", "again", json!({}), &["-reconnect"])?;
            plugin.wait_for("Synchronize", 1).await?;
            let config = node.pod("p");
            let pod = node.run_pod(&config).await?;
            let id = node
                .launch(&pod, &config, container("c", &image, &SLEEP))
                .await?;
            node.kill9().await?;
            plugin.wait_for("Closed", 1).await?;
            node.restart().await?;
            plugin.wait_for("Synchronize", 2).await?;
            let record = plugin.record();
            let again = record.last().context("no record")?;
            assert_eq!(again, r#"Synchronize ["p"] ["c RUNNING"]"#);
            node.stop_container(&id, 0).await?;
            node.remove_pod(&pod).await?;
            let record = plugin.record();
            let expected = [
                "StopContainer p c STOPPED",
                "StopPodSandbox p",
                "RemoveContainer p c STOPPED",
                "RemovePodSandbox p",
            ];
            assert_eq!(record[record.len() - 4..], expected);
            Ok(())
        },
    )
}

#[test]
fn installed_plugins_live_with_the_daemon() -> Result {
    on_node(
        "events::installed_plugins_live_with_the_daemon",
        Options::default(),
        async |node| {
            std::fs::create_dir_all("/opt/nri/plugins")?;
            std::fs::create_dir_all("/etc/nri/conf.d")?;
            std::fs::copy(tool("nri-plugin")?, "/opt/nri/plugins/05-early")?;
            let log = log_of("early");
            let config = json!({"Log": log, "Events": "pod"});
            std::fs::write("/etc/nri/conf.d/early.conf", config.to_string())?;
            node.restart().await?;
            // It is in before the daemon serves.
            assert_eq!(read(&log), ["Configure pinpod v0.1.0", "Synchronize"]);
            ensure!(runs("05-early")?, "the plugin does not run");
            let pod = node.run_pod(&node.pod("p")).await?;
            node.remove_pod(&pod).await?;
            node.stop_daemon().await?;
            until("the plugin's end", Duration::from_secs(5), async || {
                Ok((!runs("05-early")?).then_some(()))
            })
            .await?;
            let record = read(&log);
            let expected = [
                "RunPodSandbox p",
                "StopPodSandbox p",
                "RemovePodSandbox p",
                "Shutdown",
            ];
            assert_eq!(record[2..6], expected);
            std::fs::remove_dir_all("/opt/nri")?;
            std::fs::remove_dir_all("/etc/nri")?;
            Ok(())
        },
    )
}

/// Whether a process has this name.
fn runs(name: &str) -> Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        let comm = std::fs::read_to_string(entry?.path().join("comm"));
        if comm.is_ok_and(|comm| comm.trim() == name) {
            return Ok(true);
        }
    }
    Ok(false)
}
