//! Commands that the daemon runs.

use pinpod_command::{Command, Output};
use pinpod_model::{ContainerId, Signal};
use serde::Deserialize;

use crate::log::last_error;
use crate::{Operation, Runtime, RuntimeError};

/// Where a container is, as the runtime says (OCI runtime spec, `state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `create` runs.
    Creating,
    /// Created, not started.
    Created,
    /// Started.
    Running,
    /// Frozen.
    Paused,
    /// Its process ended.
    Stopped,
    /// A word that the spec does not have.
    #[serde(other)]
    Other,
}

/// The runtime's `state`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RuntimeState {
    /// Where it is.
    pub status: Status,
    /// Process id of its first process; 0 or missing when there is none.
    #[serde(default)]
    pub pid: i32,
}

impl Runtime {
    /// Starts the process of a created container.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub async fn start(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.run(Operation::Start, id, |command| command.arg(id.as_str()))
            .await
            .map(drop)
    }

    /// Sends a signal to the first process, or with `all` to all processes of the container.
    ///
    /// # Errors
    /// [`RuntimeError::NotRunning`] when there is no process to get it.
    pub async fn kill(
        &self,
        id: &ContainerId,
        signal: Signal,
        all: bool,
    ) -> Result<(), RuntimeError> {
        let number = signal.number().to_string();
        let arguments = |command: Command| {
            let command = if all { command.arg("--all") } else { command };
            command.arg(id.as_str()).arg(number)
        };
        self.run(Operation::Kill, id, arguments).await.map(drop)
    }

    /// Removes what the runtime holds of a container: its cgroup and its state. With `force` a
    /// running one is killed first, which runc does in steps of 100 ms: kill it and wait for its
    /// end before, and this is short.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`] without `force` only: with it, nothing to delete is a success.
    pub async fn delete(&self, id: &ContainerId, force: bool) -> Result<(), RuntimeError> {
        let arguments = |command: Command| {
            let command = if force {
                command.arg("--force")
            } else {
                command
            };
            command.arg(id.as_str())
        };
        match self.run(Operation::Delete, id, arguments).await {
            Err(RuntimeError::NotFound { .. }) if force => Ok(()),
            other => other.map(drop),
        }
    }

    /// Changes limits; `resources` is the JSON of the OCI spec's `linux.resources`.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub async fn update(&self, id: &ContainerId, resources: &[u8]) -> Result<(), RuntimeError> {
        let arguments = |command: Command| {
            command
                .args(["--resources", "-"])
                .arg(id.as_str())
                .stdin_bytes(resources)
        };
        self.run(Operation::Update, id, arguments).await.map(drop)
    }

    /// Freezes all processes of the container.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub async fn pause(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.run(Operation::Pause, id, |command| command.arg(id.as_str()))
            .await
            .map(drop)
    }

    /// Thaws them.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub async fn resume(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.run(Operation::Resume, id, |command| command.arg(id.as_str()))
            .await
            .map(drop)
    }

    /// Where the container is. Costs a process: the daemon asks only when it has no other source,
    /// as after a crash.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`] when the runtime does not know it.
    pub async fn state(&self, id: &ContainerId) -> Result<RuntimeState, RuntimeError> {
        let output = self
            .run(Operation::State, id, |command| command.arg(id.as_str()))
            .await?;
        serde_json::from_slice(&output.stdout).map_err(|error| RuntimeError::Failed {
            operation: Operation::State,
            id: id.clone(),
            message: format!("its state cannot be read: {error}"),
        })
    }

    /// Runs one subcommand. Without `--log` runtimes write their errors on stderr.
    pub(crate) async fn run(
        &self,
        operation: Operation,
        id: &ContainerId,
        arguments: impl FnOnce(Command) -> Command,
    ) -> Result<Output, RuntimeError> {
        let argv = self.program_argv(None);
        let command = Command::new(&self.path)
            .args(argv.into_iter().skip(1))
            .arg(operation.name());
        let output = arguments(command)
            .run(self.deadline)
            .await
            .map_err(|source| RuntimeError::from_run(operation, id, source))?;
        if output.status.success() {
            return Ok(output);
        }
        let words = output.message();
        let message = last_error(&words).unwrap_or(words);
        Err(RuntimeError::from_message(
            self.kind, operation, id, message,
        ))
    }
}
