//! Where a process's output goes: the log, and the connections attached to it.

use std::collections::BTreeMap;

use pinpod_monitor_api::frame::Kind;
use pinpod_monitor_api::{Attach, Reply};

use crate::connection::{Connection, Mode};
use crate::monitor::Monitor;
use crate::poller::Channel;
use crate::process::{Exec, ExecKind, Process, Role};
use crate::request::Refused;
use crate::stdio::Read;

impl Monitor {
    /// Attaches a connection to a container's first process. Where that has no open stdin, stdin
    /// frames are dropped.
    pub(crate) fn attach(
        &mut self,
        connection: u32,
        request: &Attach,
    ) -> Result<Option<Reply>, Refused> {
        let number = self.running(&request.container_id)?;
        let Some(process) = self.processes.get_mut(&number) else {
            return Ok(None);
        };
        process.attached.push(connection);
        let mode = Mode::Streaming {
            process: number,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        self.set_mode(connection, mode);
        Ok(Some(Reply::Streaming))
    }

    /// A connection is gone: so is what was only for it.
    pub(crate) fn connection_closed(&mut self, id: u32, mode: Mode) {
        let (number, had_stdin) = match mode {
            Mode::Executing { process } => (process, false),
            Mode::Streaming { process, stdin, .. } => (process, stdin),
            Mode::New | Mode::Idle | Mode::Creating | Mode::Subscribed => return,
        };
        let Some(process) = self.processes.get_mut(&number) else {
            return;
        };
        process.attached.retain(|attached| *attached != id);
        match &process.role {
            Role::Init(init) => {
                if had_stdin && init.stdin_once {
                    process.stdio.close_stdin();
                }
            }
            Role::Exec(exec) => {
                if exec.connection == Some(id) {
                    self.exec_abandoned(number);
                }
            }
        }
    }
}

impl Process {
    /// Reads one stream until it has nothing, or a limit, and passes the bytes on.
    pub(crate) fn pump(
        &mut self,
        channel: Channel,
        limit: usize,
        buffer: &mut [u8],
        connections: &mut BTreeMap<u32, Connection>,
    ) {
        let mut total = 0;
        while total < limit {
            match self.stdio.read(channel, buffer) {
                Read::Later => return,
                Read::End => {
                    self.stdio.close(channel);
                    if let Role::Init(init) = &mut self.role {
                        init.log.finish(channel);
                    }
                    return;
                }
                Read::Data(n) => {
                    total += n;
                    self.deliver(channel, &buffer[..n], connections);
                }
            }
        }
    }

    fn deliver(
        &mut self,
        channel: Channel,
        data: &[u8],
        connections: &mut BTreeMap<u32, Connection>,
    ) {
        let data = match &mut self.role {
            Role::Init(init) => {
                init.log.push(channel, data);
                data
            }
            Role::Exec(exec) => exec.allowed(channel, data),
        };
        if data.is_empty() {
            return;
        }
        let kind = if channel == Channel::Stderr {
            Kind::Stderr
        } else {
            Kind::Stdout
        };
        for id in &self.attached {
            let Some(connection) = connections.get_mut(id) else {
                continue;
            };
            let wanted = match connection.mode {
                Mode::Streaming { stdout, stderr, .. } => {
                    if kind == Kind::Stderr {
                        stderr
                    } else {
                        stdout
                    }
                }
                Mode::Executing { .. } => true,
                Mode::New | Mode::Idle | Mode::Creating | Mode::Subscribed => false,
            };
            if wanted && !connection.dead && !connection.closing {
                connection.send_frame(kind, data);
            }
        }
    }
}

impl Exec {
    /// What of the data is within the cap of an `ExecSync`.
    fn allowed<'a>(&mut self, channel: Channel, data: &'a [u8]) -> &'a [u8] {
        let ExecKind::Sync(sync) = &mut self.kind else {
            return data;
        };
        let left = match channel {
            Channel::Stderr => &mut sync.stderr_left,
            Channel::Stdin | Channel::Stdout => &mut sync.stdout_left,
        };
        let taken = data.len().min(*left);
        *left -= taken;
        sync.truncated |= taken < data.len();
        &data[..taken]
    }
}
