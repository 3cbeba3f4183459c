//! A pod directory with a monitor, and containers of busybox in it, run by the real runc.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pinpod_command::Command;
use pinpod_model::{ContainerId, Signal};
use pinpod_monitor_api::{
    Client, CreateContainer, ExecStream, ExecSync, Exit, Phase, spawn_monitor,
};
use pinpod_oci_runtime::{CreateArgs, ExecArgs, Runtime};
use serde_json::json;
use tempfile::TempDir;

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A pod directory, its monitor, and the containers made in it; all gone when dropped.
pub(crate) struct Pod {
    pub(crate) dir: TempDir,
    pub(crate) client: Client,
    pub(crate) runtime: Runtime,
    rootfs: PathBuf,
    serial: AtomicU32,
}

/// How to make a container.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) tty: bool,
    pub(crate) memory: Option<i64>,
}

/// The monitor of this build, or the one to measure.
pub(crate) fn binary() -> PathBuf {
    let other = std::env::var_os("PINMON_BINARY");
    other.map_or_else(
        || env!("CARGO_BIN_EXE_pinpod-monitor").into(),
        PathBuf::from,
    )
}

impl Pod {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("pinmon").tempdir().unwrap();
        spawn_monitor(&binary(), dir.path(), None).await.unwrap();
        Self::of(dir).await
    }

    pub(crate) async fn of(dir: TempDir) -> Self {
        let client = Client::connect(&dir.path().join("monitor.sock"))
            .await
            .unwrap();
        let mut runtime = Runtime::new("oci", runtime_path(), dir.path().join("oci"));
        runtime.deadline = LONG;
        let rootfs = dir.path().join("rootfs");
        make_rootfs(&rootfs).await;
        Self {
            dir,
            client,
            runtime,
            rootfs,
            serial: AtomicU32::new(0),
        }
    }

    pub(crate) fn bundle(&self, id: &ContainerId) -> PathBuf {
        self.dir.path().join(id.short())
    }

    pub(crate) fn log(&self, id: &ContainerId) -> PathBuf {
        self.bundle(id).join("log")
    }

    /// The request that makes a container which runs a shell script.
    pub(crate) fn request(&self, script: &str, options: &Options) -> CreateContainer {
        let id = ContainerId::generate().unwrap();
        let bundle = self.bundle(&id);
        fs::create_dir(&bundle).unwrap();
        let spec = self.spec(&id, script, options);
        fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        let console_socket = options.tty.then(|| bundle.join("c.sock"));
        let (pid_file, runtime_log) = (bundle.join("pid"), bundle.join("runtime.log"));
        let argv = self.runtime.create_argv(&CreateArgs {
            id: &id,
            bundle: &bundle,
            pid_file: &pid_file,
            log: &runtime_log,
            console_socket: console_socket.as_deref(),
            no_pivot: false,
        });
        CreateContainer {
            argv,
            pid_file,
            runtime_log,
            console_socket,
            stdin: options.stdin,
            stdin_once: options.stdin_once,
            log_path: Some(self.log(&id)),
            exit_file: bundle.join("exit.json"),
            oom: Some(pinpod_monitor_api::OomFile {
                path: format!("/sys/fs/cgroup/memory/pinmon-{id}/memory.oom_control").into(),
                key: "oom_kill".into(),
            }),
            timeout_ms: 30_000,
            bundle,
            id,
        }
    }

    fn spec(&self, id: &ContainerId, script: &str, options: &Options) -> serde_json::Value {
        let memory = options
            .memory
            .map_or(json!({}), |limit| json!({ "limit": limit }));
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": options.tty,
                "user": { "uid": 0, "gid": 0 },
                "args": ["/bin/sh", "-c", script],
                "env": ["PATH=/bin"],
                "cwd": "/",
            },
            "root": { "path": self.rootfs, "readonly": true },
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                  "options": ["nosuid", "mode=755"] },
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                  "options": ["newinstance", "ptmxmode=0666", "mode=0620"] },
            ],
            "linux": {
                "cgroupsPath": format!("/pinmon-{id}"),
                "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" },
                               { "type": "uts" }],
                "resources": { "memory": memory },
            },
        })
    }

    /// Makes and starts a container.
    pub(crate) async fn run(&self, script: &str, options: &Options) -> ContainerId {
        let id = self.create(script, options).await;
        self.runtime.start(&id).await.unwrap();
        id
    }

    pub(crate) async fn create(&self, script: &str, options: &Options) -> ContainerId {
        let request = self.request(script, options);
        let id = request.id.clone();
        let (pid, start_time) = self.client.create_container(request).await.unwrap();
        assert!(pid > 1 && start_time > 0);
        id
    }

    /// Paths and the command line for an exec.
    fn exec(&self, id: &ContainerId, script: &str, tty: bool) -> Exec {
        let n = self.serial.fetch_add(1, Ordering::Relaxed);
        let base = self.bundle(id).join(format!("exec{n}"));
        let with = |end: &str| base.with_extension(end);
        let process = json!({
            "terminal": tty, "user": { "uid": 0, "gid": 0 }, "cwd": "/", "env": ["PATH=/bin"],
            "args": ["/bin/sh", "-c", script],
        });
        fs::write(with("json"), process.to_string()).unwrap();
        let console = tty.then(|| with("sock"));
        let argv = self.runtime.exec_argv(&ExecArgs {
            id,
            process: &with("json"),
            pid_file: &with("pid"),
            log: &with("log"),
            console_socket: console.as_deref(),
            detach: true,
        });
        Exec {
            argv,
            pid_file: with("pid"),
            log: with("log"),
            scratch: vec![with("json")],
            console,
        }
    }

    pub(crate) fn exec_sync(
        &self,
        id: &ContainerId,
        script: &str,
        timeout: Option<u64>,
    ) -> ExecSync {
        let exec = self.exec(id, script, false);
        ExecSync {
            container_id: id.clone(),
            argv: exec.argv,
            pid_file: exec.pid_file,
            runtime_log: exec.log,
            scratch: exec.scratch,
            timeout_ms: timeout,
            output_cap: 16 << 20,
        }
    }

    pub(crate) fn exec_stream(&self, id: &ContainerId, script: &str, tty: bool) -> ExecStream {
        let exec = self.exec(id, script, tty);
        ExecStream {
            container_id: id.clone(),
            argv: exec.argv,
            pid_file: exec.pid_file,
            runtime_log: exec.log,
            scratch: exec.scratch,
            console_socket: exec.console,
            stdin: true,
            start_timeout_ms: 30_000,
        }
    }

    /// Waits for the exit of a container as a subscriber is told of it.
    pub(crate) async fn exit_of(&self, id: &ContainerId) -> Exit {
        let wait = async {
            let mut subscription = self.client.subscribe().await.unwrap();
            if let Some((_, exit)) = subscription.exits.iter().find(|(it, _)| it == id) {
                return *exit;
            }
            loop {
                let event = subscription.events.next().await.unwrap().unwrap();
                let pinpod_monitor_api::Event::Exited { id: it, exit } = event;
                if it == *id {
                    return exit;
                }
            }
        };
        tokio::time::timeout(LONG, wait)
            .await
            .expect("the container does not exit")
    }

    /// The log's entries without their times.
    pub(crate) fn entries(&self, id: &ContainerId) -> Vec<String> {
        entries(&self.log(id))
    }

    pub(crate) async fn kill(&self, id: &ContainerId) {
        self.runtime.kill(id, Signal::KILL, false).await.unwrap();
    }

    pub(crate) fn monitor_pid(&self) -> i32 {
        self.client.hello().pid
    }
}

