//! The kit by itself: isolation, images and the registry, without the daemon.

use pinpod_testkit::{Registry, Result, Snapshot, busybox, isolated, nginx, run, tiny};

#[test]
fn writes_stay_inside() -> Result {
    isolated("writes_stay_inside", async || {
        let before = Snapshot::take("/none").await?;
        assert_eq!(before.beyond(&before), Vec::<String>::new());
        std::fs::write("/etc/pinpod-testkit-probe", "x")?;
        std::fs::write("/run/probe", "x")?;
        run("ip", &["link", "add", "probe0", "type", "bridge"]).await?;
        let after = Snapshot::take("/none").await?;
        assert_eq!(
            after.beyond(&before),
            [
                "file /run/probe",
                "file /run/testkit/written/etc/pinpod-testkit-probe",
                "interface probe0",
            ]
        );
        assert_eq!(std::fs::read_dir("/var/lib/pinpod")?.count(), 0);
        Ok(())
    })?;
    let outside = std::path::Path::new("/etc/pinpod-testkit-probe");
    if std::env::var_os("PINPOD_TESTKIT_ID").is_none() {
        assert!(!outside.exists());
    }
    Ok(())
}

#[test]
fn a_failure_is_told_outside() -> Result {
    let told = isolated("a_failure_is_told_outside", async || {
        anyhow::bail!("the body's own words")
    });
    if std::env::var_os("PINPOD_TESTKIT_ID").is_some() {
        return told;
    }
    let told = format!("{:?}", told.expect_err("it failed"));
    assert!(told.contains("the body's own words"), "{told}");
    Ok(())
}

#[test]
fn images_reach_the_registry() -> Result {
    isolated("images_reach_the_registry", async || {
        let registry = Registry::start().await?;
        for image in [busybox().await?, tiny().await?, nginx().await?] {
            registry.push(&image).await?;
            let source = format!("docker://{}", image.reference);
            let args = ["inspect", "--tls-verify=false", &source];
            let found = run("skopeo", &args).await?;
            assert!(found.contains("sha256:"), "{found}");
        }
        Ok(())
    })
}
