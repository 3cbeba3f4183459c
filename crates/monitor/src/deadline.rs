//! What happens when time passes: runtimes that hang, execs past their time, clients that stall.

use std::time::Instant;

use crate::connection::{Connection, Mode};
use crate::monitor::Monitor;
use crate::process::{ExecKind, Process, Role, Stage};

impl Monitor {
    /// The next instant at which there is something to do without an event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let processes = self.processes.values().filter_map(Process::deadline);
        let attached = self.connections.values().filter(|it| self.is_attached(it));
        processes
            .chain(attached.filter_map(Connection::stalls_at))
            .min()
    }

    /// Does what is due.
    pub(crate) fn expire(&mut self, now: Instant) {
        let due = self
            .processes
            .iter()
            .filter(|(_, it)| it.deadline().is_some_and(|at| at <= now));
        for id in due.map(|(&id, _)| id).collect::<Vec<u32>>() {
            self.exec_timed_out(id);
            if let Some(Process {
                stage: Stage::Starting(starting),
                ..
            }) = self.processes.get_mut(&id)
                && !starting.timed_out
            {
                starting.kill();
            }
        }
        let stalled = self
            .connections
            .iter()
            .filter(|(_, it)| self.is_attached(it) && it.stalls_at().is_some_and(|at| at <= now));
        for id in stalled.map(|(&id, _)| id).collect::<Vec<u32>>() {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.dead = true;
            }
        }
    }

    /// Whether it is attached to a container, which must not wait for a dead client. A process of
    /// its own may.
    fn is_attached(&self, connection: &Connection) -> bool {
        let Mode::Streaming { process, .. } = connection.mode else {
            return false;
        };
        self.processes
            .get(&process)
            .is_some_and(|it| matches!(it.role, Role::Init(_)))
    }
}

impl Process {
    fn deadline(&self) -> Option<Instant> {
        match (&self.stage, &self.role) {
            (Stage::Starting(starting), _) if starting.timed_out => None,
            (Stage::Starting(starting), _) => starting.deadline,
            (Stage::Alive(_), Role::Exec(exec)) => match &exec.kind {
                ExecKind::Sync(sync) => sync.deadline,
                ExecKind::Stream { .. } => None,
            },
            (Stage::Alive(_), Role::Init(_)) | (Stage::Exited(..), _) => None,
        }
    }
}
