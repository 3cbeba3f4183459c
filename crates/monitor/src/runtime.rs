//! Runs the OCI runtime's `create` and `exec`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pinpod_kernel::process::identify;
use pinpod_kernel::socket::recv_with_fds;
use rustix::process::{Pid, Signal, WaitStatus, kill_process_group};

use crate::stdio::{ChildEnds, Stdio};

/// Where programs are looked for when nobody said.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A run of the runtime that has not ended.
#[derive(Debug)]
pub(crate) struct Starting {
    /// The runtime; leads a process group of its own.
    pub(crate) runtime: Pid,
    /// When it is killed.
    pub(crate) deadline: Option<Instant>,
    /// Its deadline has passed, and it was killed.
    pub(crate) timed_out: bool,
    pub(crate) files: Files,
    console: Option<Console>,
}

/// Files of one run.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Where the runtime writes the process id.
    pub(crate) pid_file: PathBuf,
    /// The runtime's own log.
    pub(crate) log: PathBuf,
    /// To be removed when it has ended.
    pub(crate) scratch: Vec<PathBuf>,
}

impl Files {
    /// Removes what only this run needed. What is left behind is in the container's directory and
    /// goes with it.
    pub(crate) fn remove(&self) {
        for path in &self.scratch {
            fs::remove_file(path).ok();
        }
    }
}

/// The socket on which the runtime hands the terminal over.
#[derive(Debug)]
pub(crate) struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    pub(crate) fn listen(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// The terminal. The runtime has ended, so it was sent or will never be.
    fn receive(&self) -> io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        let mut name = [0; 4096];
        let (_, fds) = recv_with_fds(&stream, &mut name)?;
        fds.into_iter()
            .next()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

/// What to run.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) argv: &'a [OsString],
    pub(crate) dir: &'a Path,
    pub(crate) ends: ChildEnds,
    pub(crate) console: Option<Console>,
    pub(crate) files: Files,
    pub(crate) deadline: Option<Instant>,
}

/// Starts the runtime in a process group of its own.
pub(crate) fn spawn(run: Run<'_>) -> io::Result<Starting> {
    let Run {
        argv,
        dir,
        ends,
        console,
        files,
        deadline,
    } = run;
    let Some((program, args)) = argv.split_first() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "an empty command line",
        ));
    };
    // A file of an earlier run must not be taken for this one's.
    fs::remove_file(&files.pid_file).ok();
    #[allow(
        clippy::disallowed_methods,
        reason = "the monitor's one place that starts programs; kept free of pinpod-command's tokio"
    )]
    let mut command = std::process::Command::new(program);
    command.args(args).current_dir(dir).env_clear();
    command.env(
        "PATH",
        std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()),
    );
    command
        .stdin(ends.stdin)
        .stdout(ends.stdout)
        .stderr(ends.stderr)
        .process_group(0);
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let runtime = pid.ok_or_else(|| io::Error::other("the kernel gave no process id"))?;
    Ok(Starting {
        runtime,
        deadline,
        timed_out: false,
        files,
        console,
    })
}

/// The process that a successful run left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Born {
    pub(crate) pid: Pid,
    /// 0 when it is gone already.
    pub(crate) start_time: u64,
}

impl Starting {
    /// Kills the runtime with all that it started and that stayed in its group.
    pub(crate) fn kill(&mut self) {
        self.timed_out = true;
        kill_process_group(self.runtime, Signal::KILL).ok();
    }

    /// What came of the run: the process, with its terminal in `stdio`, or the reason why not.
    pub(crate) fn finish(&self, status: WaitStatus, stdio: &mut Stdio) -> Result<Born, String> {
        if status.exit_status() != Some(0) {
            return Err(self.failure(status, stdio));
        }
        if let Some(console) = &self.console {
            console
                .receive()
                .and_then(|master| stdio.set_terminal(master))
                .map_err(|error| format!("the runtime handed no terminal over: {error}"))?;
        }
        self.born().ok_or_else(|| {
            format!(
                "the runtime left no process id in {}",
                self.files.pid_file.display()
            )
        })
    }

    /// The process that the runtime named, as also a killed one may have.
    pub(crate) fn born(&self) -> Option<Born> {
        let text = fs::read_to_string(&self.files.pid_file).ok()?;
        let raw: i32 = text.trim().parse().ok()?;
        let pid = Pid::from_raw(raw).filter(|_| raw > 0)?;
        let identity = identify(u32::try_from(raw).ok()?).ok().flatten();
        Some(Born {
            pid,
            start_time: identity.map(|it| it.start_time).unwrap_or_default(),
        })
    }

    fn failure(&self, status: WaitStatus, stdio: &Stdio) -> String {
        if let Some(message) = pinpod_oci_runtime::log_error(&self.files.log) {
            return message;
        }
        let words = stdio.last_words(&mut [0; 2048]);
        if !words.is_empty() {
            return words;
        }
        match status.terminating_signal() {
            Some(_) if self.timed_out => "the runtime was killed at its deadline".to_owned(),
            Some(signal) => format!("the runtime was ended by signal {signal}"),
            None => format!(
                "the runtime exited with {}",
                status.exit_status().unwrap_or(-1)
            ),
        }
    }
}
