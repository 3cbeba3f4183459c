//! Exec and attach with streams: the monitor gives the stdio, beside the pod's driver.

use std::sync::Arc;

use pinpod_monitor_api::{Attach, Client, ClientError, ExecStream, Stream};
use pinpod_oci_runtime::ExecArgs;

use super::exec::{ExecFiles, exec_files, exec_process, handler, monitor_error, must_run};
use crate::Engine;
use crate::driver::PodHandle;
use crate::error::ContainerError;
use crate::record::RecordDirs;
use crate::settings::Parts;
use crate::snapshot::ContainerSnapshot;

/// How long the runtime may take to start the process, in milliseconds.
const START_LIMIT_MS: u64 = 60_000;

/// A command whose stdio is streamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecStreamRequest {
    /// The command.
    pub command: Vec<String>,
    /// With a terminal.
    pub tty: bool,
    /// Whether stdin will be sent; otherwise it is `/dev/null`.
    pub stdin: bool,
}

impl Engine {
    /// Exec: starts a command in a running container and returns its stdio. Dropping the stream
    /// closes stdin and hangs a terminal up; the process is not killed.
    ///
    /// # Errors
    /// [`ContainerError`].
    pub async fn exec_stream(
        &self,
        id: &str,
        request: ExecStreamRequest,
    ) -> Result<Stream, Arc<ContainerError>> {
        let (pod, container) = self.find(id)?;
        exec_stream(&self.parts, &pod, &container, request)
            .await
            .map_err(Arc::new)
    }

    /// Attach: the stdio of a running container's first process, from now on. The sizes of its
    /// terminal can be sent on the stream.
    ///
    /// # Errors
    /// [`ContainerError`].
    pub async fn attach(
        &self,
        id: &str,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> Result<Stream, Arc<ContainerError>> {
        let (pod, container) = self.find(id)?;
        let request = Attach {
            container_id: container.id.clone(),
            stdin,
            stdout,
            stderr,
        };
        let attached = async {
            let client = monitor(&pod, &container, "attached to").await?;
            let stream = client.attach(request).await;
            stream.map_err(|error| monitor_error(&container.id, error.into()))
        };
        attached.await.map_err(Arc::new)
    }

    fn find(&self, id: &str) -> Result<(PodHandle, Arc<ContainerSnapshot>), Arc<ContainerError>> {
        let found = self.index.container(id);
        found.map_err(|error| Arc::new(error.into()))
    }
}

async fn monitor(
    pod: &PodHandle,
    container: &ContainerSnapshot,
    verb: &'static str,
) -> Result<Client, ContainerError> {
    must_run(container, verb)?;
    let client = pod.monitor().connect().await;
    client.map_err(|source| monitor_error(&container.id, source))
}

async fn exec_stream(
    parts: &Parts,
    pod: &PodHandle,
    container: &ContainerSnapshot,
    it: ExecStreamRequest,
) -> Result<Stream, ContainerError> {
    let id = &container.id;
    let client = monitor(pod, container, "executed in").await?;
    let handler = handler(parts, pod)?;
    let process = exec_process(&container.bundle, it.command, it.tty)?;
    let ExecFiles {
        process,
        pid_file,
        log,
        name,
    } = exec_files(&container.bundle, &process)?;
    // A socket's path may have 107 bytes, so it lies in the pod's directory under a short name.
    let pod_dir = RecordDirs::new(parts.settings.runroot()).pod(&container.pod);
    let console_socket = it.tty.then(|| pod_dir.join(format!("x{name}")));
    let argv = handler.runtime.exec_argv(&ExecArgs {
        id,
        process: &process,
        pid_file: &pid_file,
        log: &log,
        console_socket: console_socket.as_deref(),
        detach: true,
    });
    let request = ExecStream {
        container_id: id.clone(),
        argv,
        pid_file,
        runtime_log: log,
        scratch: vec![process],
        console_socket,
        stdin: it.stdin,
        start_timeout_ms: START_LIMIT_MS,
    };
    match client.exec_stream(request).await {
        Ok(stream) => Ok(stream),
        Err(ClientError::Runtime { message }) => Err(ContainerError::Exec {
            id: id.clone(),
            message,
        }),
        Err(error) => Err(monitor_error(id, error.into())),
    }
}
