//! Runs a program to its end.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};

use crate::group::GroupGuard;
use crate::open_files::give_back;
use crate::{Command, DEFAULT_PATH, Output, RunError};

/// How reading a stream ended early.
enum ReadError {
    TooMuch,
    Io(io::Error),
}

impl Command {
    /// Runs the program to its end and returns its status and output.
    ///
    /// The output is complete when everyone who holds the program's stdout and stderr has closed
    /// them, so a child that it leaves behind must not keep them.
    ///
    /// # Errors
    /// [`RunError`]; after every error, and when the future is dropped, the program's whole process
    /// group has got SIGKILL.
    pub async fn run(self, deadline: Duration) -> Result<Output, RunError> {
        let mut child = self.spawn()?;
        let guard = GroupGuard::new(child.id());
        match tokio::time::timeout(deadline, self.communicate(&mut child)).await {
            Ok(Ok((stdout, stderr, status))) => {
                guard.let_go();
                Ok(Output {
                    status,
                    stdout,
                    stderr,
                })
            }
            Ok(Err(error)) => {
                drop(guard);
                self.reap(child).await?;
                Err(error)
            }
            Err(_) => {
                drop(guard);
                self.reap(child).await?;
                Err(RunError::TimedOut {
                    program: self.program,
                    deadline,
                })
            }
        }
    }

    /// The process, in a group of its own.
    fn spawn(&self) -> Result<Child, RunError> {
        let mut command = self.prepared();
        command
            .stdin(if self.stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn();
        let child = child.map_err(|source| self.spawn_error(source))?;
        give_back(child.id());
        Ok(child)
    }

    /// Program, arguments, environment and directory; stdio is the caller's.
    #[allow(
        clippy::disallowed_methods,
        reason = "this crate is the place where the daemon starts programs"
    )]
    pub(crate) fn prepared(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).env_clear();
        command.env(
            "PATH",
            std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()),
        );
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.dir.as_deref().unwrap_or("/".as_ref()));
        command
    }

    pub(crate) fn spawn_error(&self, source: io::Error) -> RunError {
        let program = self.program.clone();
        if source.kind() == io::ErrorKind::NotFound {
            RunError::NotFound { program }
        } else {
            RunError::Spawn { program, source }
        }
    }

    pub(crate) fn io_error(&self, source: io::Error) -> RunError {
        RunError::Io {
            program: self.program.clone(),
            source,
        }
    }

    /// Feeds stdin and reads both outputs, and only then reaps: until the pipes are closed the
    /// leader stays a zombie, so that its group can be killed by number.
    async fn communicate(
        &self,
        child: &mut Child,
    ) -> Result<(Vec<u8>, Vec<u8>, std::process::ExitStatus), RunError> {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let outputs = async {
            tokio::try_join!(
                read_capped(stdout, self.output_cap),
                read_capped(stderr, self.output_cap),
                async {
                    feed(stdin, self.stdin.as_deref())
                        .await
                        .map_err(ReadError::Io)
                },
            )
        };
        let (stdout, stderr, ()) = outputs.await.map_err(|error| match error {
            ReadError::TooMuch => RunError::TooMuchOutput {
                program: self.program.clone(),
                cap: self.output_cap,
            },
            ReadError::Io(source) => self.io_error(source),
        })?;
        let status = child.wait().await.map_err(|source| self.io_error(source))?;
        Ok((stdout, stderr, status))
    }

    async fn reap(&self, mut child: Child) -> Result<(), RunError> {
        child
            .wait()
            .await
            .map(drop)
            .map_err(|source| self.io_error(source))
    }
}

async fn feed(stdin: Option<ChildStdin>, bytes: Option<&[u8]>) -> io::Result<()> {
    let (Some(mut stdin), Some(bytes)) = (stdin, bytes) else {
        return Ok(());
    };
    match stdin.write_all(bytes).await {
        // It need not read what it does not want.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

async fn read_capped(
    stream: Option<impl AsyncRead + Unpin>,
    cap: usize,
) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let Some(stream) = stream else {
        return Ok(bytes);
    };
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    stream
        .take(limit)
        .read_to_end(&mut bytes)
        .await
        .map_err(ReadError::Io)?;
    if bytes.len() > cap {
        Err(ReadError::TooMuch)
    } else {
        Ok(bytes)
    }
}
