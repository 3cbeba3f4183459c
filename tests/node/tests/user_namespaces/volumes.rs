//! Volumes: whose files they hold.

use anyhow::ensure;
use pinpod_cri_api::runtime::v1::IdMapping;
use pinpod_testkit::{Options, Result, busybox, on_node};
use std::os::unix::fs::{PermissionsExt, chown};

use crate::{mapping, owner, pod, security, sh, sleeper, volume};

#[test]
fn volumes_keep_their_owners() -> Result {
    on_node(
        "volumes::volumes_keep_their_owners",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            for name in ["mapped", "plain", "other"] {
                let path = format!("/tmp/{name}");
                std::fs::create_dir(&path)?;
                std::fs::write(format!("{path}/old"), "old")?;
                chown(format!("{path}/old"), Some(1000), Some(1000))?;
            }
            std::fs::set_permissions("/tmp/plain", PermissionsExt::from_mode(0o777))?;
            // Only root of the node comes here.
            std::fs::create_dir_all("/tmp/closed/volume")?;
            std::fs::set_permissions("/tmp/closed", PermissionsExt::from_mode(0o700))?;
            std::fs::write("/tmp/secret", "text")?;
            std::fs::set_permissions("/tmp/secret", PermissionsExt::from_mode(0o600))?;

            let config = pod(node, "volumes", 300_000);
            let pod = node.run_pod(&config).await?;
            let mut main = sleeper(&config, "main", &image);
            let mut readonly = volume("/tmp/mapped", "/readonly", mapping(300_000));
            readonly.readonly = true;
            // Root of the pod is user 1000 of this volume.
            let other = vec![IdMapping {
                host_id: 300_000,
                container_id: 1000,
                length: 1,
            }];
            main.mounts = vec![
                volume("/tmp/mapped", "/mapped", mapping(300_000)),
                readonly,
                volume("/tmp/plain", "/plain", Vec::new()),
                volume("/tmp/other", "/other", other),
                volume("/tmp/closed/volume", "/closed", Vec::new()),
                volume("/tmp/secret", "/etc/secret", mapping(300_000)),
                volume("/tmp/made", "/made", mapping(300_000)),
            ];
            let asked = main.mounts.clone();
            let id = node.launch(&pod, &config, main).await?;
            let status = node.container_status(&id).await?;
            assert_eq!(status.mounts, asked, "status shows what was asked for");

            let who =
                "stat -c %u:%g /mapped /mapped/old /plain /plain/old /other/old /closed /made";
            let who = sh(node, &id, who).await?;
            let who: Vec<&str> = who.lines().collect();
            let nobody = "65534:65534";
            assert_eq!(
                who,
                ["0:0", "1000:1000", nobody, nobody, "0:0", nobody, "0:0"]
            );
            for (path, outside) in [("mapped", 0), ("made", 0), ("plain", 300_000)] {
                sh(node, &id, &format!("touch /{path}/new")).await?;
                assert_eq!(
                    owner(format!("/tmp/{path}/new"))?,
                    (outside, outside),
                    "{path}"
                );
            }
            sh(node, &id, "chown 7:8 /mapped/new").await?;
            assert_eq!(owner("/tmp/mapped/new")?, (7, 8));
            assert_eq!(sh(node, &id, "cat /etc/secret").await?, "text");
            let write = node.exec(&id, &["touch", "/readonly/x"]).await?;
            ensure!(write.exit_code != 0, "{write:?}");

            // The node can let go of a volume while its container runs: nothing else holds it.
            let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
            ensure!(!mounts.contains(&format!("{id}/mounts")), "{mounts}");
            node.remove_pod(&pod).await?;
            node.assert_clean().await
        },
    )
}

#[test]
fn mounts_below_a_mapped_volume_come_along() -> Result {
    on_node(
        "volumes::mounts_below_a_mapped_volume_come_along",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            std::fs::create_dir_all("/tmp/volume/below")?;
            std::fs::create_dir_all("/tmp/volume/later")?;
            let mount = ["-t", "tmpfs", "-o", "nosuid,nodev", "tmpfs"];
            pinpod_testkit::run("mount", &[&mount[..], &["/tmp/volume/below"]].concat()).await?;
            node.settle().await?;
            std::fs::write("/tmp/volume/below/file", "below")?;
            let config = pod(node, "below", 300_000);
            let pod = node.run_pod(&config).await?;
            let mut main = sleeper(&config, "main", &image);
            let mut whole = volume("/tmp/volume", "/volume", mapping(300_000));
            whole.propagation = 1;
            let mut readonly = volume("/tmp/volume/below", "/readonly", mapping(300_000));
            readonly.readonly = true;
            // Unmapped and with options that the container cannot take away.
            let mut plain = volume("/tmp/volume/below", "/plain", Vec::new());
            plain.readonly = true;
            main.mounts = vec![whole, readonly, plain];
            security(&mut main).readonly_rootfs = true;
            let id = node.launch(&pod, &config, main).await?;
            if pinpod_testkit::runtime() == "crun" {
                // As docs/user-namespaces.md says, version 1.8.1 binds only the topmost mount.
                let below = node.exec(&id, &["cat", "/volume/below/file"]).await?;
                ensure!(below.exit_code != 0, "crun binds what is below: {below:?}");
                node.remove_pod(&pod).await?;
                return node.assert_clean().await;
            }
            assert_eq!(
                sh(node, &id, "cat /volume/below/file /readonly/file").await?,
                "belowbelow"
            );
            let owners = sh(node, &id, "stat -c %u /volume /volume/below /readonly").await?;
            assert_eq!(owners, "0\n65534\n0\n");
            // HostToContainer: what the node mounts later shows.
            pinpod_testkit::run("mount", &[&mount[..], &["/tmp/volume/later"]].concat()).await?;
            std::fs::write("/tmp/volume/later/file", "later")?;
            assert_eq!(sh(node, &id, "cat /volume/later/file").await?, "later");
            pinpod_testkit::run("umount", &["/tmp/volume/later"]).await?;
            for path in ["/plain/x", "/readonly/x", "/etc/hosts", "/x"] {
                let write = node
                    .exec(&id, &["sh", "-c", &format!("echo >> {path}")])
                    .await?;
                ensure!(write.exit_code != 0, "{path}: {write:?}");
            }
            node.remove_pod(&pod).await?;
            let below = std::fs::read_to_string("/tmp/volume/below/file")?;
            assert_eq!(below, "below", "what the node had mounted stays");
            node.assert_clean().await
        },
    )
}
