//! The kubelet restarts, and pinpod is killed: what runs goes on, and what ended meanwhile is told.

use std::time::Duration;

use anyhow::ensure;
use pinpod_kubelet_tests::{ADDRESS, Kubelet, Manifest, Mode, Pod, on_kubelet, shell};
use pinpod_testkit::{Node, Result, busybox, nginx, run};
use serde_json::json;

/// A file in it makes a container end.
const SIGNS: &str = "/tmp/signs";

#[test]
fn pods_live_through_restarts_when_relisted() -> Result {
    on_kubelet(
        "pods_live_through_restarts_when_relisted",
        Mode::Relisting,
        pods_live_through_restarts,
    )
}

#[test]
fn pods_live_through_restarts_with_events() -> Result {
    on_kubelet(
        "pods_live_through_restarts_with_events",
        Mode::Events,
        pods_live_through_restarts,
    )
}

async fn pods_live_through_restarts(node: &mut Node, kubelet: &mut Kubelet) -> Result {
    std::fs::create_dir(SIGNS)?;
    let mut server = shell("nginx", &nginx().await?, "exec nginx");
    server["ports"] = json!([{"containerPort": 80, "hostPort": 8080}]);
    server["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1});
    let image = busybox().await?;
    let ticks = "n=0; while :; do echo tick $n; n=$((n+1)); sleep 0.1; done";
    let ticker = shell("ticker", &image, ticks);
    kubelet.place(&Manifest::new("web", json!([server, ticker])))?;
    kubelet.place(&leaver("first").await?)?;
    kubelet.place(&leaver("second").await?)?;
    let before = kubelet.ready("web").await?;
    for name in ["first", "second"] {
        kubelet.ready(name).await?;
    }

    kubelet.stop().await?;
    std::fs::write(format!("{SIGNS}/first"), "")?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    kubelet.launch().await?;
    ended(kubelet, "first").await?;
    same(&before, &kubelet.ready("web").await?)?;

    node.kill9().await?;
    std::fs::write(format!("{SIGNS}/second"), "")?;
    let page = format!("http://{ADDRESS}:8080/");
    assert_eq!(run("curl", &["-sS", &page]).await?, "pinpod\n");
    tokio::time::sleep(Duration::from_secs(1)).await;
    node.restart().await?;
    ended(kubelet, "second").await?;
    same(&before, &kubelet.ready("web").await?)?;
    assert_eq!(run("curl", &["-sS", &page]).await?, "pinpod\n");
    let command = format!("/run/default/{}/ticker?cmd=hostname", before.name());
    assert_eq!(kubelet.post(&command).await?, "web-pinpod-test\n");

    // Both go at once, and a new pod comes while neither is there.
    kubelet.stop().await?;
    node.kill9().await?;
    kubelet.place(&leaver("third").await?)?;
    node.restart().await?;
    kubelet.launch().await?;
    same(&before, &kubelet.ready("web").await?)?;
    kubelet.ready("third").await?;
    Ok(())
}

/// A pod whose container ends with code 5 when the file of its name is there.
async fn leaver(name: &str) -> Result<Manifest> {
    let script = format!("until [ -e /signs/{name} ]; do sleep 0.1; done; exit 5");
    let mut leaver = shell("leaver", &busybox().await?, &script);
    leaver["volumeMounts"] = json!([{"name": "signs", "mountPath": "/signs", "readOnly": true}]);
    let volume = json!({"name": "signs", "hostPath": {"path": SIGNS}});
    Ok(Manifest::new(name, json!([leaver]))
        .with("restartPolicy", json!("Never"))
        .with("volumes", json!([volume])))
}

async fn ended(kubelet: &Kubelet, name: &str) -> Result {
    let pod = kubelet
        .until(name, |pod| Ok(pod.phase() == "Failed"))
        .await?;
    let end = &pod.container("leaver")?["state"]["terminated"];
    assert_eq!(end["exitCode"], 5, "{}", pod.status());
    Ok(())
}

/// Fails unless both are the same containers of the same pod, never started again.
fn same(before: &Pod, after: &Pod) -> Result {
    assert_eq!(before.address(), after.address());
    for name in ["nginx", "ticker"] {
        assert_eq!(before.container_id(name)?, after.container_id(name)?);
        ensure!(after.restarts(name)? == 0, "{}", after.status());
    }
    Ok(())
}
