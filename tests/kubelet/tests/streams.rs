//! Logs, exec, attach and port-forward through the kubelet's API.

use std::time::Duration;

use anyhow::ensure;
use pinpod_kubelet_tests::{Kubelet, Manifest, Mode, PROTOCOLS, Pod, on_kubelet, shell};
use pinpod_testkit::{Node, Result, busybox, nginx, run, until};
use serde_json::json;

#[test]
fn streams_go_through_the_kubelet_when_relisted() -> Result {
    on_kubelet(
        "streams_go_through_the_kubelet_when_relisted",
        Mode::Relisting,
        streams_go_through_the_kubelet,
    )
}

#[test]
fn streams_go_through_the_kubelet_with_events() -> Result {
    on_kubelet(
        "streams_go_through_the_kubelet_with_events",
        Mode::Events,
        streams_go_through_the_kubelet,
    )
}

async fn streams_go_through_the_kubelet(_: &mut Node, kubelet: &mut Kubelet) -> Result {
    let image = busybox().await?;
    let mut echo = shell("echo", &image, "while read line; do echo got $line; done");
    echo["stdin"] = json!(true);
    let web = shell("web", &nginx().await?, "exec nginx");
    let ticks = "n=0; while :; do echo tick $n; n=$((n+1)); sleep 0.01; done";
    let talker = shell("talker", &image, ticks);
    kubelet.place(&Manifest::new("streams", json!([echo, web, talker])))?;
    let teller = shell(
        "teller",
        &image,
        "echo one; sleep 2; echo two >&2; sleep 0.5",
    );
    let teller = Manifest::new("teller", json!([teller])).with("restartPolicy", json!("Never"));
    kubelet.place(&teller)?;
    follow(kubelet).await?;
    let pod = kubelet.ready("streams").await?;
    for protocol in PROTOCOLS {
        exec(kubelet, &pod, protocol).await?;
        attach(kubelet, &pod, protocol).await?;
        forward(kubelet, &pod, protocol).await?;
    }
    rotate(kubelet, &pod).await
}

/// A log that is followed ends with its container.
async fn follow(kubelet: &Kubelet) -> Result {
    let pod = kubelet
        .until("teller", |pod| {
            Ok(!pod.container("teller")?["state"]["running"].is_null())
        })
        .await?;
    let path = format!("/containerLogs/default/{}/teller", pod.name());
    let all = kubelet.get(&format!("{path}?follow=true")).await?;
    assert_eq!(all, "one\ntwo\n");
    let last = kubelet
        .get(&format!("{path}?tailLines=1&timestamps=true"))
        .await?;
    ensure!(
        last.starts_with("20") && last.ends_with("Z two\n"),
        "{last}"
    );
    Ok(())
}

/// The query of an exec: the command's words and the streams.
fn query(words: &[&str], streams: &str) -> String {
    let words: String = words
        .iter()
        .map(|word| format!("command={}&", word.replace(' ', "%20").replace(';', "%3B")))
        .collect();
    format!("?{words}{streams}")
}

