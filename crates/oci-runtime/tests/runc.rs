//! Drives the real runc (and crun as far as this node lets it). Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at its first surprise, in its helper functions too"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pinpod_command::Command;
use pinpod_model::{ContainerId, Signal};
use pinpod_oci_runtime::{
    CreateArgs, FeaturesError, Operation, Runtime, RuntimeError, Status, log_error,
};
use serde_json::json;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);

struct Container {
    dir: TempDir,
    id: ContainerId,
    runtime: Runtime,
}

impl Container {
    /// A created container that sleeps.
    async fn create() -> Self {
        let dir = tempfile::Builder::new().prefix("pinoci").tempdir().unwrap();
        let runtime = Runtime::new("runc", "/usr/sbin/runc", dir.path().join("state"));
        let this = Self {
            id: ContainerId::generate().unwrap(),
            runtime,
            dir,
        };
        make_rootfs(&this.dir.path().join("rootfs")).await;
        this.write_config(&["/bin/busybox", "sleep", "600"]);
        let output = this.run_create().await;
        assert!(output.status.success(), "{:?}", log_error(&this.log()));
        this
    }

    fn write_config(&self, args: &[&str]) {
        let spec = json!({
            "ociVersion": "1.0.2",
            "process": { "user": { "uid": 0, "gid": 0 }, "args": args, "cwd": "/" },
            "root": { "path": "rootfs", "readonly": true },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": {
                "cgroupsPath": self.cgroup(),
                "namespaces": [{ "type": "pid" }, { "type": "mount" }],
                "resources": { "memory": { "limit": 64 << 20 } },
            },
        });
        fs::write(self.dir.path().join("config.json"), spec.to_string()).unwrap();
    }

    fn cgroup(&self) -> String {
        format!("/pinoci-{}", self.id)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// As the monitor would; the container's stdio must not be the test's pipes.
    async fn run_create(&self) -> pinpod_command::Output {
        let argv = self.runtime.create_argv(&CreateArgs {
            id: &self.id,
            bundle: self.dir.path(),
            pid_file: &self.dir.path().join("pid"),
            log: &self.log(),
            console_socket: None,
            no_pivot: false,
        });
        let shell = Command::new("/bin/sh").args(["-c", r#"exec "$@" >/dev/null 2>&1"#, "sh"]);
        shell.args(argv).run(LONG).await.unwrap()
    }

    fn file(&self, controller: &str, name: &str) -> PathBuf {
        format!("/sys/fs/cgroup/{controller}{}/{name}", self.cgroup()).into()
    }

    async fn stopped(&self) {
        let until = Instant::now() + LONG;
        while self.runtime.state(&self.id).await.unwrap().status != Status::Stopped {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let (runtime, id) = (self.runtime.clone(), self.id.clone());
        let cleaning = std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            tokio.block_on(runtime.delete(&id, true)).ok();
        });
        cleaning.join().ok();
    }
}

/// The node's busybox with the libraries that it needs.
async fn make_rootfs(rootfs: &Path) {
    for dir in ["bin", "proc"] {
        fs::create_dir_all(rootfs.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    let output = Command::new("ldd")
        .arg("/bin/busybox")
        .run(LONG)
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let target = rootfs.join(library.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(library, target).unwrap();
    }
}

#[tokio::test]
async fn the_life_of_a_container() {
    let it = Container::create().await;
    let (runtime, id) = (&it.runtime, &it.id);
    assert_eq!(runtime.state(id).await.unwrap().status, Status::Created);
    runtime.start(id).await.unwrap();
    let state = runtime.state(id).await.unwrap();
    assert_eq!(state.status, Status::Running);
    let pid = fs::read_to_string(it.dir.path().join("pid")).unwrap();
    assert_eq!(pid.trim(), state.pid.to_string());

    let again = runtime.start(id).await.unwrap_err();
    assert!(
        matches!(
            again,
            RuntimeError::Failed {
                operation: Operation::Start,
                ..
            }
        ),
        "{again:?}"
    );
    runtime
        .update(id, br#"{"memory":{"limit":33554432}}"#)
        .await
        .unwrap();
    let limit = fs::read_to_string(it.file("memory", "memory.limit_in_bytes")).unwrap();
    assert_eq!(limit.trim(), "33554432");
    runtime.pause(id).await.unwrap();
    assert_eq!(runtime.state(id).await.unwrap().status, Status::Paused);
    runtime.resume(id).await.unwrap();

    runtime.kill(id, Signal::KILL, false).await.unwrap();
    it.stopped().await;
    let late = runtime.kill(id, Signal::TERM, false).await.unwrap_err();
    assert!(matches!(late, RuntimeError::NotRunning { .. }), "{late:?}");
    runtime.delete(id, false).await.unwrap();
    assert!(!fs::exists(it.file("memory", "")).unwrap());
}

#[tokio::test]
async fn what_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let id = ContainerId::generate().unwrap();
    for path in ["/usr/sbin/runc", "/usr/bin/crun"] {
        let runtime = Runtime::new("h", path, dir.path().join("state"));
        let errors = [
            runtime.start(&id).await.unwrap_err(),
            runtime.kill(&id, Signal::TERM, false).await.unwrap_err(),
            runtime.delete(&id, false).await.unwrap_err(),
            runtime.state(&id).await.unwrap_err(),
        ];
        for error in errors {
            assert!(
                matches!(error, RuntimeError::NotFound { .. }),
                "{path}: {error:?}"
            );
        }
        runtime.delete(&id, true).await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_create_is_in_the_log() {
    let it = Container::create().await;
    it.runtime.delete(&it.id, true).await.unwrap();
    it.write_config(&["/no/such"]);
    let output = it.run_create().await;
    assert!(!output.status.success());
    let message = log_error(&it.log()).unwrap();
    assert!(message.contains("/no/such"), "{message}");
}

#[tokio::test]
async fn features_of_runc_and_none_of_an_old_crun() {
    let runc = Runtime::new("runc", "/usr/sbin/runc", "/run/none");
    let features = runc.features().await.unwrap();
    assert_eq!(features.linux.cgroup.v1, Some(true));
    assert!(features.linux.namespaces.contains(&"network".to_owned()));
    let crun = Runtime::new("crun", "/usr/bin/crun", "/run/none");
    match crun.features().await {
        Err(FeaturesError::Unsupported { message, .. }) => {
            assert!(message.contains("features"), "{message}");
        }
        // A newer crun knows it.
        other => assert!(!other.unwrap().oci_version_max.is_empty()),
    }
}

#[tokio::test]
async fn a_runtime_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slow");
    fs::write(&path, "#!/bin/sh\nsleep 60\n").unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut runtime = Runtime::new("slow", path, dir.path());
    runtime.deadline = Duration::from_millis(200);
    let id = ContainerId::generate().unwrap();
    let error = runtime.start(&id).await.unwrap_err();
    assert!(
        matches!(
            error,
            RuntimeError::TimedOut {
                operation: Operation::Start,
                ..
            }
        ),
        "{error:?}"
    );
}
