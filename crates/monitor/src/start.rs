//! From an exec'd program to a monitor that listens.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use pinpod_kernel::process::{ProcessError, identify};
use pinpod_kernel::signal::SignalFd;
use pinpod_model::Signal;
use pinpod_monitor_api::{Hello, SOCKET_NAME, VERSION};

use crate::monitor::Monitor;
use crate::stdio::Root;

/// A monitor that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// A call of the kernel's that has no object.
    #[error("cannot {what}")]
    Call {
        /// What was tried.
        what: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The socket.
    #[error("cannot listen on {}", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Our own start time.
    #[error("cannot tell my own start time")]
    Identity(#[source] ProcessError),
}

fn call<T, E: Into<io::Error>>(what: &'static str, result: Result<T, E>) -> Result<T, StartError> {
    result.map_err(|error| StartError::Call {
        what,
        source: error.into(),
    })
}

/// Becomes the monitor of the pod in `pod_dir` and returns when it may end.
pub(crate) fn run(pod_dir: &Path, root: Option<Root>) -> Result<(), StartError> {
    // Started by hand it may lead a process group already, which is no session but as good. Not
    // asked for with getsid first: it is 0 where the session is one of an outer PID namespace.
    rustix::process::setsid().ok();
    call("leave the working directory", rustix::process::chdir("/"))?;
    let me = rustix::process::getpid();
    call(
        "become a subreaper",
        rustix::process::set_child_subreaper(Some(me)),
    )?;
    let signals = [
        Some(Signal::TERM),
        Signal::from_number(1),
        Signal::from_number(2),
    ];
    let child = Signal::from_number(17);
    let signals: Vec<Signal> = signals.into_iter().chain([child]).flatten().collect();
    let signals = call("take signals", SignalFd::new(&signals))?;
    let listener = listen(&pod_dir.join(SOCKET_NAME))?;
    let hello = own_hello()?;
    let mut monitor = call(
        "make an epoll",
        Monitor::new(hello, root, listener, signals),
    )?;
    say_ready(&hello)?;
    call("wait for events", monitor.run())
}

/// Takes the socket's path over from a monitor that died.
fn listen(path: &Path) -> Result<UnixListener, StartError> {
    let bind = || {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|source| StartError::Listen {
        path: path.to_owned(),
        source,
    })
}

fn own_hello() -> Result<Hello, StartError> {
    let identity = identify(std::process::id()).map_err(StartError::Identity)?;
    Ok(Hello {
        version: VERSION,
        pid: i32::try_from(std::process::id()).unwrap_or_default(),
        start_time: identity
            .map(|identity| identity.start_time)
            .unwrap_or_default(),
    })
}

/// Tells who started us that we listen, and lets go of stdout.
fn say_ready(hello: &Hello) -> Result<(), StartError> {
    let mut line = call("write my greeting", serde_json::to_vec(hello))?;
    line.push(b'\n');
    call(
        "say that I am ready",
        rustix::io::write(rustix::stdio::stdout(), &line),
    )?;
    let null = call(
        "open /dev/null",
        File::options().read(true).write(true).open("/dev/null"),
    )?;
    call("let go of stdin", rustix::stdio::dup2_stdin(&null))?;
    call("let go of stdout", rustix::stdio::dup2_stdout(&null))
}
