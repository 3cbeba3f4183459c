//! Runs helper programs with a deadline: OCI runtimes, CNI plugins, and the start of a pod's
//! monitor. It is the only place in the daemon that starts a program.
//!
//! A program gets an environment of its own (`PATH` and what the caller sets), a process group of
//! its own, and no descriptor but its stdio. A run that passes its deadline, says too much, or
//! whose future is dropped ends with SIGKILL to the whole group.

mod error;
mod group;
mod open_files;
mod run;
mod service;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;

pub use error::RunError;
pub use open_files::raise_open_files;
pub use service::Started;

/// Where programs are looked for when the daemon itself has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a program may write on stdout and stderr, each, unless the caller says otherwise.
pub const DEFAULT_OUTPUT_CAP: usize = 16 << 20;

/// A program to run.
#[derive(Debug, Clone)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Option<Vec<u8>>,
    dir: Option<PathBuf>,
    output_cap: usize,
}

/// What a program left when it ended by itself, whatever its exit status.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit status; not judged here.
    pub status: ExitStatus,
    /// All of its stdout.
    pub stdout: Vec<u8>,
    /// All of its stderr.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Its stderr, or its stdout when that is empty, as trimmed text for an error message.
    #[must_use]
    pub fn message(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let stderr = text(&self.stderr);
        if stderr.is_empty() {
            text(&self.stdout)
        } else {
            stderr
        }
    }
}

impl Command {
    /// A program by its path, or by a name to look for in `PATH`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: None,
            dir: None,
            output_cap: DEFAULT_OUTPUT_CAP,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one variable of its environment, which is otherwise empty but for `PATH`.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// What it reads on stdin; without this stdin is `/dev/null`.
    #[must_use]
    pub fn stdin_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Its working directory; without this `/`, so that no mount is kept busy.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Bytes it may write on stdout and stderr, each, before it is killed.
    #[must_use]
    pub fn output_cap(mut self, bytes: usize) -> Self {
        self.output_cap = bytes;
        self
    }
}