async fn exec(kubelet: &Kubelet, pod: &Pod, protocol: &str) -> Result {
    let path = format!("/exec/default/{}/web", pod.name());
    let script = "echo out; echo err 1>%262; exit 7";
    let words = query(&["sh", "-c", script], "output=1&error=1");
    let end = kubelet
        .stream(protocol, &[], &(path.clone() + &words), None)
        .await?;
    assert_eq!((end.code, end.stdout.as_str()), (7, "out\n"), "{end:?}");
    assert_eq!(end.stderr, "err\n");

    // A megabyte there and back; stdin's end ends `cat`.
    let words = query(&["cat"], "input=1&output=1&error=1");
    let sent = "0123456789abcde\n".repeat(65_536);
    let end = kubelet
        .stream(
            protocol,
            &["--stdin"],
            &(path.clone() + &words),
            Some(sent.clone().into_bytes()),
        )
        .await?;
    assert_eq!(end.code, 0, "{}", end.stderr);
    ensure!(end.stdout == sent, "{} bytes came back", end.stdout.len());

    // A terminal has the client's size, and shows both outputs.
    let script = "until [ \"$(stty size 2>/dev/null)\" = '40 120' ]; do sleep 0.05; done; tty; echo err 1>%262";
    let script = script.replace('"', "%22").replace('\'', "%27");
    let words = query(&["sh", "-c", &script], "input=1&output=1&tty=1");
    let end = kubelet
        .stream(
            protocol,
            &["--tty", "--stdin"],
            &(path.clone() + &words),
            None,
        )
        .await?;
    assert_eq!(
        (end.code, end.stdout.as_str()),
        (0, "/dev/pts/0\r\nerr\r\n")
    );

    let words = query(&["/no/such/program"], "output=1&error=1");
    let end = kubelet
        .stream(protocol, &[], &(path + &words), None)
        .await?;
    ensure!(end.code != 0, "{end:?}");
    ensure!(end.stderr.contains("no such file"), "{end:?}");
    Ok(())
}

/// The container reads on after its client has gone, and the next one is heard too.
async fn attach(kubelet: &Kubelet, pod: &Pod, protocol: &str) -> Result {
    let path = format!("/attach/default/{}/echo?input=1&output=1", pod.name());
    let url = Kubelet::url(&path);
    for word in ["first", "second"] {
        let mut client = kubelet.client(protocol, &["--stdin", "stream", &url])?;
        client.send(word).await?;
        assert_eq!(client.line().await?, format!("got {word}"));
        client.kill().await?;
    }
    let now = kubelet.ready("streams").await?;
    assert_eq!(now.container_id("echo")?, pod.container_id("echo")?);
    assert_eq!(now.restarts("echo")?, 0);
    Ok(())
}

async fn forward(kubelet: &Kubelet, pod: &Pod, protocol: &str) -> Result {
    let url = Kubelet::url(&format!("/portForward/default/{}", pod.name()));
    let mut client = kubelet.client(protocol, &["forward", &url, "18080:80"])?;
    let first = client.line().await?;
    ensure!(
        first.starts_with("Forwarding from 127.0.0.1:18080"),
        "{first}"
    );
    let page = "http://127.0.0.1:18080/";
    let pages = run("curl", &["-sS", page, page, page]).await?;
    assert_eq!(pages, "pinpod\npinpod\npinpod\n");
    client.kill().await?;

    // Nothing listens there: kubectl's client ends its forward.
    let mut client = kubelet.client(protocol, &["forward", &url, "18081:81"])?;
    client.line().await?;
    let refused = run("curl", &["-sS", "http://127.0.0.1:18081/"]).await;
    ensure!(refused.is_err(), "{refused:?}");
    until("the client's end", Duration::from_secs(10), async || {
        Ok(client.line().await.is_err().then_some(()))
    })
    .await
}

/// The kubelet rotates a log that has grown, and pinpod goes on in a new file.
async fn rotate(kubelet: &Kubelet, pod: &Pod) -> Result {
    let uid = run("ls", &["/var/log/pods"]).await?;
    let directory = uid.lines().find(|name| name.contains(pod.name()));
    let directory = format!("/var/log/pods/{}/talker", directory.unwrap_or_default());
    until("a rotated log", Duration::from_secs(30), async || {
        Ok((std::fs::read_dir(&directory)?.count() > 1).then_some(()))
    })
    .await?;
    let tick = async || -> Result<u64> {
        let path = format!("/containerLogs/default/{}/talker?tailLines=1", pod.name());
        let line = kubelet.get(&path).await?;
        Ok(line.trim().trim_start_matches("tick ").parse()?)
    };
    let before = tick().await?;
    until("the log goes on", Duration::from_secs(10), async || {
        Ok((tick().await? > before).then_some(()))
    })
    .await
}
