//! Users and groups, and the requests that are refused.

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{
    IdMapping, Int64Value, LinuxContainerSecurityContext, NamespaceMode, UserNamespace,
};
use pinpod_testkit::{Options, Result, busybox, container, on_node, tiny, until};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use tonic::Code;

use crate::{code, mapping, member, options, owner, pod, runs_as, security, sh, sleeper, volume};

#[test]
fn ids_inside_and_outside() -> Result {
    on_node(
        "ids::ids_inside_and_outside",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let null = owner("/dev/null")?;
            let config = pod(node, "user", 200_000);
            let pod = node.run_pod(&config).await?;
            let status = node.pod_status(&pod).await?;
            let linux = status.linux.context("no linux")?;
            let shown = linux.namespaces.and_then(|it| it.options);
            let shown = shown.and_then(|it| it.userns_options).context("no user")?;
            assert_eq!(shown.uids, mapping(200_000));

            let script = "echo out > /dev/stdout; echo err > /dev/stderr; exec sleep 1234";
            let main = member(&config, "main", &image, &["sh", "-c", script]);
            let id = node.launch(&pod, &config, main).await?;
            let map = sh(node, &id, "cat /proc/self/uid_map /proc/self/gid_map").await?;
            let map: Vec<&str> = map.split_whitespace().collect();
            assert_eq!(map, ["0", "200000", "65536", "0", "200000", "65536"]);
            assert_eq!(sh(node, &id, "id -u; id -g").await?, "0\n0\n");
            runs_as("sleep 1234", 200_000).await?;

            // Everything that the pod has is its root's, and what it makes is its own.
            let listed = sh(
                node,
                &id,
                "cd /; stat -c '%u:%g' . bin/sh etc etc/passwd dev dev/shm \
            etc/hosts etc/hostname etc/resolv.conf tmp",
            )
            .await?;
            ensure!(listed.lines().all(|line| line == "0:0"), "{listed}");
            sh(
                node,
                &id,
                "echo '# mine' >> /etc/hosts; echo >> /etc/resolv.conf; hostname",
            )
            .await?;
            sh(
                node,
                &id,
                "touch /file /dev/shm/file; mkdir /opt; chown 1000:1000 /file",
            )
            .await?;
            assert_eq!(sh(node, &id, "stat -c %u:%g /file").await?, "1000:1000\n");
            let upper = format!("/var/lib/pinpod/containers/{id}/upper");
            assert_eq!(owner(format!("{upper}/file"))?, (201_000, 201_000));
            assert_eq!(owner(format!("{upper}/opt"))?, (200_000, 200_000));
            let shm = format!("/run/pinpod/pods/{pod}/shm");
            assert_eq!(owner(&shm)?, (200_000, 200_000));
            assert_eq!(std::fs::metadata(&shm)?.mode() & 0o7777, 0o1777);

            // The standard streams can be opened by their names, of an exec as well.
            assert_eq!(sh(node, &id, "echo x > /dev/stdout").await?, "x\n");
            sh(node, &id, "echo x > /dev/stderr; cat < /dev/stdin").await?;
            let log = std::fs::read_to_string(node.log_path(&config, "main"))?;
            ensure!(
                log.contains("stdout F out") && log.contains("stderr F err"),
                "{log}"
            );
            assert_eq!(owner("/dev/null")?, null, "a device of the node");

            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}

#[test]
fn users_and_groups_in_it() -> Result {
    on_node(
        "ids::users_and_groups_in_it",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let volumes = node.import(tiny().await?).await?;
            let config = pod(node, "groups", 400_000);
            let pod = node.run_pod(&config).await?;
            let mut main = member(&config, "main", &image, &["sleep", "4321"]);
            let context = security(&mut main);
            context.run_as_user = Some(Int64Value { value: 1000 });
            context.run_as_group = Some(Int64Value { value: 3000 });
            context.supplemental_groups = vec![5000, 65_535];
            let id = node.launch(&pod, &config, main.clone()).await?;
            let ids = sh(node, &id, "id -u; id -g; id -G").await?;
            assert_eq!(ids, "1000\n3000\n3000 2000 5000 65535\n");
            runs_as("sleep 4321", 401_000).await?;
            sh(node, &id, "echo x > /dev/stderr").await?;

            // An image with a user and a volume of its own.
            let app = member(&config, "app", &volumes, &[]);
            let app = node.launch(&pod, &config, app).await?;
            assert_eq!(
                sh(node, &app, "id -u; stat -c %u:%g /data").await?,
                "1000\n0:0\n"
            );

            // What is not mapped cannot be had.
            let refused = |name: &str, change: fn(&mut LinuxContainerSecurityContext)| {
                let mut config = main.clone();
                config.metadata.get_or_insert_default().name = name.to_owned();
                change(security(&mut config));
                config
            };
            let cases = [
                (
                    refused("user", |it| {
                        it.run_as_user = Some(Int64Value { value: 65_536 })
                    }),
                    "user 65536",
                ),
                (
                    refused("group", |it| {
                        it.run_as_group = Some(Int64Value { value: 70_000 })
                    }),
                    "group 70000",
                ),
                (
                    refused("more", |it| it.supplemental_groups = vec![1, 65_536]),
                    "supplemental group 65536",
                ),
            ];
            for (config_of, words) in cases {
                let error = node
                    .create_container(&pod, &config, config_of)
                    .await
                    .expect_err(words);
                let text = format!("{error:?}");
                ensure!(
                    text.contains(words) && text.contains("is not mapped"),
                    "{text}"
                );
                assert_eq!(code(&error), Code::InvalidArgument);
            }
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}

#[test]
fn a_terminal_and_privileges_in_it() -> Result {
    on_node(
        "ids::a_terminal_and_privileges_in_it",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let null = owner("/dev/null")?;
            let mut config = pod(node, "terminal", 400_000);
            let linux = config.linux.get_or_insert_default();
            linux.security_context.get_or_insert_default().privileged = true;
            let pod = node.run_pod(&config).await?;
            let script = "[ -t 1 ] && stat -L -c %u /dev/stdout > /dev/stdout; sleep 1000";
            let mut terminal = member(&config, "terminal", &image, &["sh", "-c", script]);
            terminal.tty = true;
            node.launch(&pod, &config, terminal).await?;
            let log = node.log_path(&config, "terminal");
            until(
                "a line of the terminal",
                Duration::from_secs(10),
                async || {
                    let log = std::fs::read_to_string(&log).unwrap_or_default();
                    Ok(log.contains(" 0\r").then_some(()))
                },
            )
            .await?;

            let mut privileged = sleeper(&config, "privileged", &image);
            security(&mut privileged).privileged = true;
            let id = node.launch(&pod, &config, privileged).await?;
            // Privileges end at its namespaces.
            sh(node, &id, "mount -t tmpfs tmpfs /tmp && hostname other").await?;
            let node_wide = node
                .exec(&id, &["sh", "-c", "echo 1 > /proc/sys/vm/drop_caches"])
                .await?;
            ensure!(node_wide.exit_code != 0, "{node_wide:?}");
            assert_eq!(owner("/dev/null")?, null, "a device of the node");
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}

#[test]
fn what_cannot_be_is_refused() -> Result {
    on_node(
        "ids::what_cannot_be_is_refused",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let one = mapping(1000);
            let shifted = vec![IdMapping {
                host_id: 1000,
                container_id: 1,
                length: 1000,
            }];
            let beyond = vec![IdMapping {
                host_id: u32::MAX - 10,
                container_id: 0,
                length: 1000,
            }];
            let none = vec![IdMapping {
                host_id: 1000,
                container_id: 0,
                length: 0,
            }];
            let with =
                |mode: NamespaceMode, uids: &[IdMapping], gids: &[IdMapping]| UserNamespace {
                    mode: mode.into(),
                    uids: uids.to_vec(),
                    gids: gids.to_vec(),
                };
            let two = [mapping(1000), mapping(2000)].concat();
            let pod_mode = NamespaceMode::Pod;
            let cases = [
                (with(pod_mode, &two, &two), "userns_options.uids"),
                (with(pod_mode, &one, &two), "userns_options.gids"),
                (with(pod_mode, &[], &[]), "userns_options.uids"),
                (with(pod_mode, &one, &[]), "userns_options.gids"),
                (with(pod_mode, &shifted, &shifted), "uids[0].container_id"),
                (with(pod_mode, &beyond, &one), "uids[0].length"),
                (with(pod_mode, &none, &one), "uids[0].length"),
                (
                    with(NamespaceMode::Container, &[], &[]),
                    "userns_options.mode",
                ),
                (with(NamespaceMode::Target, &[], &[]), "userns_options.mode"),
                (with(NamespaceMode::Node, &one, &one), "userns_options.uids"),
            ];
            for (asked, words) in cases {
                let mut config = node.pod("refused");
                options(&mut config).userns_options = Some(asked);
                let error = node.run_pod(&config).await.expect_err(words);
                ensure!(format!("{error:?}").contains(words), "{words}: {error:?}");
                assert_eq!(code(&error), Code::InvalidArgument);
                node.assert_clean().await?;
            }

            let config = pod(node, "own", 800_000);
            let own = node.run_pod(&config).await?;
            // File systems whose ids cannot be mapped, and mappings that are none.
            let overlapping = vec![
                IdMapping {
                    host_id: 1000,
                    container_id: 0,
                    length: 10,
                },
                IdMapping {
                    host_id: 1005,
                    container_id: 5,
                    length: 10,
                },
            ];
            for (name, mount, words) in [
                (
                    "fs",
                    volume("/proc/sys", "/x", mapping(800_000)),
                    "the ids of its file system",
                ),
                ("map", volume("/tmp", "/x", overlapping), "uidMappings"),
            ] {
                let mut bad = sleeper(&config, name, &image);
                bad.mounts = vec![mount];
                let error = node
                    .create_container(&own, &config, bad)
                    .await
                    .expect_err(words);
                ensure!(format!("{error:?}").contains(words), "{error:?}");
            }
            node.remove_pod(&own).await?;
            node.assert_clean().await
        },
    )
}

/// A container has the ids of its pod, and says so or nothing.
#[test]
fn a_container_cannot_ask_for_other_ids_than_its_pods() -> Result {
    on_node(
        "ids::a_container_cannot_ask_for_other_ids_than_its_pods",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = pod(node, "own", 800_000);
            let own = node.run_pod(&config).await?;
            let plain = node.pod("plain");
            let plain_pod = node.run_pod(&plain).await?;
            node.settle().await?;
            let asks = |name: &str, asked: UserNamespace| {
                let mut config = container(name, &image, &["sleep", "776"]);
                let security = security(&mut config);
                let namespaces = security.namespace_options.get_or_insert_default();
                namespaces.userns_options = Some(asked);
                config
            };
            let nodes = UserNamespace {
                mode: NamespaceMode::Node.into(),
                ..Default::default()
            };
            let pods = |host_id| UserNamespace {
                mode: NamespaceMode::Pod.into(),
                uids: mapping(host_id),
                gids: mapping(host_id),
            };
            for (id, config, asked) in [
                (&own, &config, nodes.clone()),
                (&own, &config, pods(900_000)),
                (&plain_pod, &plain, pods(800_000)),
            ] {
                let wrong = asks("wrong", asked.clone());
                let error = node.create_container(id, config, wrong).await;
                let error = error.expect_err("not the pod's ids");
                let words = "namespace_options.userns_options";
                ensure!(format!("{error:?}").contains(words), "{error:?}");
                assert_eq!(code(&error), Code::InvalidArgument, "{asked:?}");
                node.assert_clean().await?;
            }
            let silent = container("silent", &image, &["sleep", "775"]);
            node.launch(&own, &config, silent).await?;
            runs_as("sleep 775", 800_000).await?;
            let same = asks("same", pods(800_000));
            node.launch(&own, &config, same).await?;
            runs_as("sleep 776", 800_000).await?;
            let same = asks("same", nodes);
            node.launch(&plain_pod, &plain, same).await?;
            node.remove_pod(&own).await?;
            node.remove_pod(&plain_pod).await
        },
    )
}
