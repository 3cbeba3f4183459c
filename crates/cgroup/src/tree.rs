//! Making, joining and removing cgroups, in all hierarchies of the node at once.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::hierarchy::{Hierarchy, Mounted, Version};
use crate::{CgroupError, CgroupPath, parse};

/// A cgroup is in use for a moment after its last process has ended.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(2);

impl Hierarchy {
    /// Makes a cgroup and its parents. One that exists is fine.
    ///
    /// With version 2 the controllers are also turned on from the root down, as far as the kernel
    /// allows; a limit that needs one that could not be turned on fails when it is set.
    ///
    /// # Errors
    /// See [`CgroupError`].
    pub fn create(&self, path: &CgroupPath) -> Result<(), CgroupError> {
        for mounted in &self.mounted {
            let mut directory = mounted.mount_point.clone();
            for name in path.names() {
                if mounted.version == Version::V2 {
                    turn_on_controllers(&directory, &mounted.controllers);
                }
                directory.push(name);
                make_directory(mounted, &directory)?;
            }
        }
        Ok(())
    }

    /// Whether the cgroup is there in any hierarchy.
    #[must_use]
    pub fn exists(&self, path: &CgroupPath) -> bool {
        let mut mounted = self.mounted.iter();
        mounted.any(|mounted| path.below(&mounted.mount_point).is_dir())
    }

    /// Removes a cgroup and those below it. One that is not there is fine, and the root stays.
    /// Processes in it are not touched: it is [`CgroupError::Busy`] when they have not ended within
    /// a fifth of a second.
    ///
    /// # Errors
    /// See [`CgroupError`].
    pub fn remove(&self, path: &CgroupPath) -> Result<(), CgroupError> {
        if path.is_root() {
            return Ok(());
        }
        let mut tries = BUSY_TRIES;
        for mounted in &self.mounted {
            remove_tree(&path.below(&mounted.mount_point), &mut tries)?;
        }
        Ok(())
    }

    /// Puts a process into a cgroup in every hierarchy that has it. Where version 2 has controllers,
    /// only a cgroup without children that use them takes processes (`EBUSY`), so what belongs to a
    /// pod beside its containers needs a cgroup of its own below the pod's.
    ///
    /// # Errors
    /// See [`CgroupError`].
    pub fn join(&self, path: &CgroupPath, pid: u32) -> Result<(), CgroupError> {
        for file in self.procs_files(path) {
            if let Err(source) = fs::write(&file, pid.to_string()) {
                return Err(CgroupError::Join { pid, file, source });
            }
        }
        Ok(())
    }

    /// The `cgroup.procs` files of a cgroup, one for each hierarchy that has it: a process id
    /// written to all of them joins it.
    #[must_use]
    pub fn procs_files(&self, path: &CgroupPath) -> Vec<PathBuf> {
        let files = self
            .mounted
            .iter()
            .map(|mounted| path.below(&mounted.mount_point).join("cgroup.procs"));
        files.filter(|file| file.exists()).collect()
    }

    /// The processes in a cgroup and below it, sorted. None when it is not there.
    ///
    /// # Errors
    /// See [`CgroupError`].
    pub fn procs(&self, path: &CgroupPath) -> Result<Vec<u32>, CgroupError> {
        let mut pids = BTreeSet::new();
        for mounted in &self.mounted {
            collect_procs(&path.below(&mounted.mount_point), &mut pids)?;
        }
        Ok(pids.into_iter().collect())
    }
}

/// Writes what it can: an ancestor may belong to systemd, or hold processes (`EBUSY`).
fn turn_on_controllers(directory: &Path, controllers: &[String]) {
    let file = directory.join("cgroup.subtree_control");
    let on = fs::read_to_string(&file).unwrap_or_default();
    for controller in controllers {
        if !on.split_whitespace().any(|have| have == controller) {
            fs::write(&file, format!("+{controller}")).ok();
        }
    }
}

