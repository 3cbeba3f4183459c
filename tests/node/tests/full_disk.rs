//! A disk without space left: the right code, nothing left behind, and the same request succeeds
//! once there is space.

use anyhow::ensure;
use pinpod_cri_api::runtime::v1::{ImageSpec, PullImageRequest};
use pinpod_testkit::{Options, Registry, Result, busybox, container, on_node, run, tiny};

/// mount(8) keeps notes there.
const MOUNT_NOTES: &str = "/run/mount";

/// Fills the tmpfs at `path` to the last byte.
async fn fill(path: &str) -> Result {
    let script = format!(
        "used=$(df --output=used -k {path} | tail -n 1); \
         mount -o remount,size=$((used + 64))k {path}; \
         cat /dev/zero > {path}/filler; test -s {path}/filler"
    );
    run("/bin/sh", &["-c", &script]).await.map(drop)
}

async fn make_room(path: &str) -> Result {
    let script = format!("rm {path}/filler; mount -o remount,size=1g {path}");
    run("/bin/sh", &["-c", &script]).await.map(drop)
}

/// The gRPC status that an error of the test kit wraps.
fn code(error: &anyhow::Error) -> Option<tonic::Code> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<tonic::Status>())
        .map(tonic::Status::code)
}

#[test]
fn a_full_image_store_refuses_the_pull() -> Result {
    on_node(
        "a_full_image_store_refuses_the_pull",
        Options::default(),
        async |node| {
            let registry = Registry::start().await?;
            let image = busybox().await?;
            registry.push(&image).await?;
            std::fs::create_dir_all(MOUNT_NOTES)?;
            node.settle().await?;
            let pull = PullImageRequest {
                image: Some(ImageSpec {
                    image: image.reference.clone(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            fill("/var/lib/pinpod").await?;
            let refused = node
                .images()
                .pull_image(pull.clone())
                .await
                .expect_err("the store is full");
            assert_eq!(
                refused.code(),
                tonic::Code::ResourceExhausted,
                "{refused:?}"
            );
            make_room("/var/lib/pinpod").await?;
            node.assert_clean().await?;
            node.images().pull_image(pull).await?;
            node.settle().await
        },
    )
}

#[test]
fn a_full_runroot_refuses_pods_and_containers() -> Result {
    on_node(
        "a_full_runroot_refuses_pods_and_containers",
        Options::default(),
        async |node| {
            let image = node.import(tiny().await?).await?;
            let config = node.pod("tight");
            std::fs::create_dir_all(MOUNT_NOTES)?;
            node.settle().await?;

            fill("/run").await?;
            let refused = node
                .run_pod(&config)
                .await
                .expect_err("there is no space for its record");
            make_room("/run").await?;
            ensure!(
                code(&refused) == Some(tonic::Code::ResourceExhausted),
                "{refused:?}"
            );
            node.assert_clean().await?;

            let pod = node.run_pod(&config).await?;
            node.settle().await?;
            let main = || container("main", &image, &["true"]);
            fill("/run").await?;
            let refused = node.create_container(&pod, &config, main()).await;
            make_room("/run").await?;
            let refused = refused.expect_err("there is no space for its bundle");
            ensure!(
                code(&refused) == Some(tonic::Code::ResourceExhausted),
                "{refused:?}"
            );
            node.assert_clean().await?;
            node.create_container(&pod, &config, main()).await?;
            node.remove_pod(&pod).await
        },
    )
}
