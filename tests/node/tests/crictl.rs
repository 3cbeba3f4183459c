//! `crictl` 1.36 as an operator types it: every command of a pod's life, from the pull to `rmp -fa`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use pinpod_testkit::{Node, Options, Registry, Result, busybox, on_node, until};
use serde_json::{Value, json};

/// A node and the `crictl` that asks it.
struct Crictl<'a> {
    node: &'a Node,
}

impl Crictl<'_> {
    async fn run(&self, args: &[&str]) -> Result<String> {
        self.node.crictl(args).await
    }

    async fn json(&self, args: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(args).await?)?)
    }

    /// Writes a configuration file and returns its path.
    fn file(&self, name: &str, content: &Value) -> Result<String> {
        let path = format!("/tmp/{name}.json");
        std::fs::write(&path, content.to_string())?;
        Ok(path)
    }

    fn pod(&self, name: &str) -> Result<String> {
        self.file(
            &format!("pod-{name}"),
            &json!({
                "metadata": {"name": name, "namespace": "default", "uid": name, "attempt": 1},
                "log_directory": format!("/var/log/pods/{name}"),
                "labels": {"app": name},
                "linux": {"cgroup_parent": self.node.cgroup_parent()},
            }),
        )
    }

    fn container(&self, name: &str, image: &str, command: &[&str]) -> Result<String> {
        self.file(
            name,
            &json!({
                "metadata": {"name": name, "attempt": 0},
                "image": {"image": image},
                "command": command,
                "log_path": format!("{name}.log"),
                "linux": {},
            }),
        )
    }
}

#[test]
fn crictl_through_a_pods_life() -> Result {
    on_node(
        "crictl_through_a_pods_life",
        Options::default(),
        async |node| {
            let registry = Registry::start().await?;
            let image = busybox().await?;
            registry.push(&image).await?;
            node.settle().await?;
            let reference = image.reference.as_str();
            let node = &*node;
            let crictl = Crictl { node };

            let info = crictl.json(&["info"]).await?;
            let conditions = info["status"]["conditions"]
                .as_array()
                .context("conditions")?;
            for name in ["RuntimeReady", "NetworkReady"] {
                let ready = conditions
                    .iter()
                    .any(|it| it["type"] == name && it["status"] == true);
                ensure!(ready, "{name}: {info:#}");
            }

            crictl.run(&["pull", reference]).await?;
            let images = crictl.json(&["images", "-o", "json"]).await?;
            assert_eq!(images["images"][0]["repoTags"][0], reference);
            let inspected = crictl.json(&["inspecti", reference]).await?;
            assert_eq!(inspected["status"]["id"], images["images"][0]["id"]);

            let pod_file = crictl.pod("life")?;
            let pod = crictl.run(&["runp", &pod_file]).await?;
            let pods = crictl
                .json(&["pods", "-o", "json", "--label", "app=life"])
                .await?;
            assert_eq!(pods["items"][0]["id"], pod.as_str());
            let inspected = crictl.json(&["inspectp", &pod]).await?;
            assert_eq!(inspected["status"]["state"], "SANDBOX_READY");

            let script = "echo out; echo err >&2; trap 'exit 3' TERM; while :; do sleep 0.1; done";
            let file = crictl.container("talker", reference, &["sh", "-c", script])?;
            let talker = crictl.run(&["create", &pod, &file, &pod_file]).await?;
            crictl.run(&["start", &talker]).await?;
            assert_eq!(crictl.run(&["ps", "-q"]).await?, talker);
            let logs = until("both lines", Duration::from_secs(10), async || {
                let logs = crictl.run(&["logs", &talker]).await?;
                Ok((logs.lines().count() >= 1).then_some(logs))
            });
            assert!(logs.await?.contains("out"));
            assert_eq!(
                crictl
                    .run(&["exec", "-s", &talker, "echo", "inside"])
                    .await?,
                "inside"
            );
            crictl
                .run(&["update", "--memory", "67108864", &talker])
                .await?;
            let inspected = crictl.json(&["inspect", &talker]).await?;
            let limit = &inspected["status"]["resources"]["linux"]["memoryLimitInBytes"];
            assert_eq!(limit, "67108864");

            crictl.run(&["stop", "--timeout", "10", &talker]).await?;
            let inspected = crictl.json(&["inspect", &talker]).await?;
            assert_eq!(inspected["status"]["exitCode"], 3);
            let refused = crictl
                .run(&["rmi", reference])
                .await
                .unwrap_err()
                .to_string();
            ensure!(refused.contains("in use"), "{refused}");
            crictl.run(&["rm", &talker]).await?;
            crictl.run(&["stopp", &pod]).await?;
            crictl.run(&["rmp", &pod]).await?;

            // Everything at once, while a container runs.
            for name in ["first", "second"] {
                let pod_file = crictl.pod(name)?;
                let pod = crictl.run(&["runp", &pod_file]).await?;
                let file = crictl.container(name, reference, &["sleep", "1000"])?;
                let container = crictl.run(&["create", &pod, &file, &pod_file]).await?;
                crictl.run(&["start", &container]).await?;
            }
            crictl.run(&["rmp", "--force", "--all"]).await?;
            assert_eq!(crictl.run(&["pods", "-q"]).await?, "");
            crictl.run(&["rmi", reference]).await?;
            assert_eq!(crictl.run(&["images", "-q"]).await?, "");
            node.assert_clean().await
        },
    )
}
