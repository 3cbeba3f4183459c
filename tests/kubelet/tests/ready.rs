//! Pods that come up: probes, ports, init containers and sidecars, volumes, a shared PID namespace.

use anyhow::ensure;
use pinpod_kubelet_tests::{ADDRESS, Kubelet, Manifest, Mode, Pod, on_kubelet, shell};
use pinpod_testkit::{Node, Result, busybox, nginx, run};
use serde_json::{Value, json};

const FOREVER: &str = "exec sleep 100000";

#[test]
fn pods_become_ready_when_relisted() -> Result {
    on_kubelet(
        "pods_become_ready_when_relisted",
        Mode::Relisting,
        pods_become_ready,
    )
}

#[test]
fn pods_become_ready_with_events() -> Result {
    on_kubelet(
        "pods_become_ready_with_events",
        Mode::Events,
        pods_become_ready,
    )
}

async fn pods_become_ready(node: &mut Node, kubelet: &mut Kubelet) -> Result {
    for manifest in [
        web().await?,
        family().await?,
        told().await?,
        shared().await?,
        mapped().await?,
    ] {
        kubelet.place(&manifest)?;
    }
    check_web(node, kubelet, &kubelet.ready("web").await?).await?;
    check_family(node, kubelet, &kubelet.ready("family").await?).await?;
    check_told(kubelet, &kubelet.ready("told").await?).await?;
    check_shared(kubelet, &kubelet.ready("shared").await?).await?;
    check_mapped(node, &kubelet.ready("mapped").await?).await
}

