//! Images: from a registry, and from a layout on disk.

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{
    ImageFsInfoRequest, ImageSpec, ImageStatusRequest, ListImagesRequest, PullImageRequest,
    RemoveImageRequest,
};
use pinpod_testkit::{Options, Registry, Result, busybox, container, on_node, tiny};

fn spec(reference: &str) -> Option<ImageSpec> {
    Some(ImageSpec {
        image: reference.to_owned(),
        ..Default::default()
    })
}

#[test]
fn an_image_is_pulled_shown_and_removed() -> Result {
    on_node(
        "an_image_is_pulled_shown_and_removed",
        Options::default(),
        async |node| {
            let registry = Registry::start().await?;
            let image = busybox().await?;
            registry.push(&image).await?;
            let other = tiny().await?;
            registry.push(&other).await?;
            node.settle().await?;

            let pull = PullImageRequest {
                image: spec(&image.reference),
                ..Default::default()
            };
            let id = node
                .images()
                .pull_image(pull.clone())
                .await?
                .into_inner()
                .image_ref;
            assert_eq!(
                id,
                node.images().pull_image(pull).await?.into_inner().image_ref
            );
            let status = ImageStatusRequest {
                image: spec(&image.reference),
                verbose: false,
            };
            let shown = node
                .images()
                .image_status(status.clone())
                .await?
                .into_inner()
                .image;
            let shown = shown.context("the image is not there")?;
            assert_eq!(shown.repo_tags, std::slice::from_ref(&image.reference));
            assert_eq!(shown.repo_digests.len(), 1, "{shown:?}");
            ensure!(shown.size > 100_000, "{shown:?}");
            let listed = node
                .images()
                .list_images(ListImagesRequest::default())
                .await?;
            assert_eq!(listed.into_inner().images.len(), 1);
            let info = node
                .images()
                .image_fs_info(ImageFsInfoRequest::default())
                .await?;
            let used = info.into_inner().image_filesystems;
            let used = used.first().context("no file system")?;
            ensure!(
                used.used_bytes
                    .as_ref()
                    .is_some_and(|used| used.value > 100_000),
                "{used:?}"
            );

            let pull = PullImageRequest {
                image: spec(&other.reference),
                ..Default::default()
            };
            node.images().pull_image(pull).await?;
            for reference in [&image.reference, &other.reference] {
                // Removing what is gone is no error.
                for _ in 0..2 {
                    let remove = RemoveImageRequest {
                        image: spec(reference),
                    };
                    node.images().remove_image(remove).await?;
                }
            }
            let gone = node.images().image_status(status).await?.into_inner().image;
            assert_eq!(gone, None);
            node.assert_clean().await
        },
    )
}

#[test]
fn a_pull_that_fails_leaves_nothing() -> Result {
    on_node(
        "a_pull_that_fails_leaves_nothing",
        Options::default(),
        async |node| {
            let _registry = Registry::start().await?;
            node.settle().await?;
            let absent = "localhost:5000/test/absent:1";
            let pull = PullImageRequest {
                image: spec(absent),
                ..Default::default()
            };
            let status = node
                .images()
                .pull_image(pull)
                .await
                .expect_err("it is not there");
            assert_eq!(status.code(), tonic::Code::NotFound, "{status:?}");
            ensure!(status.message().contains("test/absent"), "{status:?}");
            let nobody = "localhost:5999/test/x:1";
            let pull = PullImageRequest {
                image: spec(nobody),
                ..Default::default()
            };
            let status = node
                .images()
                .pull_image(pull)
                .await
                .expect_err("nobody listens");
            ensure!(status.message().contains("localhost:5999"), "{status:?}");
            node.assert_clean().await
        },
    )
}

#[test]
fn images_outlive_the_daemon() -> Result {
    on_node(
        "images_outlive_the_daemon",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            node.kill9().await?;
            node.restart().await?;
            let config = node.pod("later");
            let pod = node.run_pod(&config).await?;
            let id = node
                .launch(&pod, &config, container("main", &image, &["true"]))
                .await?;
            assert_eq!(node.exited(&id).await?.exit_code, 0);
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}
