//! The kubelet of a control plane's node that starts: its API server is not there yet.

use std::time::Duration;

use anyhow::Context as _;
use pinpod_kubelet_tests::{Manifest, Mode, on_kubelet, shell};
use pinpod_testkit::{Result, busybox, until};
use serde_json::json;

/// Projected volumes are here, since a kubelet that knows of no API server refuses them.
#[test]
fn a_projected_volume_tells_a_pod_about_itself() -> Result {
    on_kubelet(
        "a_projected_volume_tells_a_pod_about_itself",
        Mode::Bootstrap,
        async |node, kubelet| {
            let script = "ls /told; cat /told/name /told/labels; echo; exec sleep 100000";
            let mut reader = shell("reader", &busybox().await?, script);
            reader["volumeMounts"] = json!([{"name": "told", "mountPath": "/told"}]);
            let item =
                |path: &str, from: &str| json!({"path": path, "fieldRef": {"fieldPath": from}});
            let items = json!([
                item("name", "metadata.name"),
                item("labels", "metadata.labels")
            ]);
            let sources = json!([{"downwardAPI": {"items": items}}]);
            let volume = json!({"name": "told", "projected": {"sources": sources}});
            let manifest = Manifest::new("told", json!([reader])).with("volumes", json!([volume]));
            kubelet.place(&manifest)?;
            let mut log = String::new();
            let told = until("the pod's log", Duration::from_secs(60), async || {
                let running = node.crictl(&["ps", "-q", "--name", "reader"]).await?;
                if !running.is_empty() {
                    log = node.crictl(&["logs", &running]).await?;
                }
                Ok(log.contains("app=").then_some(()))
            });
            told.await.with_context(|| format!("log: {log}"))?;
            let lines: Vec<&str> = log.lines().collect();
            let told = "told-pinpod-testapp=\"told\"";
            assert_eq!(lines, ["labels", "name", told]);
            Ok(())
        },
    )
}
