//! ExecSync and ReopenContainerLog: the monitor does them, beside the pod's driver.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use oci_spec::runtime::{Process, Spec};
use pinpod_model::ContainerId;
use pinpod_monitor_api::{ClientError, ExecSync};
use pinpod_oci_runtime::ExecArgs;

use crate::driver::PodHandle;
use crate::error::{ContainerError, FileError, MonitorError};
use crate::policy::Stage;
use crate::settings::{Handler, Parts};
use crate::snapshot::{ContainerPhase, ContainerSnapshot, ExecOutput};

/// Most bytes of stdout and of stderr that ExecSync gives back, as CRI allows.
const OUTPUT_CAP: u64 = 16 << 20;

/// Makes the names of an exec's files differ from those of others in the same container.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// Runs a command in a running container and collects its output.
pub(crate) async fn exec_sync(
    parts: &Parts,
    pod: &PodHandle,
    container: &ContainerSnapshot,
    command: Vec<String>,
    limit: Option<Duration>,
) -> Result<ExecOutput, ContainerError> {
    let id = &container.id;
    must_run(container, "executed in")?;
    let handler = handler(parts, pod)?;
    let process = exec_process(&container.bundle, command, false)?;
    let files = exec_files(&container.bundle, &process)?;
    let argv = handler.runtime.exec_argv(&ExecArgs {
        id,
        process: &files.process,
        pid_file: &files.pid_file,
        log: &files.log,
        console_socket: None,
        detach: true,
    });
    let request = ExecSync {
        container_id: id.clone(),
        argv,
        pid_file: files.pid_file,
        runtime_log: files.log,
        scratch: vec![files.process],
        timeout_ms: limit.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
        output_cap: OUTPUT_CAP,
    };
    let client = pod
        .monitor()
        .connect()
        .await
        .map_err(|source| monitor_error(id, source))?;
    match client.exec_sync(request).await {
        Ok(output) if output.timed_out => {
            let seconds = limit.unwrap_or_default().as_secs();
            Err(ContainerError::ExecTimeout {
                id: id.clone(),
                seconds,
            })
        }
        Ok(output) => Ok(ExecOutput {
            stdout: output.stdout,
            stderr: output.stderr,
            exit_code: output.exit_code,
        }),
        Err(ClientError::Runtime { message }) => Err(ContainerError::Exec {
            id: id.clone(),
            message,
        }),
        Err(error) => Err(monitor_error(id, error.into())),
    }
}

/// Opens the container's log again; returns when it is open.
pub(crate) async fn reopen_log(
    pod: &PodHandle,
    container: &ContainerSnapshot,
) -> Result<(), ContainerError> {
    let id = &container.id;
    must_run(container, "given a new log")?;
    let client = pod
        .monitor()
        .connect()
        .await
        .map_err(|source| monitor_error(id, source))?;
    client
        .reopen_log(id.clone())
        .await
        .map_err(|error| monitor_error(id, error.into()))
}

/// Refuses what only a running container allows; `verb` is a participle.
pub(super) fn must_run(
    container: &ContainerSnapshot,
    verb: &'static str,
) -> Result<(), ContainerError> {
    if matches!(container.phase, ContainerPhase::Running { .. }) {
        return Ok(());
    }
    Err(ContainerError::State {
        id: container.id.clone(),
        state: Stage::from(&container.phase).word(),
        verb,
    })
}

pub(super) fn handler<'a>(
    parts: &'a Parts,
    pod: &PodHandle,
) -> Result<&'a Handler, ContainerError> {
    let name = pod.snapshot().runtime_handler.clone();
    parts
        .settings
        .handler(Some(&name))
        .ok_or(ContainerError::NoHandler(name))
}

pub(super) fn monitor_error(id: &ContainerId, source: MonitorError) -> ContainerError {
    ContainerError::Monitor {
        id: id.clone(),
        source,
    }
}

/// The container's own process with another command: same user, environment, capabilities,
/// seccomp filter.
pub(super) fn exec_process(
    bundle: &Path,
    command: Vec<String>,
    terminal: bool,
) -> Result<Process, ContainerError> {
    let path = bundle.join("config.json");
    let error = |source: std::io::Error| FileError {
        path: path.clone(),
        source,
    };
    let text = std::fs::read(&path).map_err(error)?;
    let spec: Spec = serde_json::from_slice(&text).map_err(|it| error(it.into()))?;
    let missing = || error(std::io::Error::other("it has no process"));
    let mut process = spec.process().clone().ok_or_else(missing)?;
    process.set_args(Some(command));
    process.set_terminal(Some(terminal));
    Ok(process)
}

/// Files of one exec, in the bundle.
pub(super) struct ExecFiles {
    pub(super) process: PathBuf,
    pub(super) pid_file: PathBuf,
    pub(super) log: PathBuf,
    /// Name that no other exec of the node has, short enough for a socket's path.
    pub(super) name: String,
}

pub(super) fn exec_files(bundle: &Path, process: &Process) -> Result<ExecFiles, ContainerError> {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{serial}", std::process::id());
    let file = |ending: &str| -> PathBuf { bundle.join(format!("exec-{name}.{ending}")) };
    let path = file("json");
    let error = |source: std::io::Error| FileError {
        path: path.clone(),
        source,
    };
    let text = serde_json::to_vec(process).map_err(|it| error(it.into()))?;
    std::fs::write(&path, text).map_err(error)?;
    Ok(ExecFiles {
        pid_file: file("pid"),
        log: file("log"),
        process: path,
        name,
    })
}
