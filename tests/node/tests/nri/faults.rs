//! Plugins that refuse, disagree, hang and die.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use pinpod_testkit::{Options, Result, busybox, container, on_node};
use serde_json::json;

use crate::plugin::Plugin;

/// A node whose plugins have a second for a request.
fn impatient() -> Options {
    Options {
        config: "[pinpod.nri]\nnri_plugin_request_timeout = \"1s\"\n".to_owned(),
        ..Options::default()
    }
}

/// The error of a call, with its causes.
fn refused<T>(result: Result<T>) -> Result<String> {
    let error = result.err().context("the call was not refused")?;
    Ok(format!("{error:?}"))
}

#[test]
fn a_plugin_that_refuses_fails_the_creation_and_leaves_nothing() -> Result {
    let name = "faults::a_plugin_that_refuses_fails_the_creation_and_leaves_nothing";
    on_node(name, Options::default(), async |node| {
        let image = node.import(busybox().await?).await?;
        let agrees = Plugin::start("00", "agrees", json!({})).await?;
        let config = json!({
            "Fail": {"CreateContainer": "not today", "RunPodSandbox": "no pods"},
            "Events": "CreateContainer,RunPodSandbox",
        });
        let refuses = Plugin::start("10", "refuses", config).await?;
        node.settle().await?;
        let config = node.pod("p");
        let error = refused(node.run_pod(&config).await)?;
        ensure!(
            error.contains("10-refuses") && error.contains("refuses RunPodSandbox: no pods"),
            "{error}"
        );
        node.assert_clean().await?;
        // Who had agreed knows that nothing came of it.
        let record = agrees.record();
        assert_eq!(record[2..], ["RunPodSandbox p", "RemovePodSandbox p"]);
        drop(refuses);
        let config = json!({"Fail": {"CreateContainer": "not today"}, "Events": "CreateContainer"});
        let _refuses = Plugin::start("10", "refuses2", config).await?;
        let pod_config = node.pod("q");
        let pod = node.run_pod(&pod_config).await?;
        let wanted = container("c", &image, &["sleep", "1000"]);
        let error = refused(node.create_container(&pod, &pod_config, wanted).await)?;
        ensure!(
            error.contains("refuses CreateContainer: not today"),
            "{error}"
        );
        let record = agrees.record();
        let expected = [
            "RunPodSandbox q",
            "CreateContainer q c CREATED",
            "StopContainer q c CREATED",
            "RemoveContainer q c CREATED",
        ];
        assert_eq!(record[record.len() - 4..], expected);
        node.remove_pod(&pod).await
    })
}

#[test]
fn plugins_that_disagree_are_both_named() -> Result {
    on_node(
        "faults::plugins_that_disagree_are_both_named",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let adjust = json!({"Adjust": {"c": {"env": [{"key": "X", "value": "1"}]}}});
            let _one = Plugin::start("10", "one", adjust.clone()).await?;
            let _two = Plugin::start("20", "two", adjust).await?;
            let config = node.pod("p");
            let pod = node.run_pod(&config).await?;
            let wanted = container("c", &image, &["true"]);
            let error = refused(node.create_container(&pod, &config, wanted).await)?;
            for part in ["10-one", "20-two", "both set Env", "X"] {
                ensure!(error.contains(part), "{part}: {error}");
            }
            // Another container is none of their business.
            node.create_container(&pod, &config, container("d", &image, &["true"]))
                .await?;
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn a_validating_plugin_has_the_last_word() -> Result {
    on_node(
        "faults::a_validating_plugin_has_the_last_word",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let judge = json!({"Reject": "too much", "Events": "ValidateContainerAdjustment"});
            let _judge = Plugin::start("90", "judge", judge).await?;
            let config = node.pod("p");
            let pod = node.run_pod(&config).await?;
            let wanted = container("c", &image, &["true"]);
            let error = refused(node.create_container(&pod, &config, wanted).await)?;
            ensure!(
                error.contains("90-judge") && error.contains("too much"),
                "{error}"
            );
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn a_plugin_that_hangs_is_let_go() -> Result {
    on_node(
        "faults::a_plugin_that_hangs_is_let_go",
        impatient(),
        async |node| {
            let hangs = Plugin::start("00", "hangs", json!({"Hang": ["RunPodSandbox"]})).await?;
            let pod = node.run_pod(&node.pod("p")).await?;
            hangs.wait_for("Closed", 1).await?;
            node.remove_pod(&pod).await?;
            ensure!(
                !hangs.record().contains(&"StopPodSandbox p".to_owned()),
                "it was told more"
            );
            // One that wants requests to fail then.
            let config =
                json!({"Hang": ["RunPodSandbox"], "FailRequest": true, "KeepConnected": true});
            let strict = Plugin::start("00", "strict", config).await?;
            node.settle().await?;
            let error = refused(node.run_pod(&node.pod("q")).await)?;
            ensure!(
                error.contains("00-strict") && error.contains("1000 ms"),
                "{error}"
            );
            node.assert_clean().await?;
            ensure!(
                !strict.record().contains(&"Closed".to_owned()),
                "it was let go"
            );
            Ok(())
        },
    )
}

#[test]
fn the_death_of_a_plugin_is_noticed_at_once() -> Result {
    let options = Options {
        config: "[pinpod.nri]\nnri_plugin_request_timeout = \"1m\"\n".to_owned(),
        ..Options::default()
    };
    on_node(
        "faults::the_death_of_a_plugin_is_noticed_at_once",
        options,
        async |node| {
            let _dies = Plugin::start("00", "dies", json!({"Die": ["RunPodSandbox"]})).await?;
            let before = Instant::now();
            let pod = node.run_pod(&node.pod("p")).await?;
            // It has a minute to answer; nobody waits for that when it is gone.
            ensure!(
                before.elapsed() < Duration::from_secs(50),
                "its death was not noticed"
            );
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn what_is_no_plugin_is_not_let_in() -> Result {
    let options = Options {
        config: "[pinpod.nri]\nnri_plugin_registration_timeout = \"1s\"\n".to_owned(),
        ..Options::default()
    };
    on_node(
        "faults::what_is_no_plugin_is_not_let_in",
        options,
        async |node| {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut rest = Vec::new();
            for noise in [
                &b""[..],
                b"GET / HTTP/1.1\r\n\r\n",
                &[0, 0, 0, 2, 0, 0, 0, 1, 0],
            ] {
                let mut socket = tokio::net::UnixStream::connect("/run/nri/nri.sock").await?;
                socket.write_all(noise).await?;
                // The daemon hangs up.
                tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut rest))
                    .await??;
            }
            let pod = node.run_pod(&node.pod("p")).await?;
            node.remove_pod(&pod).await
        },
    )
}
