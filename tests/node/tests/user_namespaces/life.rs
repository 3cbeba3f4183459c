//! Restarts and crashes of the daemon.

use pinpod_cri_api::runtime::v1::{ContainerState, NamespaceMode};
use pinpod_testkit::{Options, Result, busybox, on_node};
use std::time::Duration;

use crate::{mapping, options, owner, pod, sh, sleeper, volume};

#[test]
fn it_outlives_the_daemon() -> Result {
    on_node(
        "life::it_outlives_the_daemon",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            std::fs::create_dir("/tmp/volume")?;
            let config = pod(node, "long", 200_000);
            let long = node.run_pod(&config).await?;
            let id = node
                .launch(&long, &config, sleeper(&config, "main", &image))
                .await?;
            node.kill9().await?;
            node.restart().await?;
            assert_eq!(
                node.container_status(&id).await?.state(),
                ContainerState::ContainerRunning
            );
            assert_eq!(
                sh(node, &id, "id -u; echo x > /dev/stdout").await?,
                "0\nx\n"
            );
            let mut late = sleeper(&config, "late", &image);
            late.mounts = vec![volume("/tmp/volume", "/volume", mapping(200_000))];
            let late = node.launch(&long, &config, late).await?;
            sh(node, &late, "touch /volume/file").await?;
            assert_eq!(owner("/tmp/volume/file")?, (0, 0));
            node.remove_pod(&long).await?;
            node.assert_clean().await?;

            for round in 0_u64..8 {
                let mut config = pod(node, &format!("round-{round}"), 200_000);
                options(&mut config).set_pid(NamespaceMode::Pod);
                let create = async {
                    let pod = node.run_pod(&config).await?;
                    let mut sleep = sleeper(&config, "main", &image);
                    sleep.mounts = vec![volume("/tmp/volume", "/volume", mapping(200_000))];
                    node.launch(&pod, &config, sleep).await
                };
                // Later in each round, up to the running container.
                let limit = Duration::from_millis(10 + round * round * 10);
                let outcome = tokio::time::timeout(limit, create).await;
                node.kill9().await?;
                node.restart().await?;
                if let Ok(Err(error)) = outcome {
                    return Err(error);
                }
                let pod = node.run_pod(&config).await?;
                node.remove_pod(&pod).await?;
            }
            node.assert_clean().await
        },
    )
}
