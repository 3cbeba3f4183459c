//! What URLs are asked for, checked.

use std::path::PathBuf;

use pinpod_model::{ContainerId, PodId};

use crate::StreamError;

/// CRI's `ExecRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecRequest {
    /// The container, or a unique beginning of its identifier.
    pub container_id: String,
    /// The command.
    pub cmd: Vec<String>,
    /// With a terminal.
    pub tty: bool,
    /// The client sends stdin.
    pub stdin: bool,
    /// The client wants stdout.
    pub stdout: bool,
    /// The client wants stderr; not with a terminal, where it is part of stdout.
    pub stderr: bool,
}

/// CRI's `AttachRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttachRequest {
    /// The container, or a unique beginning of its identifier.
    pub container_id: String,
    /// The container has a terminal.
    pub tty: bool,
    /// The client sends stdin.
    pub stdin: bool,
    /// The client wants stdout.
    pub stdout: bool,
    /// The client wants stderr; not with a terminal, where it is part of stdout.
    pub stderr: bool,
}

/// CRI's `PortForwardRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortForwardRequest {
    /// The pod sandbox, or a unique beginning of its identifier.
    pub pod_sandbox_id: String,
    /// Ports, 1 to 65535. Only WebSocket clients need them here; SPDY clients name the port with
    /// each stream.
    pub ports: Vec<i32>,
}

/// Which of the standard streams a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl Wanted {
    pub(crate) fn check(self) -> Result<Self, StreamError> {
        if self.tty && self.stderr {
            return Err(invalid("stderr", "a terminal has no stderr of its own"));
        }
        if !self.stdin && !self.stdout && !self.stderr {
            let problem = "at least one of stdin, stdout and stderr must be asked for";
            return Err(invalid("stdin", problem));
        }
        Ok(self)
    }
}

/// What is done for a client of exec or attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Run this command.
    Exec(Vec<String>),
    /// Join the container's first process.
    Attach,
}

/// What an exec or attach URL stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteCommand {
    pub(crate) container: ContainerId,
    pub(crate) action: Action,
    pub(crate) wanted: Wanted,
}

/// What a port-forward URL stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortForward {
    pub(crate) pod: PodId,
    /// `None` on the node's network.
    pub(crate) netns: Option<PathBuf>,
    pub(crate) ports: Vec<u16>,
}

/// What a URL stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ticket {
    RemoteCommand(RemoteCommand),
    PortForward(PortForward),
}

impl Ticket {
    /// The first part of the URL's path.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::RemoteCommand(RemoteCommand {
                action: Action::Exec(_),
                ..
            }) => "exec",
            Self::RemoteCommand(RemoteCommand {
                action: Action::Attach,
                ..
            }) => "attach",
            Self::PortForward(_) => "portforward",
        }
    }
}

pub(crate) fn ports(ports: &[i32]) -> Result<Vec<u16>, StreamError> {
    // Two channels each, in one byte.
    if ports.len() > 100 {
        return Err(invalid("port", "more than 100 ports"));
    }
    let port = |&port: &i32| match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(invalid("port", &format!("{port} is not a port"))),
    };
    ports.iter().map(port).collect()
}

pub(crate) fn invalid(field: &'static str, problem: &str) -> StreamError {
    StreamError::Invalid {
        field,
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_make_no_sense_are_refused() {
        for (tty, stdin, stdout, stderr, fits) in [
            (false, false, false, false, false),
            (true, true, true, true, false),
            (true, false, false, true, false),
            (true, true, true, false, true),
            (false, false, false, true, true),
            (false, true, false, false, true),
        ] {
            let wanted = Wanted {
                tty,
                stdin,
                stdout,
                stderr,
            };
            assert_eq!(wanted.check().is_ok(), fits, "{wanted:?}");
        }
    }

    #[test]
    fn ports_are_numbers_of_ports() {
        assert_eq!(ports(&[80, 65_535]).unwrap(), [80, 65_535]);
        assert!(ports(&[]).unwrap().is_empty());
        for bad in [0, -1, 65_536] {
            let message = ports(&[80, bad]).unwrap_err().to_string();
            assert_eq!(message, format!("port: {bad} is not a port"));
        }
        assert!(ports(&[1; 101]).is_err());
    }
}
