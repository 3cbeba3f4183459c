//! Containers of different kinds: with a terminal, in namespaces of the pod, with mounts, connections
//! or commands in them. What criu can save of them is restored; of the others it says why not, and
//! they run on.

use std::time::Duration;

use anyhow::{Result as Outcome, ensure};
use pinpod_cri_api::runtime::v1::{
    ContainerConfig, ExecSyncRequest, IdMapping, ListContainersRequest, Mount, NamespaceMode,
    NamespaceOption, PodSandboxConfig, UserNamespace,
};
use pinpod_testkit::{Image, Node, Options, Result, busybox, container, on_node, until};
use tonic::{Code, Status};

use crate::{COUNT, checkpoint, counts_on, crun_names_what_it_lacks, of_archive, use_criu};

fn options(config: &mut PodSandboxConfig) -> &mut NamespaceOption {
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    security.namespace_options.get_or_insert_default()
}

/// A container that counts, with the namespaces of its pod.
fn counter(pod: &PodSandboxConfig, image: &Image) -> ContainerConfig {
    let mut config = container("main", image, &["sh", "-c", COUNT]);
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    security.namespace_options = Some(options(&mut pod.clone()).clone());
    config
}

const ARCHIVE: &str = "/var/lib/kubelet/kind.tar";

/// Takes a checkpoint of a container that counts on, whatever comes of it.
async fn take(node: &Node, id: &str) -> Result<Outcome<(), Status>> {
    counts_on(node, id).await?;
    let taken = checkpoint(node, id, ARCHIVE, 60).await;
    counts_on(node, id).await?;
    Ok(taken)
}

/// Runs a pod with a container, and waits until it counts.
async fn begin(
    node: &Node,
    config: &PodSandboxConfig,
    like: &ContainerConfig,
) -> Result<(String, String)> {
    let pod = node.run_pod(config).await?;
    let id = node.launch(&pod, config, like.clone()).await?;
    counts_on(node, &id).await?;
    Ok((pod, id))
}

/// Restores the checkpoint in a new pod that is like the first one.
async fn restore(
    node: &Node,
    first: &PodSandboxConfig,
    like: &ContainerConfig,
) -> Result<(String, PodSandboxConfig, Result<String>)> {
    let mut config = first.clone();
    let metadata = config.metadata.get_or_insert_default();
    metadata.name.push_str("-again");
    metadata.uid.push_str("-again");
    config.log_directory.push_str("-again");
    let pod = node.run_pod(&config).await?;
    let again = of_archive("again", ARCHIVE, like);
    let restored = node.launch(&pod, &config, again).await;
    if let Ok(id) = &restored {
        counts_on(node, id).await?;
    }
    Ok((pod, config, restored))
}

#[test]
fn with_a_terminal() -> Result {
    on_node("kinds::with_a_terminal", Options::default(), async |node| {
        if pinpod_testkit::runtime() == "crun" {
            return crun_names_what_it_lacks(node).await;
        }
        use_criu().await?;
        let image = node.import(busybox().await?).await?;
        let config = node.pod("terminal");
        let mut main = counter(&config, &image);
        main.tty = true;
        let (pod, id) = begin(node, &config, &main).await?;
        take(node, &id).await??;
        node.remove_pod(&pod).await?;
        let (pod, config, id) = restore(node, &config, &main).await?;
        let id = id?;
        let is_terminal = node.exec(&id, &["sh", "-c", "[ -c /proc/1/fd/1 ]"]).await?;
        ensure!(is_terminal.exit_code == 0, "{is_terminal:?}");
        // Its output goes on through the new terminal.
        let log = node.log_path(&config, "again");
        until(
            "lines of the terminal",
            Duration::from_secs(20),
            async || {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                Ok((log.lines().filter(|line| line.contains(" line ")).count() > 3).then_some(()))
            },
        )
        .await?;
        std::fs::remove_file(ARCHIVE)?;
        node.remove_pod(&pod).await
    })
}