/// A web server with both probes, a port of the node and limits.
async fn web() -> Result<Manifest> {
    let mut server = shell("nginx", &nginx().await?, "touch /tmp/alive; exec nginx");
    server["ports"] = json!([{"containerPort": 80, "hostPort": 8080}]);
    server["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1});
    server["livenessProbe"] = json!({"exec": {"command": ["test", "-e", "/tmp/alive"]},
        "periodSeconds": 1, "failureThreshold": 1});
    server["resources"] = json!({"limits": {"cpu": "500m", "memory": "64Mi"}});
    Ok(Manifest::new("web", json!([server])))
}

async fn check_web(node: &Node, kubelet: &Kubelet, pod: &Pod) -> Result {
    ensure!(pod.address().starts_with("10.88."), "{}", pod.status());
    let page = run("curl", &["-sS", &format!("http://{ADDRESS}:8080/")]).await?;
    assert_eq!(page, "pinpod\n");

    let id = pod.container_id("nginx")?;
    let inspected: Value = serde_json::from_str(&node.crictl(&["inspect", &id]).await?)?;
    let status = &inspected["status"];
    assert_eq!(status["state"], "CONTAINER_RUNNING");
    let resources = &status["resources"]["linux"];
    assert_eq!(resources["memoryLimitInBytes"], "67108864");
    assert_eq!(resources["cpuQuota"], "50000");

    // The liveness probe fails, the container is started again, and the pod comes back.
    node.crictl(&["exec", "-s", &id, "rm", "/tmp/alive"])
        .await?;
    let pod = kubelet
        .until("web", |pod| {
            Ok(pod.restarts("nginx")? == 1 && pod.is_ready())
        })
        .await?;
    ensure!(pod.container_id("nginx")? != id, "{}", pod.status());
    let page = run("curl", &["-sS", &format!("http://{ADDRESS}:8080/")]).await?;
    assert_eq!(page, "pinpod\n");
    Ok(())
}

/// An init container, then a sidecar, then two containers, over one emptyDir.
async fn family() -> Result<Manifest> {
    let image = busybox().await?;
    let mounts = json!([{"name": "shared", "mountPath": "/shared"}]);
    let mut init = shell("init", &image, "echo init >/shared/order");
    let mut sidecar = shell(
        "sidecar",
        &image,
        &format!("echo sidecar >>/shared/order; {FOREVER}"),
    );
    sidecar["restartPolicy"] = json!("Always");
    sidecar["startupProbe"] = json!({"exec": {"command": ["grep", "sidecar", "/shared/order"]},
        "periodSeconds": 1});
    let mut writer = shell(
        "writer",
        &image,
        &format!("echo writer >>/shared/order; {FOREVER}"),
    );
    let mut reader = shell("reader", &image, FOREVER);
    reader["readinessProbe"] =
        json!({"exec": {"command": ["grep", "writer", "/shared/order"]}, "periodSeconds": 1});
    for container in [&mut init, &mut sidecar, &mut writer, &mut reader] {
        container["volumeMounts"] = mounts.clone();
    }
    let manifest = Manifest::new("family", json!([writer, reader]));
    Ok(manifest
        .with("initContainers", json!([init, sidecar]))
        .with("volumes", json!([{"name": "shared", "emptyDir": {}}])))
}

async fn check_family(node: &Node, kubelet: &Kubelet, pod: &Pod) -> Result {
    let init = &pod.container("init")?["state"]["terminated"];
    assert_eq!(init["reason"], "Completed", "{}", pod.status());
    let sidecar = pod.container("sidecar")?;
    assert_eq!(sidecar["started"], true);
    ensure!(!sidecar["state"]["running"].is_null(), "{}", pod.status());
    let reader = pod.container_id("reader")?;
    let order = node
        .crictl(&["exec", "-s", &reader, "cat", "/shared/order"])
        .await?;
    assert_eq!(order, "init\nsidecar\nwriter");
    assert_eq!(kubelet.logs(pod, "writer").await?, "");
    Ok(())
}

/// A pod that is told about itself, by a volume and by variables.
async fn told() -> Result<Manifest> {
    let script = format!("cat /told/name /told/labels /told/note /told/cpu; env | sort; {FOREVER}");
    let mut reader = shell("reader", &busybox().await?, &script);
    reader["resources"] = json!({"limits": {"cpu": "300m"}});
    reader["volumeMounts"] = json!([{"name": "told", "mountPath": "/told", "readOnly": true}]);
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    reader["env"] = json!([
        {"name": "TOLD_HOST", "valueFrom": field("status.hostIP")},
        {"name": "TOLD_POD", "valueFrom": field("status.podIP")},
    ]);
    let item = |path: &str, from: &str| json!({"path": path, "fieldRef": {"fieldPath": from}});
    let mut cpu = json!({"containerName": "reader", "resource": "limits.cpu"});
    cpu["divisor"] = json!("1m");
    let items = json!([
        item("name", "metadata.name"),
        item("labels", "metadata.labels"),
        item("note", "metadata.annotations['note']"),
        {"path": "cpu", "resourceFieldRef": cpu},
    ]);
    // A kubelet without an API server refuses projected volumes; they are in bootstrap.rs.
    let volume = json!({"name": "told", "downwardAPI": {"items": items}});
    Ok(Manifest::new("told", json!([reader]))
        .annotated("note", "a note")
        .with("volumes", json!([volume])))
}

async fn check_told(kubelet: &Kubelet, pod: &Pod) -> Result {
    let log = kubelet.logs(pod, "reader").await?;
    let address = format!("TOLD_POD={}\n", pod.address());
    let host = format!("TOLD_HOST={ADDRESS}\n");
    for part in [
        "told-pinpod-test",
        "app=\"told\"",
        "a note",
        "300",
        &address,
        &host,
    ] {
        ensure!(log.contains(part), "no {part:?} in {log}");
    }
    Ok(())
}

/// Two containers that see each other's processes.
async fn shared() -> Result<Manifest> {
    let image = busybox().await?;
    let tail = shell("tail", &image, "exec tail -f /dev/null");
    let mut looker = shell("looker", &image, FOREVER);
    looker["readinessProbe"] = json!({"exec": {"command": ["pidof", "tail"]}, "periodSeconds": 1});
    Ok(Manifest::new("shared", json!([tail, looker])).with("shareProcessNamespace", json!(true)))
}

async fn check_shared(kubelet: &Kubelet, pod: &Pod) -> Result {
    let run = "/run/default/shared-pinpod-test/looker?cmd=cat%20/proc/1/comm";
    let first = kubelet.post(run).await?;
    assert_eq!(first, "pinpod-init\n", "{}", pod.status());
    Ok(())
}

/// A pod with a user namespace: root in it is nobody in particular outside.
async fn mapped() -> Result<Manifest> {
    let script = format!("echo mine >/shared/file; {FOREVER}");
    let mut root = shell("root", &busybox().await?, &script);
    root["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    Ok(Manifest::new("mapped", json!([root]))
        .with("hostUsers", json!(false))
        .with("volumes", json!([{"name": "shared", "emptyDir": {}}])))
}

async fn check_mapped(node: &Node, pod: &Pod) -> Result {
    let id = pod.container_id("root")?;
    let map = node
        .crictl(&["exec", "-s", &id, "cat", "/proc/self/uid_map"])
        .await?;
    let numbers: Vec<u64> = map
        .split_whitespace()
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    ensure!(
        matches!(numbers[..], [0, outside, 65_536] if outside >= 65_536),
        "{map}"
    );
    // What it writes into a volume is its own, and root's on the node.
    let owner = node
        .crictl(&["exec", "-s", &id, "stat", "-c", "%u", "/shared/file"])
        .await?;
    assert_eq!(owner, "0");
    Ok(())
}
