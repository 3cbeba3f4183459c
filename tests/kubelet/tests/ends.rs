//! Pods that end: by themselves, again and again, for want of memory, and when they are told to.

use std::time::Duration;

use anyhow::ensure;
use pinpod_kubelet_tests::{Kubelet, Manifest, Mode, on_kubelet, shell};
use pinpod_testkit::{Node, Result, busybox, until};
use serde_json::json;

/// What containers write for the test to read.
const FAREWELL: &str = "/tmp/farewell";

#[test]
fn ends_are_told_truly_when_relisted() -> Result {
    on_kubelet(
        "ends_are_told_truly_when_relisted",
        Mode::Relisting,
        ends_are_told_truly,
    )
}

#[test]
fn ends_are_told_truly_with_events() -> Result {
    on_kubelet(
        "ends_are_told_truly_with_events",
        Mode::Events,
        ends_are_told_truly,
    )
}

async fn crashes_again_and_again(kubelet: &mut Kubelet) -> Result {
    let image = busybox().await?;
    let crash = shell("crash", &image, "echo attempt; exit 3");
    kubelet.place(&Manifest::new("loop", json!([crash])))?;
    let pod = kubelet
        .until("loop", |pod| {
            let state = &pod.container("crash")?["state"]["waiting"];
            Ok(pod.restarts("crash")? >= 4 && state["reason"] == "CrashLoopBackOff")
        })
        .await?;
    let last = &pod.container("crash")?["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 3, "{}", pod.status());
    assert_eq!(kubelet.logs(&pod, "crash").await?, "attempt\n");
    Ok(())
}

async fn ends_are_told_truly(_: &mut Node, kubelet: &mut Kubelet) -> Result {
    crashes_again_and_again(kubelet).await?;
    let image = busybox().await?;
    let mut glutton = shell("glutton", &image, "exec tail /dev/zero");
    glutton["resources"] = json!({"limits": {"memory": "16Mi"}});
    let once = |name, container| {
        Manifest::new(name, json!([container])).with("restartPolicy", json!("Never"))
    };
    kubelet.place(&once("hungry", glutton))?;
    let worker = shell(
        "worker",
        &image,
        "echo done; echo because >/dev/termination-log",
    );
    kubelet.place(&once("job", worker))?;

    let pod = kubelet
        .until("hungry", |pod| Ok(pod.phase() == "Failed"))
        .await?;
    let end = &pod.container("glutton")?["state"]["terminated"];
    assert_eq!(end["reason"], "OOMKilled", "{}", pod.status());
    assert_eq!(end["exitCode"], 137);

    let pod = kubelet
        .until("job", |pod| Ok(pod.phase() == "Succeeded"))
        .await?;
    let end = &pod.container("worker")?["state"]["terminated"];
    assert_eq!(end["reason"], "Completed", "{}", pod.status());
    assert_eq!(end["message"], "because\n");
    assert_eq!(kubelet.logs(&pod, "worker").await?, "done\n");
    Ok(())
}

#[test]
fn a_removed_pod_says_goodbye_and_is_gone_when_relisted() -> Result {
    on_kubelet(
        "a_removed_pod_says_goodbye_and_is_gone_when_relisted",
        Mode::Relisting,
        a_removed_pod_says_goodbye,
    )
}

#[test]
fn a_removed_pod_says_goodbye_and_is_gone_with_events() -> Result {
    on_kubelet(
        "a_removed_pod_says_goodbye_and_is_gone_with_events",
        Mode::Events,
        a_removed_pod_says_goodbye,
    )
}

async fn a_removed_pod_says_goodbye(node: &mut Node, kubelet: &mut Kubelet) -> Result {
    std::fs::create_dir(FAREWELL)?;
    let note = |word: &str| {
        let write = format!("echo {word} >>/farewell/words");
        json!({"exec": {"command": ["sh", "-c", write]}})
    };
    let script = "trap 'echo term >>/farewell/words; exit 0' TERM; while :; do sleep 0.1; done";
    let mut polite = shell("polite", &busybox().await?, script);
    polite["lifecycle"] = json!({"postStart": note("started"), "preStop": note("stopping")});
    polite["volumeMounts"] = json!([{"name": "farewell", "mountPath": "/farewell"}]);
    let volume = json!({"name": "farewell", "hostPath": {"path": FAREWELL, "type": "Directory"}});
    let manifest = Manifest::new("polite", json!([polite]))
        .with("terminationGracePeriodSeconds", json!(20))
        .with("volumes", json!([volume]));
    kubelet.place(&manifest)?;
    kubelet.ready("polite").await?;
    assert_eq!(node.crictl(&["pods", "-q"]).await?.lines().count(), 1);

    kubelet.remove("polite")?;
    // Its API forgets a pod whose manifest is gone before it has ended it.
    until("the container's end", Duration::from_secs(30), async || {
        let running = node.crictl(&["ps", "-q"]).await?;
        Ok(running.is_empty().then_some(()))
    })
    .await?;
    let words = std::fs::read_to_string(format!("{FAREWELL}/words"))?;
    assert_eq!(words, "started\nstopping\nterm\n");

    // The kubelet collects sandboxes once a minute.
    until(
        "no pod and container",
        Duration::from_secs(100),
        async || {
            let left = node.crictl(&["pods", "-q"]).await? + &node.crictl(&["ps", "-aq"]).await?;
            Ok(left.is_empty().then_some(()))
        },
    )
    .await?;
    let logs = std::fs::read_dir("/var/log/pods")?.count();
    ensure!(logs == 0, "logs are left");
    Ok(())
}
