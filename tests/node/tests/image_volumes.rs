//! Images as volumes of containers.

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{
    IdMapping, ImageSpec, ImageStatusRequest, Mount, NamespaceMode, RemoveImageRequest,
    UserNamespace,
};
use pinpod_testkit::{
    Image, ImageBuilder, Node, Options, Registry, Result, busybox, container, on_node,
};
use std::time::Duration;
use tonic::Code;

fn spec(reference: &str) -> Option<ImageSpec> {
    Some(ImageSpec {
        image: reference.to_owned(),
        ..Default::default()
    })
}

fn volume(reference: &str, sub_path: &str, container_path: &str) -> Mount {
    Mount {
        image: spec(reference),
        image_sub_path: sub_path.to_owned(),
        container_path: container_path.to_owned(),
        ..Default::default()
    }
}

/// An image of data: files, and links that lead out of it, or would.
fn data() -> Result<Image> {
    let mut image = ImageBuilder::new();
    image.file("/data/file", 0o644, b"from the image")?;
    image.file("/data/deep/er/file", 0o600, b"deep")?;
    image.file("/run.sh", 0o755, b"#!/bin/sh\necho ran\n")?;
    image.symlink("/data/inside", "/data/deep")?;
    image.symlink("/data/climbs", "../../../../../data/deep")?;
    image.symlink("/data/etc", "/etc")?;
    image.symlink("/data/proc", "/proc/self/root/etc")?;
    image.symlink("/data/loop", "loop")?;
    image.build("localhost:5000/test/data:1")
}

async fn remove(node: &Node, reference: &str) -> std::result::Result<(), tonic::Status> {
    let remove = RemoveImageRequest {
        image: spec(reference),
    };
    node.images().remove_image(remove).await.map(drop)
}

fn code(error: &anyhow::Error) -> Code {
    let status = error.downcast_ref::<tonic::Status>();
    status.map_or(Code::Unknown, tonic::Status::code)
}

#[test]
fn an_image_is_a_volume() -> Result {
    on_node("an_image_is_a_volume", Options::default(), async |node| {
        let registry = Registry::start().await?;
        let image = node.import(busybox().await?).await?;
        let data = data()?;
        registry.push(&data).await?;
        let data = node.pull(data).await?;
        let status = ImageStatusRequest {
            image: spec(&data.reference),
            verbose: false,
        };
        let shown = node.images().image_status(status).await?.into_inner().image;
        let shown = shown.context("it is not there")?;
        let digest = shown.repo_digests.first().context("no digest")?.clone();

        let config = node.pod("volumes");
        let pod = node.run_pod(&config).await?;
        let mut main = container("main", &image, &["sleep", "1000"]);
        main.mounts = vec![
            volume(&data.reference, "", "/tag"),
            volume(&digest, "data", "/digest"),
            volume(&shown.id, "data/file", "/etc/file"),
            volume(&data.reference, "data/inside/er", "/inside"),
            volume(&data.reference, "data/climbs", "/climbs"),
        ];
        let id = node.launch(&pod, &config, main).await?;
        for (command, output) in [
            ("cat /tag/data/file", "from the image"),
            ("ls /digest | wc -l", "7\n"),
            ("cat /etc/file", "from the image"),
            ("cat /inside/file /climbs/er/file", "deepdeep"),
            ("/tag/run.sh", "ran\n"),
        ] {
            assert_eq!(
                node.output(&id, &["sh", "-c", command]).await?,
                output,
                "{command}"
            );
        }
        for path in ["/tag/x", "/digest/x", "/etc/file", "/inside/x"] {
            let write = node
                .exec(&id, &["sh", "-c", &format!("echo > {path}")])
                .await?;
            let text = String::from_utf8_lossy(&write.stderr).into_owned();
            ensure!(
                write.exit_code != 0 && text.contains("Read-only"),
                "{path}: {text}"
            );
        }
        for mount in node.container_status(&id).await?.mounts {
            let source = mount.image.context("no image")?;
            assert_eq!(source.image_ref, digest);
            assert_eq!(
                source.image, shown.id,
                "as kubelet's collection knows images in use"
            );
            assert!(mount.readonly && mount.host_path.is_empty());
        }

        // It stays while a container has it, also one that has ended, also after a restart.
        node.kill9().await?;
        node.restart().await?;
        node.stop_container(&id, 0).await?;
        let refused = remove(node, &data.reference)
            .await
            .expect_err("it is in use");
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        ensure!(refused.message().contains(&id[..12]), "{refused:?}");
        node.remove_container(&id).await?;
        remove(node, &data.reference).await?;
        node.remove_pod(&pod).await?;
        node.assert_clean().await
    })
}

