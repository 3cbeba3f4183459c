//! The other namespaces: owned by the user namespace, or the node's.

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{
    NamespaceMode, NamespaceOption, PodSandboxState, StatusRequest, UserNamespace,
};
use pinpod_testkit::{Options, Result, busybox, container, nginx, on_node, until};
use std::path::Path;
use std::time::Duration;

use crate::{member, options, owner, pod, runs_as, security, sh, sleeper};

#[test]
fn a_shared_pid_namespace_in_it() -> Result {
    on_node(
        "namespaces::a_shared_pid_namespace_in_it",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let mut config = pod(node, "shared", 500_000);
            options(&mut config).set_pid(NamespaceMode::Pod);
            let pod = node.run_pod(&config).await?;
            let one = node
                .launch(&pod, &config, sleeper(&config, "one", &image))
                .await?;
            let two = node
                .launch(&pod, &config, sleeper(&config, "two", &image))
                .await?;
            assert_eq!(sh(node, &one, "cat /proc/1/comm").await?, "pinpod-init\n");
            assert_eq!(
                sh(node, &two, "grep -lx sleep /proc/[0-9]*/comm | wc -l")
                    .await?
                    .trim(),
                "2"
            );
            // Root of the pod may signal the pod's processes, those of other containers included.
            sh(
                node,
                &one,
                "[ $(readlink /proc/self/ns/pid) = $(readlink /proc/1/ns/pid) ] || true",
            )
            .await?;

            node.kill9().await?;
            node.restart().await?;
            assert_eq!(
                node.pod_status(&pod).await?.state(),
                PodSandboxState::SandboxReady
            );
            assert_eq!(sh(node, &one, "id -u").await?, "0\n");
            // A container of an ended one's namespace, and one of its own.
            let mut target = sleeper(&config, "target", &image);
            let namespaces = security(&mut target)
                .namespace_options
                .get_or_insert_default();
            namespaces.set_pid(NamespaceMode::Target);
            namespaces.target_id.clone_from(&two);
            let target = node.launch(&pod, &config, target).await?;
            assert_eq!(
                sh(node, &target, "cat /proc/1/comm").await?,
                "pinpod-init\n"
            );
            let mut own = sleeper(&config, "own", &image);
            let namespaces = security(&mut own).namespace_options.get_or_insert_default();
            namespaces.set_pid(NamespaceMode::Container);
            let own = node.launch(&pod, &config, own).await?;
            assert_eq!(sh(node, &own, "cat /proc/1/comm").await?, "sleep\n");
            node.stop_container(&one, 0).await?;
            assert_eq!(node.exited(&one).await?.exit_code, 137);
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}

#[test]
fn the_nodes_namespaces_beside_it() -> Result {
    on_node(
        "namespaces::the_nodes_namespaces_beside_it",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            if !Path::new("/dev/mqueue").exists() {
                std::fs::create_dir("/dev/mqueue")?;
            }
            let asked = node
                .runtime()
                .status(StatusRequest::default())
                .await?
                .into_inner();
            let features = asked.features.context("no features")?;
            ensure!(features.user_namespaces_host_network, "{features:?}");
            let handlers = asked.runtime_handlers;
            let all = handlers
                .iter()
                .all(|it| it.features.is_some_and(|it| it.user_namespaces));
            ensure!(all, "{handlers:?}");
            let cases: [fn(&mut NamespaceOption); 3] = [
                |it| it.set_network(NamespaceMode::Node),
                |it| it.set_pid(NamespaceMode::Node),
                |it| it.set_ipc(NamespaceMode::Node),
            ];
            for (number, change) in cases.into_iter().enumerate() {
                let mut config = pod(node, &format!("node-{number}"), 500_000);
                change(options(&mut config));
                let pod = node
                    .run_pod(&config)
                    .await
                    .with_context(|| number.to_string())?;
                let main = member(&config, "main", &image, &["sleep", &format!("77{number}")]);
                let id = node
                    .launch(&pod, &config, main)
                    .await
                    .with_context(|| number.to_string())?;
                runs_as(&format!("sleep 77{number}"), 500_000).await?;
                let map = sh(node, &id, "cat /proc/self/uid_map").await?;
                ensure!(map.contains("500000"), "{map}");
                sh(node, &id, "ls /sys/class/net /proc/self /dev/mqueue").await?;
                node.remove_pod(&pod).await?;
            }
            // Mode NODE is no user namespace at all.
            let mut config = node.pod("none");
            options(&mut config).userns_options = Some(UserNamespace {
                mode: NamespaceMode::Node.into(),
                ..Default::default()
            });
            let pod = node.run_pod(&config).await?;
            let main = member(&config, "main", &image, &["sleep", "775"]);
            node.launch(&pod, &config, main).await?;
            runs_as("sleep 775", 0).await?;
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}

#[test]
fn its_network_and_sysctls() -> Result {
    on_node(
        "namespaces::its_network_and_sysctls",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let web = node.import(nginx().await?).await?;
            let mut config = pod(node, "web", 600_000);
            let linux = config.linux.get_or_insert_default();
            linux.sysctls = [
                ("net.ipv4.ping_group_range", "0 2147483647"),
                ("net.ipv4.ip_unprivileged_port_start", "0"),
                ("net.core.somaxconn", "99"),
                ("kernel.shm_rmid_forced", "1"),
                ("kernel.msgmax", "4096"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
            let server = node.run_pod(&config).await?;
            let address = node
                .pod_status(&server)
                .await?
                .network
                .context("no network")?
                .ip;
            let mut main = container("web", &web, &[]);
            security(&mut main).namespace_options = Some(options(&mut config).clone());
            let id = node.launch(&server, &config, main).await?;
            let read = "cd /proc/sys; cat net/ipv4/ping_group_range net/core/somaxconn \
                    kernel/shm_rmid_forced kernel/msgmax";
            assert_eq!(sh(node, &id, read).await?, "0\t65535\n99\n1\n4096\n");

            // From a pod with other ids, from one with the node's, and from the node.
            let client = pod(node, "client", 700_000);
            let client_pod = node.run_pod(&client).await?;
            let other = node
                .launch(&client_pod, &client, sleeper(&client, "main", &image))
                .await?;
            let plain = node.pod("plain");
            let plain_pod = node.run_pod(&plain).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let nodes = node.launch(&plain_pod, &plain, sleep).await?;
            let get = format!("wget -q -O - http://{address}/");
            until("the web server", Duration::from_secs(10), async || {
                Ok(sh(node, &other, &get)
                    .await
                    .ok()
                    .filter(|text| text == "pinpod\n"))
            })
            .await?;
            assert_eq!(sh(node, &nodes, &get).await?, "pinpod\n");
            // The node counts the groups of the pod by its own numbers.
            let network = format!("--net=/run/netns/pinpod-{server}");
            let file = "/proc/sys/net/ipv4/ping_group_range";
            let range = pinpod_testkit::run("nsenter", &[&network, "cat", file]).await?;
            assert_eq!(range, "600000\t665535\n");
            // nginx writes to /dev/stdout by its name.
            let log = std::fs::read_to_string(node.log_path(&config, "web"))?;
            ensure!(log.contains("GET / HTTP/1.1"), "{log}");

            // Two pods with different ids share the layers of one image.
            for (container, host_id) in [(&other, 700_000), (&nodes, 0)] {
                sh(node, container, "touch /bin/new && [ -x /bin/busybox ]").await?;
                let upper = format!("/var/lib/pinpod/containers/{container}/upper");
                assert_eq!(owner(format!("{upper}/bin/new"))?, (host_id, host_id));
                assert_eq!(sh(node, container, "stat -c %u /bin/busybox").await?, "0\n");
            }
            for pod in [server, client_pod, plain_pod] {
                node.remove_pod(&pod).await?;
            }
            node.assert_clean().await
        },
    )
}
