//! Checkpoints: taken of a container that runs on, restored in another pod, refused where something
//! is missing.

mod kinds;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result as Outcome, ensure};
use pinpod_cri_api::runtime::v1::{
    CheckpointContainerRequest, ContainerConfig, ContainerState, ImageSpec, ListImagesRequest,
    RemoveImageRequest,
};
use pinpod_testkit::{
    ImageBuilder, Node, Options, Registry, Result, busybox, container, on_node, run, tool, until,
};
use tonic::{Code, Status};

pub(crate) const COUNT: &str =
    "n=0; while :; do echo line $n; echo $n > /count; n=$((n+1)); sleep 0.1; done";

/// Gives the test's tree a criu that works with this kernel. It keeps what it learns of the kernel in
/// `/run`, so that is there before the node is compared with itself.
pub(crate) async fn use_criu() -> Result {
    let criu = "/usr/local/sbin/criu";
    std::os::unix::fs::symlink(tool("criu")?, criu).context(criu)?;
    run(criu, &["check"]).await.map(drop)
}

/// Nothing is left of a checkpoint but what is named.
fn assert_left(id: &str, archives: &[&str]) -> Result {
    let names = |path: &str| -> Result<Vec<String>> {
        let entries = std::fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?;
        let names = entries.iter().map(|it| it.file_name());
        Ok(names.map(|it| it.to_string_lossy().into_owned()).collect())
    };
    assert_eq!(names("/var/lib/kubelet")?, archives);
    let left = names(&format!("/var/lib/pinpod/containers/{id}"))?;
    ensure!(!left.iter().any(|it| it == "checkpoint"), "{left:?}");
    Ok(())
}

pub(crate) async fn checkpoint(
    node: &Node,
    id: &str,
    location: &str,
    timeout: i64,
) -> Outcome<(), Status> {
    let request = CheckpointContainerRequest {
        container_id: id.to_owned(),
        location: location.to_owned(),
        timeout,
    };
    let answer = node.runtime().checkpoint_container(request).await;
    answer.map(drop)
}

/// What the container has counted to.
pub(crate) async fn count(node: &Node, id: &str) -> Result<u64> {
    until("a number", Duration::from_secs(10), async || {
        Ok(node
            .output(id, &["cat", "/count"])
            .await?
            .trim()
            .parse()
            .ok())
    })
    .await
}

pub(crate) async fn counts_on(node: &Node, id: &str) -> Result {
    let before = count(node, id).await?;
    until("it counts on", Duration::from_secs(20), async || {
        Ok((count(node, id).await? > before).then_some(()))
    })
    .await
}

pub(crate) fn of_archive(name: &str, location: &str, like: &ContainerConfig) -> ContainerConfig {
    let mut config = like.clone();
    config.image = Some(ImageSpec {
        image: location.to_owned(),
        ..Default::default()
    });
    config.log_path = format!("{name}.log");
    config
}

/// Debian's crun is built without criu.
pub(crate) async fn crun_names_what_it_lacks(node: &mut Node) -> Result {
    let image = node.import(busybox().await?).await?;
    let config = node.pod("crun");
    let pod = node.run_pod(&config).await?;
    let main = container("main", &image, &["sh", "-c", COUNT]);
    let id = node.launch(&pod, &config, main).await?;
    let answer = checkpoint(node, &id, "/var/lib/kubelet/crun.tar", 60).await;
    let status = answer.err().context("a checkpoint without criu")?;
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    ensure!(
        status.message().contains("built without criu"),
        "{status:?}"
    );
    counts_on(node, &id).await?;
    node.remove_pod(&pod).await
}

