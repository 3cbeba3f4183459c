//! Starts a program that outlives the daemon.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::open_files::give_back;
use crate::{Command, RunError};

/// The longest line that a service may say when it is ready.
const READY_LINE_CAP: u64 = 4096;

/// A service that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its process id.
    pub pid: i32,
    /// The line that it wrote on stdout, without the newline.
    pub line: String,
}

impl Command {
    /// Starts a program that lives on by itself, and returns when it has written one line on
    /// stdout: the sign that it is ready. It makes itself a session (`setsid`), which is why it is
    /// not given a process group here. Its stderr is appended to the file `log` (made with 0600).
    ///
    /// Neither the end of the daemon nor a dropped result ends it. While this daemon lives it is
    /// its parent and reaps it.
    ///
    /// # Errors
    /// [`RunError`]; after `TimedOut` and `NotReady` the program has got SIGKILL. Dropping the
    /// future before the program is ready kills it too.
    pub async fn start_service(self, log: &Path, deadline: Duration) -> Result<Started, RunError> {
        let stderr = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(log)
            .map_err(|source| self.io_error(source))?;
        let mut command = self.prepared();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let mut child = command.spawn().map_err(|source| self.spawn_error(source))?;
        give_back(child.id());
        let mut guard = KillUnready(Some(&mut child));
        let line = tokio::time::timeout(deadline, guard.first_line()).await;
        let pid = guard.0.as_ref().and_then(|child| child.id());
        match (line, pid.and_then(|pid| i32::try_from(pid).ok())) {
            (Ok(Ok(line)), Some(pid)) if !line.is_empty() => {
                guard.0 = None;
                Ok(Started { pid, line })
            }
            (Ok(Err(source)), _) => Err(self.io_error(source)),
            (Ok(Ok(_)), _) => Err(RunError::NotReady {
                program: self.program.clone(),
            }),
            (Err(_), _) => Err(RunError::TimedOut {
                program: self.program.clone(),
                deadline,
            }),
        }
    }
}

/// Kills a service that did not become ready. A `Child` that is dropped is reaped by tokio when it
/// ends, ready or not.
struct KillUnready<'a>(Option<&'a mut tokio::process::Child>);

impl KillUnready<'_> {
    async fn first_line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if let Some(stdout) = self.0.as_mut().and_then(|child| child.stdout.take()) {
            BufReader::new(stdout.take(READY_LINE_CAP))
                .read_line(&mut line)
                .await?;
        }
        // A line without its newline is the last word of a program that died.
        Ok(line.strip_suffix('\n').unwrap_or_default().to_owned())
    }
}

impl Drop for KillUnready<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended already, which is as good.
            child.start_kill().ok();
        }
    }
}