#[test]
fn in_the_pods_pid_namespace() -> Result {
    on_node(
        "kinds::in_the_pods_pid_namespace",
        Options::default(),
        async |node| {
            if pinpod_testkit::runtime() == "crun" {
                return crun_names_what_it_lacks(node).await;
            }
            use_criu().await?;
            let image = node.import(busybox().await?).await?;
            let mut config = node.pod("shared");
            options(&mut config).set_pid(NamespaceMode::Pod);
            let mut main = counter(&config, &image);
            let script = format!("echo $$ > /self; {COUNT}");
            main.command = ["sh", "-c", &script].map(str::to_owned).to_vec();
            let (pod, id) = begin(node, &config, &main).await?;
            let number = node.output(&id, &["cat", "/self"]).await?;
            take(node, &id).await??;
            node.remove_pod(&pod).await?;
            let (pod, config, id) = restore(node, &config, &main).await?;
            let id = id?;
            let same = "tr '\\0' ' ' < /proc/$(cat /self)/cmdline";
            let same = node.output(&id, &["sh", "-c", same]).await?;
            ensure!(same.starts_with("sh -c echo"), "{number}: {same}");
            // Where a number is taken it cannot be restored; nothing else is harmed.
            let mut third = of_archive("third", ARCHIVE, &main);
            third.metadata.get_or_insert_default().name = "third".to_owned();
            let third = node.create_container(&pod, &config, third).await?;
            let error = node
                .start_container(&third)
                .await
                .expect_err("its number is taken");
            let error = format!("{error:?}");
            ensure!(error.contains("cannot restore container"), "{error}");
            ensure!(error.contains("File exists"), "{error}");
            counts_on(node, &id).await?;
            std::fs::remove_file(ARCHIVE)?;
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn with_users_of_its_own() -> Result {
    on_node(
        "kinds::with_users_of_its_own",
        Options::default(),
        async |node| {
            if pinpod_testkit::runtime() == "crun" {
                return crun_names_what_it_lacks(node).await;
            }
            use_criu().await?;
            let image = node.import(busybox().await?).await?;
            let mut config = node.pod("users");
            let ids = vec![IdMapping {
                host_id: 300_000,
                container_id: 0,
                length: 65_536,
            }];
            options(&mut config).userns_options = Some(UserNamespace {
                mode: NamespaceMode::Pod.into(),
                uids: ids.clone(),
                gids: ids,
            });
            let main = counter(&config, &image);
            let (pod, id) = begin(node, &config, &main).await?;
            take(node, &id).await??;
            node.remove_pod(&pod).await?;
            // Criu could make such a namespace, but not enter the pod's.
            let (pod, plain, refused) = restore(node, &config, &main).await?;
            let refused = refused.expect_err("criu cannot join a user namespace");
            let words = format!("{refused:?}");
            ensure!(words.contains("has a user namespace"), "{words}");
            let status = refused.downcast_ref::<Status>().map(Status::code);
            assert_eq!(status, Some(Code::Unimplemented));
            let mut client = node.runtime();
            let listed = client.list_containers(ListContainersRequest::default());
            assert_eq!(listed.await?.into_inner().containers, []);
            node.remove_pod(&pod).await?;
            // Nor the network of a pod that has none.
            let mut plain = plain;
            options(&mut plain).userns_options = None;
            let main = counter(&plain, &image);
            let (pod, _, refused) = restore(node, &plain, &main).await?;
            let words = format!("{:?}", refused.expect_err("it has other ids"));
            ensure!(words.contains("cannot restore container"), "{words}");
            ensure!(words.contains("Can't setns"), "{words}");
            std::fs::remove_file(ARCHIVE)?;
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn with_volumes_in_use() -> Result {
    on_node(
        "kinds::with_volumes_in_use",
        Options::default(),
        async |node| {
            if pinpod_testkit::runtime() == "crun" {
                return crun_names_what_it_lacks(node).await;
            }
            use_criu().await?;
            let image = node.import(busybox().await?).await?;
            std::fs::create_dir("/tmp/volume")?;
            std::fs::write("/tmp/one", "one file\n")?;
            let config = node.pod("volumes");
            let mut main = counter(&config, &image);
            let script = "exec 3>>/volume/log; n=0; \
                while :; do echo $n > /count; echo $n >&3; n=$((n+1)); sleep 0.1; done";
            main.command = ["sh", "-c", script].map(str::to_owned).to_vec();
            let volume = |host: &str, inside: &str, readonly| Mount {
                host_path: host.to_owned(),
                container_path: inside.to_owned(),
                readonly,
                ..Default::default()
            };
            main.mounts = vec![
                volume("/tmp/volume", "/volume", false),
                volume("/tmp/one", "/etc/one", true),
            ];
            let (pod, id) = begin(node, &config, &main).await?;
            take(node, &id).await??;
            node.remove_pod(&pod).await?;
            let written = std::fs::metadata("/tmp/volume/log")?.len();
            // The volume goes with the pod, not with the checkpoint.
            let (pod, _, id) = restore(node, &config, &main).await?;
            let id = id?;
            until(
                "a file that is written on",
                Duration::from_secs(20),
                async || Ok((std::fs::metadata("/tmp/volume/log")?.len() > written).then_some(())),
            )
            .await?;
            assert_eq!(node.output(&id, &["cat", "/etc/one"]).await?, "one file\n");
            node.remove_pod(&pod).await?;

            // A mount that the new container does not have is named.
            let mut without = main.clone();
            without.mounts.truncate(1);
            let (pod, _, id) = restore(node, &config, &without).await?;
            let error = format!("{:?}", id.expect_err("a mount is missing"));
            ensure!(error.contains("cannot restore container"), "{error}");
            ensure!(error.contains("mnt: No mapping for"), "{error}");
            std::fs::remove_file(ARCHIVE)?;
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn with_a_connection() -> Result {
    on_node(
        "kinds::with_a_connection",
        Options::default(),
        async |node| {
            if pinpod_testkit::runtime() == "crun" {
                return crun_names_what_it_lacks(node).await;
            }
            use_criu().await?;
            let image = node.import(busybox().await?).await?;
            let config = node.pod("connected");
            let mut main = counter(&config, &image);
            // One that listens, and both ends of a connection on which bytes come back.
            let script = "nc -ll -p 7000 -e /bin/cat & \
                (while :; do echo x; sleep 0.1; done) | (sleep 1; nc 127.0.0.1 7000 > /echoed) & \
                n=0; while :; do echo $n > /count; n=$((n+1)); sleep 0.1; done";
            main.command = ["sh", "-c", script].map(str::to_owned).to_vec();
            let (pod, id) = begin(node, &config, &main).await?;
            let echoes = async |more: &str| {
                until(more, Duration::from_secs(20), async || {
                    let script = "a=$(wc -c < /echoed) && sleep 1 && [ $(wc -c < /echoed) -gt $a ]";
                    let grows = node.exec(&id, &["sh", "-c", script]).await?;
                    Ok((grows.exit_code == 0).then_some(()))
                })
                .await
            };
            echoes("bytes that come back").await?;
            let taken = take(node, &id).await?;
            echoes("bytes that still come back").await?;
            if let Err(status) = taken {
                // Criu 4.1 asks a socket for SO_PASSCRED, which kernels from 6.16 on refuse to one of
                // the network.
                ensure!(
                    status.message().contains("criu cannot save container"),
                    "{status:?}"
                );
                ensure!(
                    status.message().contains("sockets: Can't get 1:16 opt"),
                    "{status:?}"
                );
                ensure!(
                    !std::path::Path::new(ARCHIVE).exists(),
                    "an archive of nothing"
                );
                return node.remove_pod(&pod).await;
            }
            node.remove_pod(&pod).await?;
            let (pod, _, id) = restore(node, &config, &main).await?;
            let id = id?;
            // The old ones are closed; who listens still does.
            until("a connection anew", Duration::from_secs(20), async || {
                let script = "echo hello | nc -w 2 127.0.0.1 7000";
                let said = node.exec(&id, &["sh", "-c", script]).await?;
                Ok((said.stdout == b"hello\n").then_some(()))
            })
            .await?;
            std::fs::remove_file(ARCHIVE)?;
            node.remove_pod(&pod).await
        },
    )
}

#[test]
fn with_a_command_in_it() -> Result {
    on_node(
        "kinds::with_a_command_in_it",
        Options::default(),
        async |node| {
            if pinpod_testkit::runtime() == "crun" {
                return crun_names_what_it_lacks(node).await;
            }
            use_criu().await?;
            let image = node.import(busybox().await?).await?;
            let config = node.pod("command");
            let main = counter(&config, &image);
            let (pod, id) = begin(node, &config, &main).await?;
            let mut client = node.runtime();
            let script = "touch /began; until [ -e /over ]; do sleep 0.1; done; exit 5";
            let request = ExecSyncRequest {
                container_id: id.clone(),
                cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
                timeout: 120,
            };
            let command = tokio::spawn(async move { client.exec_sync(request).await });
            until("the command", Duration::from_secs(20), async || {
                let there = node.exec(&id, &["ls", "/began"]).await?;
                Ok((there.exit_code == 0).then_some(()))
            })
            .await?;
            take(node, &id).await??;
            // The command runs on as well.
            node.output(&id, &["touch", "/over"]).await?;
            assert_eq!(command.await??.into_inner().exit_code, 5);
            node.remove_pod(&pod).await?;
            // It is no part of the container, and so not of the checkpoint.
            let (pod, _, id) = restore(node, &config, &main).await?;
            let id = id?;
            let commands = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '";
            let commands = node.output(&id, &["sh", "-c", commands]).await?;
            ensure!(!commands.contains("/began"), "{commands}");
            std::fs::remove_file(ARCHIVE)?;
            node.remove_pod(&pod).await
        },
    )
}
