//! What `crictl inspect` and `crictl inspectp` show beside the status: one JSON text under the key
//! `info`, with the members that scripts on Kubernetes nodes read from it.

use std::collections::BTreeMap;

use pinpod_pod::{ContainerSnapshot, PodSnapshot};
use serde_json::{Value, json};

/// Under the key that clients print as a document of its own.
fn keyed(value: &Value) -> BTreeMap<String, String> {
    BTreeMap::from([("info".to_owned(), value.to_string())])
}

/// A pod has no process, so `pid` is that of the PID 1 of a shared PID namespace, or 0.
/// `runtimeSpec.linux.namespaces` has the paths where it is looked for with other runtimes.
pub(super) fn of_pod(pod: &PodSnapshot) -> BTreeMap<String, String> {
    let files = &pod.namespaces;
    let namespaces: Vec<Value> = [
        ("network", &files.net),
        ("ipc", &files.ipc),
        ("uts", &files.uts),
        ("pid", &files.pid),
    ]
    .into_iter()
    .filter_map(|(kind, file)| Some(json!({"type": kind, "path": file.as_ref()?})))
    .collect();
    keyed(&json!({
        "sandboxID": pod.id,
        "pid": pod.init.map_or(0, |process| process.pid),
        "monitorPid": pod.monitor.map_or(0, |process| process.pid),
        "runtimeHandler": pod.runtime_handler,
        "config": *pod.config,
        "runtimeSpec": {
            "hostname": pod.config.hostname,
            "linux": {
                "cgroupsPath": pod.config.cgroup_parent,
                "sysctl": pod.config.sysctls,
                "namespaces": namespaces,
            },
        },
    }))
}

/// With the OCI spec as the runtime has it; without, where the bundle is gone.
pub(super) async fn of_container(container: &ContainerSnapshot) -> BTreeMap<String, String> {
    let spec = match tokio::fs::read(container.bundle.join("config.json")).await {
        Ok(text) => serde_json::from_slice(&text).unwrap_or(Value::Null),
        Err(_) => Value::Null,
    };
    keyed(&json!({
        "sandboxID": container.pod,
        "pid": container.phase.process().map_or(0, |process| process.pid),
        "bundle": container.bundle,
        "config": *container.config,
        "runtimeSpec": spec,
    }))
}