struct Exec {
    argv: Vec<OsString>,
    pid_file: PathBuf,
    log: PathBuf,
    scratch: Vec<PathBuf>,
    console: Option<PathBuf>,
}

pub(crate) fn entries(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .map(|line| line.get(31..).unwrap_or(line).to_owned())
        .collect()
}

/// Waits for something that has no event to wait for.
pub(crate) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Runs also when an assertion failed, so nothing here may panic or wait for the monitor.
        let client = self.client.clone();
        let (runtime, pid) = (self.runtime.clone(), self.monitor_pid());
        let cleaning = std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            tokio.unwrap().block_on(async move {
                let state = fs::read_dir(&runtime.root).into_iter().flatten().flatten();
                for id in state.filter_map(|it| it.file_name().into_string().ok()?.parse().ok()) {
                    runtime.delete(&id, true).await.ok();
                }
                let alive = client.list().await.unwrap_or_default();
                if alive
                    .iter()
                    .any(|it| matches!(it.phase, Phase::Alive { .. }))
                {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                client.shutdown().await.ok();
            });
        });
        cleaning.join().ok();
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    }
}

/// The OCI runtime: runc, or what `PINMON_RUNTIME` names.
fn runtime_path() -> PathBuf {
    std::env::var_os("PINMON_RUNTIME").map_or_else(|| "/usr/sbin/runc".into(), PathBuf::from)
}

/// The node's busybox with the libraries that it needs.
async fn make_rootfs(rootfs: &Path) {
    for dir in ["bin", "proc", "dev", "lib64"] {
        fs::create_dir_all(rootfs.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for applet in [
        "sh", "echo", "cat", "sleep", "true", "head", "tr", "stty", "dd", "tail", "yes",
    ] {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
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