fn make_directory(mounted: &Mounted, directory: &Path) -> Result<(), CgroupError> {
    let create = |source| CgroupError::Create {
        directory: directory.to_owned(),
        source,
    };
    match fs::create_dir(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(create(source)),
    }
    let cpuset = mounted.controllers.iter().any(|name| name == "cpuset");
    if cpuset && mounted.version == Version::V1 {
        inherit_cpuset(directory).map_err(create)?;
    }
    Ok(())
}

/// A cpuset of version 1 takes no process before it has CPUs and memory nodes, and starts empty.
fn inherit_cpuset(directory: &Path) -> io::Result<()> {
    let Some(parent) = directory.parent() else {
        return Ok(());
    };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = directory.join(name);
        if fs::read_to_string(&own)?.trim().is_empty() {
            fs::write(&own, fs::read_to_string(parent.join(name))?)?;
        }
    }
    Ok(())
}

fn remove_tree(directory: &Path, tries: &mut u32) -> Result<(), CgroupError> {
    for child in child_cgroups(directory)? {
        remove_tree(&child, tries)?;
    }
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                if *tries == 0 {
                    let directory = directory.to_owned();
                    return Err(CgroupError::Busy { directory });
                }
                *tries -= 1;
                pause();
            }
            Err(source) => {
                return Err(CgroupError::Remove {
                    directory: directory.to_owned(),
                    source,
                });
            }
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "version 1 tells nobody when a cgroup has become empty"
)]
pub(crate) fn pause() {
    std::thread::sleep(BUSY_PAUSE);
}

/// The cgroups directly below; none when the cgroup is not there.
fn child_cgroups(directory: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let read = |source| CgroupError::Read {
        file: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(source) => return Err(read(source)),
    };
    let mut children = Vec::new();
    for entry in entries {
        let entry = entry.map_err(read)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            children.push(entry.path());
        }
    }
    Ok(children)
}

fn collect_procs(directory: &Path, pids: &mut BTreeSet<u32>) -> Result<(), CgroupError> {
    let file = directory.join("cgroup.procs");
    match fs::read_to_string(&file) {
        Ok(text) => match parse::pids(&text) {
            Some(found) => pids.extend(found),
            None => return Err(CgroupError::Parse { file }),
        },
        Err(error) if is_gone(&error) => return Ok(()),
        // A threaded cgroup of version 2 lists threads only.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(source) => return Err(CgroupError::Read { file, source }),
    }
    for child in child_cgroups(directory)? {
        collect_procs(&child, pids)?;
    }
    Ok(())
}

/// Reading a file of a cgroup that was removed after the open is `ENODEV`.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    const ENODEV: i32 = 19;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, sleeper};
    use pinpod_kernel::process;
    use pinpod_model::Signal;

    #[test]
    fn the_life_of_a_cgroup() {
        let scratch = Scratch::new("life");
        let hierarchy = &scratch.hierarchy;
        let child = scratch.path.child("a").unwrap().child("b").unwrap();
        assert!(!hierarchy.exists(&scratch.path));
        hierarchy.create(&child).unwrap();
        hierarchy.create(&child).unwrap();
        assert!(hierarchy.exists(&child));
        assert_eq!(hierarchy.procs_files(&child).len(), hierarchy.mounted.len());

        let sleeper = sleeper();
        hierarchy.join(&child, sleeper.pid).unwrap();
        assert_eq!(hierarchy.procs(&scratch.path).unwrap(), [sleeper.pid]);
        let seen = fs::read_to_string(format!("/proc/{}/cgroup", sleeper.pid)).unwrap();
        for line in seen.lines() {
            assert!(line.ends_with(child.as_str()), "{line}");
        }
        let busy = hierarchy.remove(&scratch.path);
        assert!(matches!(busy, Err(CgroupError::Busy { .. })), "{busy:?}");

        process::kill(&sleeper, Signal::KILL).unwrap();
        hierarchy.remove(&scratch.path).unwrap();
        hierarchy.remove(&scratch.path).unwrap();
        assert!(!hierarchy.exists(&scratch.path));
        assert_eq!(hierarchy.procs(&scratch.path).unwrap(), []);
        hierarchy.remove(&CgroupPath::root()).unwrap();
        process::reap(sleeper.pid).unwrap();
    }
}