#[test]
fn a_checkpoint_is_taken_and_restored_in_another_pod() -> Result {
    on_node(
        "a_checkpoint_is_taken_and_restored_in_another_pod",
        Options::default(),
        async |node| {
            if pinpod_testkit::runtime() == "crun" {
                return crun_names_what_it_lacks(node).await;
            }
            use_criu().await?;
            let image = node.import(busybox().await?).await?;
            let config = node.pod("first");
            let pod = node.run_pod(&config).await?;
            let main = container("main", &image, &["sh", "-c", COUNT]);
            let id = node.launch(&pod, &config, main.clone()).await?;
            node.output(&id, &["sh", "-c", "echo kept > /tmp/kept; rm /etc/group"])
                .await?;
            // One that began anew would be found at less.
            let before = until(
                "a count to go on from",
                Duration::from_secs(20),
                async || Ok(Some(count(node, &id).await?).filter(|count| *count > 10)),
            )
            .await?;

            let location = "/var/lib/kubelet/first.tar";
            checkpoint(node, &id, location, 60).await?;
            counts_on(node, &id).await?;
            let status = node.container_status(&id).await?;
            assert_eq!(status.state(), ContainerState::ContainerRunning);
            assert_left(&id, &["first.tar"])?;
            let mode = std::fs::metadata(location)?.permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "it has the memory of the container");
            let names = run("tar", &["--list", "--file", location]).await?;
            for name in [
                "config.dump",
                "spec.dump",
                "status.dump",
                "dump.log",
                "rootfs-diff.tar",
                "deleted.files",
                "checkpoint/inventory.img",
            ] {
                ensure!(names.lines().any(|it| it == name), "{name} in {names}");
            }

            // Its old self is gone when the new one comes.
            node.remove_pod(&pod).await?;
            let config = node.pod("second");
            let pod = node.run_pod(&config).await?;
            let again = of_archive("again", location, &main);
            let id = node.create_container(&pod, &config, again).await?;
            let status = node.container_status(&id).await?;
            assert_eq!(status.state(), ContainerState::ContainerCreated);
            node.start_container(&id).await?;
            let status = node.container_status(&id).await?;
            assert_eq!(status.state(), ContainerState::ContainerRunning);
            let restored = count(node, &id).await?;
            ensure!(restored >= before, "{restored} after {before}");
            counts_on(node, &id).await?;
            assert_eq!(node.output(&id, &["cat", "/tmp/kept"]).await?, "kept\n");
            assert_eq!(node.exec(&id, &["cat", "/etc/group"]).await?.exit_code, 1);
            assert_eq!(node.output(&id, &["hostname"]).await?, "second\n");
            // It is in the namespaces of its new pod.
            let plain = container("plain", &image, &["sleep", "1000"]);
            let plain = node.launch(&pod, &config, plain).await?;
            for kind in ["net", "ipc", "uts"] {
                let link = format!("/proc/1/ns/{kind}");
                let mine = node.output(&id, &["readlink", &link]).await?;
                let theirs = node.output(&plain, &["readlink", &link]).await?;
                assert_eq!(mine, theirs, "{kind}");
            }
            let ours = node
                .pod_status(&pod)
                .await?
                .network
                .context("a network")?
                .ip;
            let seen = node.output(&id, &["ip", "-4", "address"]).await?;
            ensure!(seen.contains(&ours), "the network of its new pod: {seen}");
            let log = std::fs::read_to_string(node.log_path(&config, "again"))?;
            let first = log.lines().next().context("nothing is logged")?;
            ensure!(!first.ends_with(" line 0"), "it goes on: {first}");

            // It lives on as any other: through a restart, to its end.
            node.kill9().await?;
            node.restart().await?;
            counts_on(node, &id).await?;
            node.stop_container(&id, 0).await?;
            assert_eq!(node.exited(&id).await?.exit_code, 137);
            std::fs::remove_file(location)?;
            node.remove_pod(&pod).await
        },
    )
}

/// An image of the files of a checkpoint.
async fn of_files(node: &mut Node, files: &Path, tag: &str, annotation: &str) -> Result<String> {
    let mut image = ImageBuilder::new();
    image.contents(files)?.annotate(annotation, "main");
    let image = image.build(&format!("localhost:5000/test/checkpoint:{tag}"))?;
    Ok(node.import(image).await?.reference)
}

async fn remove_image(node: &Node, image: &str) -> Result {
    let image = ImageSpec {
        image: image.to_owned(),
        ..Default::default()
    };
    let request = RemoveImageRequest { image: Some(image) };
    node.images().remove_image(request).await?;
    Ok(())
}

/// Pulled by its digest it has no tag.
async fn remove_busybox(node: &Node) -> Result {
    let request = ListImagesRequest::default();
    let all = node
        .images()
        .list_images(request)
        .await?
        .into_inner()
        .images;
    let named = |digest: &String| digest.starts_with("localhost:5000/test/busybox@");
    let busybox = all.iter().find(|it| it.repo_digests.iter().any(named));
    remove_image(node, &busybox.context("busybox")?.id).await
}

