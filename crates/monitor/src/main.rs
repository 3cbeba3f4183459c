//! `pinpod-monitor`: one process for a pod, from its first container to its end.
//!
//! It runs the OCI runtime's `create` and `exec`, is the parent of the processes that they start
//! (a child subreaper), holds their stdio, writes the CRI logs, serves attach, and notes how they
//! end. It talks to the daemon over `monitor.sock` in the pod's directory
//! ([`pinpod_monitor_api`]) and needs no daemon: one may come, go and be replaced.
//!
//! One thread, one epoll, no timers but the wait's. Every descriptor's interest follows from the
//! state after each turn ([`monitor`]), so no handler has to remember to arm or disarm one.
//!
//! It ends when it was told to shut down (`Shutdown`, or SIGTERM) and no container is being
//! created or runs. A SIGTERM while one runs is ignored: what stops a node's services must not
//! take the logs and exits of running containers away.

mod args;
mod attach;
mod connection;
mod container;
mod deadline;
mod exec;
mod exit;
mod kill;
mod log;
mod log_file;
mod monitor;
mod oom;
mod poller;
mod process;
mod request;
mod runtime;
mod start;
mod stdio;
mod timestamp;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let result = match args::parse(arguments) {
        Ok(args::Action::Version) => {
            let line = format!("pinpod-monitor {}\n", env!("CARGO_PKG_VERSION"));
            std::io::stdout()
                .write_all(line.as_bytes())
                .map_err(|error| error.to_string())
        }
        Ok(args::Action::Run { pod_dir, root }) => start::run(&pod_dir, root).map_err(|error| {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            text
        }),
        Err(message) => Err(message),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

/// One line on stderr, which is the pod's `monitor.log`. A full disk must not end the monitor.
pub(crate) fn complain(message: &str) {
    let line = format!("pinpod-monitor: {message}\n");
    std::io::stderr().write_all(line.as_bytes()).ok();
}
