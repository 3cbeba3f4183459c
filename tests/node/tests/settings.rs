//! What changes while the daemon runs: its configuration, and what the kubelet tells of pods.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{
    ImageSpec, ImageStatusRequest, LinuxContainerResources, PodSandboxStatusRequest,
    UpdatePodSandboxResourcesRequest,
};
use pinpod_testkit::{Image, Node, Options, Result, busybox, on_node, until};
use serde_json::Value;
use tonic::Code;

async fn is_pinned(node: &Node, image: &Image) -> Result<bool> {
    let request = ImageStatusRequest {
        image: Some(ImageSpec {
            image: image.reference.clone(),
            ..Default::default()
        }),
        verbose: false,
    };
    let status = node.images().image_status(request).await?.into_inner();
    Ok(status.image.context("the image is not there")?.pinned)
}

#[test]
fn pinned_images_follow_the_configuration() -> Result {
    on_node(
        "pinned_images_follow_the_configuration",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            ensure!(!is_pinned(node, &image).await?, "not yet");
            let drop_in = "/etc/pinpod/pinpod.conf.d/pins.conf";
            std::fs::create_dir_all("/etc/pinpod/pinpod.conf.d")?;
            let pins = "[pinpod.image]\npinned_images = [\"*busybox*\"]\n";
            std::fs::write(drop_in, pins)?;
            node.reload()?;
            let limit = Duration::from_secs(10);
            until("the pin", limit, async || {
                Ok(is_pinned(node, &image).await?.then_some(()))
            })
            .await?;

            // A configuration that is wrong changes nothing; that is in the log.
            let mut file = OpenOptions::new().append(true).open(drop_in)?;
            file.write_all(b"no_such_key = 1\n")?;
            node.reload()?;
            until("the error", limit, async || {
                let log = Node::log()?;
                Ok(log.contains("the configuration is wrong").then_some(()))
            })
            .await?;
            ensure!(is_pinned(node, &image).await?, "still");

            std::fs::remove_file(drop_in)?;
            node.reload()?;
            until("no pin", limit, async || {
                Ok((!is_pinned(node, &image).await?).then_some(()))
            })
            .await
        },
    )
}

/// The resources of a pod as `crictl inspectp` shows them.
async fn shown(node: &Node, pod: &str) -> Result<(Value, Value)> {
    let request = PodSandboxStatusRequest {
        pod_sandbox_id: pod.to_owned(),
        verbose: true,
    };
    let info = node.runtime().pod_sandbox_status(request).await?;
    let info: Value = serde_json::from_str(&info.into_inner().info["info"])?;
    let config = &info["config"];
    Ok((
        config["resources"]["memory_limit"].clone(),
        config["overhead"]["cpu_shares"].clone(),
    ))
}

#[test]
fn a_pods_resources_are_kept() -> Result {
    on_node(
        "a_pods_resources_are_kept",
        Options::default(),
        async |node| {
            let config = node.pod("resized");
            let pod = node.run_pod(&config).await?;
            assert_eq!(shown(node, &pod).await?, (Value::Null, Value::Null));
            let limits = |memory, shares| {
                Some(LinuxContainerResources {
                    memory_limit_in_bytes: memory,
                    cpu_shares: shares,
                    ..Default::default()
                })
            };
            let update = UpdatePodSandboxResourcesRequest {
                pod_sandbox_id: pod.clone(),
                overhead: limits(0, 20),
                resources: limits(64 << 20, 0),
            };
            node.runtime()
                .update_pod_sandbox_resources(update.clone())
                .await?;
            let expected = (Value::from(64 << 20), Value::from(20));
            assert_eq!(shown(node, &pod).await?, expected);
            // What is not told stays.
            let partial = UpdatePodSandboxResourcesRequest {
                overhead: None,
                ..update.clone()
            };
            node.runtime().update_pod_sandbox_resources(partial).await?;
            node.kill9().await?;
            node.restart().await?;
            assert_eq!(shown(node, &pod).await?, expected, "after a restart");
            let unknown = UpdatePodSandboxResourcesRequest {
                pod_sandbox_id: "0".repeat(64),
                ..update
            };
            let refused = node.runtime().update_pod_sandbox_resources(unknown).await;
            assert_eq!(refused.unwrap_err().code(), Code::NotFound);
            node.remove_pod(&pod).await
        },
    )
}