/// As `buildah` makes them: the archive's files in a layer, and an annotation. The node has not got the
/// image that the checkpoint was taken of, and the kubelet would not know to pull it.
#[test]
fn an_image_with_a_checkpoint_is_restored_with_the_image_that_it_needs() -> Result {
    on_node(
        "an_image_with_a_checkpoint_is_restored_with_the_image_that_it_needs",
        Options::default(),
        async |node| {
            if pinpod_testkit::runtime() == "crun" {
                return crun_names_what_it_lacks(node).await;
            }
            use_criu().await?;
            let registry = Registry::start().await?;
            let base = busybox().await?;
            registry.push(&base).await?;
            let base = node.pull(base).await?;
            let config = node.pod("first");
            let pod = node.run_pod(&config).await?;
            let main = container("main", &base, &["sh", "-c", COUNT]);
            let id = node.launch(&pod, &config, main.clone()).await?;
            node.output(&id, &["sh", "-c", "echo kept > /tmp/kept; rm /etc/group"])
                .await?;
            // One that began anew would be found at less.
            let before = until(
                "a count to go on from",
                Duration::from_secs(20),
                async || Ok(Some(count(node, &id).await?).filter(|count| *count > 10)),
            )
            .await?;
            let location = "/var/lib/kubelet/first.tar";
            checkpoint(node, &id, location, 60).await?;
            node.remove_pod(&pod).await?;

            let files = Path::new("/tmp/checkpoint");
            std::fs::create_dir(files)?;
            let directory = files.display().to_string();
            run("tar", &["-x", "-f", location, "-C", &directory]).await?;
            std::fs::remove_file(location)?;
            let criu = of_files(node, files, "criu", "org.criu.checkpoint.container.name").await?;
            let former = "io.kubernetes.cri-o.annotations.checkpoint.name";
            let former = of_files(node, files, "former", former).await?;
            let late = of_files(node, files, "late", "org.criu.checkpoint.container.name").await?;
            let mut empty = ImageBuilder::new();
            empty.annotate("org.criu.checkpoint.container.name", "main");
            let empty = empty.build("localhost:5000/test/checkpoint:empty")?;
            let empty = node.import(empty).await?.reference;

            let config = node.pod("second");
            let pod = node.run_pod(&config).await?;
            for image in [&criu, &former] {
                remove_busybox(node).await?;
                let id = node
                    .launch(&pod, &config, of_archive("again", image, &main))
                    .await?;
                let restored = count(node, &id).await?;
                ensure!(restored >= before, "{restored} after {before}");
                counts_on(node, &id).await?;
                assert_eq!(node.output(&id, &["cat", "/tmp/kept"]).await?, "kept\n");
                assert_eq!(node.exec(&id, &["cat", "/etc/group"]).await?.exit_code, 1);
                // The checkpoint is in the container now, and its image can go.
                remove_image(node, image).await?;
                node.stop_container(&id, 0).await?;
                node.remove_container(&id).await?;
            }

            // One that is no checkpoint, and one whose image nobody has any more.
            drop(registry);
            remove_busybox(node).await?;
            for (image, why) in [
                (&empty, "it has no config.dump"),
                (&late, "localhost:5000/test/busybox@sha256:"),
            ] {
                let again = of_archive("again", image, &main);
                let error = node.create_container(&pod, &config, again).await;
                let error = format!("{:#}", error.unwrap_err());
                ensure!(error.contains(why), "{error}");
            }
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn a_failed_checkpoint_leaves_nothing_and_the_container_runs() -> Result {
    on_node(
        "a_failed_checkpoint_leaves_nothing_and_the_container_runs",
        Options::default(),
        async |node| {
            if pinpod_testkit::runtime() == "crun" {
                return crun_names_what_it_lacks(node).await;
            }
            use_criu().await?;
            let image = node.import(busybox().await?).await?;
            let config = node.pod("kept");
            let pod = node.run_pod(&config).await?;
            let main = container("main", &image, &["sh", "-c", COUNT]);
            let id = node.launch(&pod, &config, main.clone()).await?;
            counts_on(node, &id).await?;
            for (location, code) in [
                ("relative.tar", Code::InvalidArgument),
                ("/var/lib/kubelet/../x.tar", Code::InvalidArgument),
                ("/var/lib/kubelet/no/such/directory.tar", Code::Internal),
            ] {
                let status = checkpoint(node, &id, location, 60).await.unwrap_err();
                assert_eq!(status.code(), code, "{status:?}");
                counts_on(node, &id).await?;
            }
            let status = checkpoint(node, &"0".repeat(64), "/var/lib/kubelet/x.tar", 60).await;
            assert_eq!(status.unwrap_err().code(), Code::NotFound);
            assert_left(&id, &[])?;

            // What is no checkpoint is not restored, and leaves nothing either.
            std::fs::write("/var/lib/kubelet/not.tar", "no archive")?;
            let config_of = of_archive("not", "/var/lib/kubelet/not.tar", &main);
            let error = node.create_container(&pod, &config, config_of).await;
            let error = format!("{:#}", error.unwrap_err());
            ensure!(error.contains("not.tar"), "{error}");
            std::fs::remove_file("/var/lib/kubelet/not.tar")?;

            node.stop_container(&id, 0).await?;
            let status = checkpoint(node, &id, "/var/lib/kubelet/x.tar", 60).await;
            assert_eq!(status.unwrap_err().code(), Code::FailedPrecondition);
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn what_is_missing_for_checkpoints_is_named() -> Result {
    on_node(
        "what_is_missing_for_checkpoints_is_named",
        Options::default(),
        async |node| {
            if pinpod_testkit::runtime() == "crun" {
                return crun_names_what_it_lacks(node).await;
            }
            // As criu 3.17 answers on a kernel whose vDSO is newer than it.
            let words = "Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds";
            let path = "/usr/local/sbin/criu";
            std::fs::write(path, format!("#!/bin/sh\necho '{words}' >&2\nexit 1\n"))?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
            let image = node.import(busybox().await?).await?;
            let config = node.pod("poor");
            let pod = node.run_pod(&config).await?;
            let main = container("main", &image, &["sh", "-c", COUNT]);
            let id = node.launch(&pod, &config, main).await?;
            let status = checkpoint(node, &id, "/var/lib/kubelet/x.tar", 60).await;
            let status = status.unwrap_err();
            assert_eq!(status.code(), Code::Unimplemented);
            let why = "criu does not work with this kernel: vdso: Unexpected rt vDSO area bounds";
            ensure!(status.message().contains(why), "{status:?}");
            counts_on(node, &id).await?;
            node.remove_pod(&pod).await
        },
    )
}