#[test]
fn what_is_not_in_an_image_is_no_volume() -> Result {
    on_node(
        "what_is_not_in_an_image_is_no_volume",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let data = node.import(data()?).await?;
            let config = node.pod("refused");
            let pod = node.run_pod(&config).await?;
            let before = pinpod_testkit::Snapshot::take(node.cgroup_parent()).await?;
            let here = data.reference.as_str();
            let both = Mount {
                host_path: "/tmp".to_owned(),
                ..volume(here, "", "/x")
            };
            let alone = Mount {
                host_path: "/tmp".to_owned(),
                image: None,
                ..volume(here, "data", "/x")
            };
            for (mount, words, expected) in [
                (
                    volume("localhost:5000/test/absent:1", "", "/x"),
                    "test/absent",
                    Code::NotFound,
                ),
                (
                    volume(here, "absent", "/x"),
                    "image_sub_path",
                    Code::InvalidArgument,
                ),
                (
                    volume(here, "data/file/x", "/x"),
                    "image_sub_path",
                    Code::InvalidArgument,
                ),
                // Links mean the image's files, of which these are none.
                (
                    volume(here, "data/etc/passwd", "/x"),
                    "image_sub_path",
                    Code::InvalidArgument,
                ),
                (
                    volume(here, "data/proc", "/x"),
                    "image_sub_path",
                    Code::InvalidArgument,
                ),
                (
                    volume(here, "data/loop", "/x"),
                    "image_sub_path",
                    Code::InvalidArgument,
                ),
                (
                    volume(here, "../etc", "/x"),
                    "image_sub_path",
                    Code::InvalidArgument,
                ),
                (
                    volume(here, "data/../../etc", "/x"),
                    "image_sub_path",
                    Code::InvalidArgument,
                ),
                (
                    volume(here, "/data", "/x"),
                    "image_sub_path",
                    Code::InvalidArgument,
                ),
                (
                    volume(here, "", "relative"),
                    "container_path",
                    Code::InvalidArgument,
                ),
                (both, "host_path", Code::InvalidArgument),
                (alone, "image_sub_path", Code::InvalidArgument),
            ] {
                let mut main = container("main", &image, &["true"]);
                main.mounts = vec![volume(here, "", "/good"), mount];
                let error = node
                    .create_container(&pod, &config, main)
                    .await
                    .expect_err(words);
                ensure!(format!("{error:?}").contains(words), "{words}: {error:?}");
                assert_eq!(code(&error), expected, "{error:?}");
                let left = pinpod_testkit::Snapshot::take(node.cgroup_parent())
                    .await?
                    .beyond(&before);
                let monitor = |thing: &String| thing.contains("monitor");
                ensure!(left.iter().all(monitor), "{words}: {left:?}");
            }
            // Nothing holds it.
            remove(node, here).await?;
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}

#[test]
fn an_image_is_a_volume_of_a_user_namespace() -> Result {
    let name = "an_image_is_a_volume_of_a_user_namespace";
    on_node(name, Options::default(), async |node| {
        let image = node.import(busybox().await?).await?;
        let data = node.import(data()?).await?;
        let ids = vec![IdMapping {
            host_id: 300_000,
            container_id: 0,
            length: 65_536,
        }];
        let user = UserNamespace {
            mode: NamespaceMode::Pod.into(),
            uids: ids.clone(),
            gids: ids.clone(),
        };
        let mut config = node.pod("user");
        let linux = config.linux.get_or_insert_default();
        let security = linux.security_context.get_or_insert_default();
        let options = security.namespace_options.get_or_insert_default();
        options.userns_options = Some(user);
        let pod = node.run_pod(&config).await?;
        let mut main = container("main", &image, &["sleep", "1000"]);
        main.mounts = vec![
            volume(&data.reference, "", "/image"),
            volume(&data.reference, "data/deep", "/deep"),
            // An image of one layer and one of several ids are shown the same way.
            volume(&image.reference, "bin", "/programs"),
        ];
        for mount in &mut main.mounts {
            mount.uid_mappings.clone_from(&ids);
            mount.gid_mappings.clone_from(&ids);
        }
        let id = node.launch(&pod, &config, main).await?;
        let script = "stat -c %u:%g /image /deep/er/file /programs; cat /deep/er/file; \
                      /programs/busybox true; echo x > /deep/new";
        let done = node.exec(&id, &["sh", "-c", script]).await?;
        assert_eq!(String::from_utf8_lossy(&done.stdout), "0:0\n0:0\n0:0\ndeep");
        ensure!(
            String::from_utf8_lossy(&done.stderr).contains("Read-only"),
            "{done:?}"
        );
        node.remove_pod(&pod).await?;
        node.assert_clean().await?;

        for round in 0_u64..6 {
            let config = node.pod(&format!("round-{round}"));
            let create = async {
                let pod = node.run_pod(&config).await?;
                let mut main = container("main", &image, &["sleep", "1000"]);
                main.mounts = vec![volume(&data.reference, "data", "/image")];
                node.launch(&pod, &config, main).await
            };
            let limit = Duration::from_millis(20 + round * round * 15);
            let outcome = tokio::time::timeout(limit, create).await;
            node.kill9().await?;
            node.restart().await?;
            if let Ok(Err(error)) = outcome {
                return Err(error);
            }
            let pod = node.run_pod(&config).await?;
            node.remove_pod(&pod).await?;
        }
        node.assert_clean().await?;
        remove(node, &data.reference).await?;
        Ok(())
    })
}
