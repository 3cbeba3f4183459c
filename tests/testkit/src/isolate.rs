//! A test in namespaces of its own.
//!
//! The test binary runs itself again for the one test below `unshare`, in new mount, network, IPC,
//! UTS and PID namespaces. All processes of the test end with it, since its PID namespace does; its
//! mounts and interfaces go the same way. Cgroups are outside of any namespace here: they live below
//! one directory for each test, which is removed afterwards.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::{Result, binaries, program, tree};

/// Set in the namespaces; its value names the test's cgroups.
const MARK: &str = "PINPOD_TESTKIT_ID";

/// The OCI runtime that nodes use, `runc` unless this says otherwise.
const RUNTIME: &str = "PINPOD_TEST_RUNTIME";

/// When set, what a test printed is shown though it succeeded.
const SHOW: &str = "PINPOD_TEST_SHOW";

/// How long a test may take.
const DEADLINE: Duration = Duration::from_secs(240);

/// Process 1 of the namespace: adopts and reaps what the daemon leaves, as the node's init does.
const INIT: &str = r#""$@"; exit "$?""#;

/// The directory of this test's cgroups in every hierarchy, as the kubelet would write it.
pub(crate) fn cgroup_parent() -> Result<String> {
    let id = std::env::var(MARK).context("not within isolated()")?;
    Ok(format!("/pinpod-test-{id}"))
}

/// The OCI runtime that nodes use: `runc` or `crun`.
#[must_use]
pub fn runtime() -> String {
    std::env::var(RUNTIME).unwrap_or_else(|_| "runc".to_owned())
}

/// Runs a test's body in namespaces of its own. `name` is the full name of the test function that
/// calls this, and the call is all that the function does.
///
/// # Errors
/// The body's error with all that it printed, or why the namespaces could not be made.
pub fn isolated<F>(name: &str, body: F) -> Result
where
    F: AsyncFnOnce() -> Result,
{
    if std::env::var_os(MARK).is_none() {
        return run_again(name);
    }
    tree::enter(&binaries::directory()?, runtime() == "crun").context("making the test's tree")?;
    rustix::system::sethostname(b"pinpod-test").context("naming the test's node")?;
    let executor = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    executor.block_on(async {
        program::run("ip", &["link", "set", "lo", "up"]).await?;
        body().await
    })
}

fn run_again(name: &str) -> Result {
    if !rustix::process::geteuid().is_root() {
        bail!("{name} makes namespaces and mounts: run it as root");
    }
    let id = random_id()?;
    let mut output = tempfile::tempfile().context("a file for the test's output")?;
    let status = spawn(name, &id, &output);
    let cgroups = remove_cgroups(&format!("pinpod-test-{id}"));
    let status = status?;
    if status.is_some_and(|status| status.success()) {
        if std::env::var_os(SHOW).is_some() {
            output.rewind()?;
            std::io::copy(&mut output, &mut std::io::stdout())?;
        }
        return cgroups;
    }
    let end = match status {
        Some(status) => status.to_string(),
        None => format!("killed after {DEADLINE:?}"),
    };
    let mut text = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut text)?;
    // Behind a bar, so that nobody counts the inner run's result as another test's.
    let text = String::from_utf8_lossy(&text);
    let text: String = text.lines().map(|line| format!("| {line}\n")).collect();
    Err(anyhow!("{name} failed in its namespaces ({end}):\n{text}"))
}

/// Runs the test in its namespaces; `None` when it took too long.
#[allow(
    clippy::disallowed_methods,
    reason = "the test's own process must be outside of any async runtime, and keep its environment"
)]
fn spawn(name: &str, id: &str, output: &File) -> Result<Option<ExitStatus>> {
    let mut child = Command::new("unshare")
        .args(["--mount", "--net", "--ipc", "--uts", "--pid", "--fork"])
        .args(["--kill-child", "--propagation", "private", "--"])
        .args(["setsid", "/bin/sh", "-c", INIT, "init"])
        .arg(std::env::current_exe()?)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(MARK, id)
        .env("RUST_LIB_BACKTRACE", "0")
        .env(binaries::DIRECTORY, binaries::directory()?)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()
        .context("root tests need the program unshare (util-linux)")?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pidfd_open(pid.context("a process without an id")?, PidfdFlags::empty())?;
    let mut ended = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    let timeout = Timespec::try_from(DEADLINE)?;
    if poll(&mut ended, Some(&timeout))? == 0 {
        child.kill()?;
        child.wait()?;
        return Ok(None);
    }
    Ok(Some(child.wait()?))
}

fn random_id() -> Result<String> {
    let mut bytes = [0_u8; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The hierarchies of cgroups: those of v1, or the one of v2.
pub(crate) fn hierarchies() -> Result<Vec<PathBuf>> {
    let base = Path::new("/sys/fs/cgroup");
    if base.join("cgroup.controllers").exists() {
        return Ok(vec![base.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(base).context("no cgroups are mounted")? {
        let path = entry?.path();
        if path.join("cgroup.procs").exists() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Removes a test's cgroups. Its processes are being killed, so they may be busy for a moment.
fn remove_cgroups(name: &str) -> Result {
    let end = Instant::now() + Duration::from_secs(10);
    for hierarchy in hierarchies()? {
        let top = hierarchy.join(name);
        while let Err(error) = remove_cgroup(&top) {
            if Instant::now() > end {
                return Err(error).with_context(|| format!("cgroup {} stays", top.display()));
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
    Ok(())
}

fn remove_cgroup(path: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    std::fs::remove_dir(path)
}
