//! Ending everything in a cgroup.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pinpod_kernel::process::{self, ProcessIdentity};
use pinpod_model::Signal;

use crate::hierarchy::{Hierarchy, Version};
use crate::{CgroupError, CgroupPath, tree};

/// Rounds of SIGKILL, each 2 ms apart, before those left are taken for unkillable.
const ROUNDS: u32 = 500;

impl Hierarchy {
    /// Sends SIGKILL to all processes in a cgroup and below it, those that they fork meanwhile
    /// included, until none is left.
    ///
    /// # Errors
    /// See [`CgroupError`]; [`CgroupError::NotEnding`] after a second.
    pub fn kill_all(&self, path: &CgroupPath) -> Result<(), CgroupError> {
        if path.is_root() {
            return Ok(());
        }
        if let Some(directory) = self.unified(path) {
            // Since Linux 5.14; what is in other hierarchies as well ends with it.
            fs::write(directory.join("cgroup.kill"), "1").ok();
        }
        let frozen = self.freeze(path, "FROZEN");
        let first = self.kill_round(path);
        if frozen {
            self.freeze(path, "THAWED");
        }
        first?;
        for _ in 0..ROUNDS {
            if self.kill_round(path)? == 0 {
                return Ok(());
            }
            tree::pause();
        }
        match self.alive(path)?.len() {
            0 => Ok(()),
            count => Err(CgroupError::NotEnding {
                cgroup: path.to_string(),
                count,
            }),
        }
    }

    /// Stops (or lets go on) the processes, so that none forks away. Only version 1 needs it, and
    /// only to be quick: the rounds would catch up in the end.
    fn freeze(&self, path: &CgroupPath, state: &str) -> bool {
        match self.directory("freezer", path) {
            Some((Version::V1, directory)) => write_state(&directory, state),
            _ => false,
        }
    }

    /// One SIGKILL for each process; how many there were.
    fn kill_round(&self, path: &CgroupPath) -> Result<usize, CgroupError> {
        let named = self.alive(path)?;
        // A process id may have gone to another process before it got its name; that one is not in
        // the cgroup.
        let still: BTreeSet<u32> = self.procs(path)?.into_iter().collect();
        for identity in named.iter().filter(|one| still.contains(&one.pid)) {
            process::kill(identity, Signal::KILL)?;
        }
        Ok(named.len())
    }

    /// Zombies are listed in version 1, but have ended.
    fn alive(&self, path: &CgroupPath) -> Result<Vec<ProcessIdentity>, CgroupError> {
        let mut alive = Vec::new();
        for pid in self.procs(path)? {
            if let Some(identity) = process::identify(pid)?
                && process::is_alive(&identity)?
            {
                alive.push(identity);
            }
        }
        Ok(alive)
    }
}

fn write_state(directory: &Path, state: &str) -> bool {
    fs::write(directory.join("freezer.state"), state).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, sleeper};

    #[test]
    fn all_below_are_ended() {
        let scratch = Scratch::new("kill");
        let hierarchy = &scratch.hierarchy;
        let below = |name| {
            let child = scratch.path.child(name).unwrap();
            hierarchy.create(&child).unwrap();
            child
        };
        let sleepers = [sleeper(), sleeper(), sleeper()];
        hierarchy.join(&below("a"), sleepers[0].pid).unwrap();
        hierarchy.join(&below("b"), sleepers[1].pid).unwrap();
        hierarchy.kill_all(&scratch.path).unwrap();
        assert!(!process::is_alive(&sleepers[0]).unwrap());
        assert!(!process::is_alive(&sleepers[1]).unwrap());
        assert!(process::is_alive(&sleepers[2]).unwrap());
        hierarchy.kill_all(&scratch.path).unwrap();
        hierarchy.kill_all(&CgroupPath::root()).unwrap();
        process::kill(&sleepers[2], Signal::KILL).unwrap();
        hierarchy.remove(&scratch.path).unwrap();
        let deadline = std::time::Duration::from_secs(5);
        for sleeper in sleepers {
            if let Some(pidfd) = process::open_pidfd(&sleeper).unwrap() {
                process::wait_exit(pidfd, deadline).unwrap();
            }
            process::reap(sleeper.pid).unwrap();
        }
    }
}
