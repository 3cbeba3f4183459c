//! The way back: idempotent, goes on past errors, collects them.

use std::io;
use std::path::Path;

use pinpod_cgroup::{CgroupError, CgroupPath};
use pinpod_kernel::{mount, namespace, process};
use pinpod_model::{PodId, Signal};
use pinpod_network::DetachRequest;

use super::run::{blocking, init_cgroup};
use crate::driver::Chain;
use crate::error::TeardownError;
use crate::record::{PodRecord, RecordDirs};
use crate::settings::Parts;
use crate::watch_process;

/// Collects what fails while something is taken away.
#[derive(Debug)]
pub(crate) struct Undo {
    object: String,
    failures: Vec<String>,
}

impl Undo {
    pub(crate) fn of(object: String) -> Self {
        Self {
            object,
            failures: Vec::new(),
        }
    }

    /// Takes note of a step's failure, and lets the next step run.
    pub(crate) fn step<T, E: std::error::Error>(&mut self, result: Result<T, E>) {
        if let Err(error) = result {
            self.failures.push(Chain(&error).to_string());
        }
    }

    pub(crate) fn end(self) -> Result<(), TeardownError> {
        if self.failures.is_empty() {
            Ok(())
        } else {
            Err(TeardownError {
                object: self.object,
                failures: self.failures,
            })
        }
    }
}

/// Takes away everything of a sandbox but its directory: PID 1, network, namespaces, `/dev/shm`.
/// What is not there is no failure.
pub(crate) async fn teardown(parts: &Parts, record: &PodRecord) -> Result<(), TeardownError> {
    let mut undo = Undo::of(format!("pod sandbox {}", record.config.metadata));
    end_init(parts, record, &mut undo).await;
    if let Some(netns) = &record.namespaces.net {
        // DEL comes before the namespace goes, so that plugins find what they set up.
        let request = DetachRequest {
            pod_id: record.id.clone(),
            netns: Some(netns.clone()),
        };
        undo.step(parts.network.detach(&request).await);
    }
    let files = record.namespaces.clone();
    let shm = RecordDirs::new(parts.settings.runroot())
        .pod(&record.id)
        .join("shm");
    let steps = blocking(move || {
        let mut steps = Undo::of(String::new());
        for file in [files.pid, files.net, files.ipc, files.uts, files.user]
            .into_iter()
            .flatten()
        {
            steps.step(namespace::unpin(&file));
        }
        steps.step(mount::unmount(&shm));
        steps.failures
    });
    undo.failures.extend(steps.await);
    undo.end()
}

async fn end_init(parts: &Parts, record: &PodRecord, undo: &mut Undo) {
    if let Some(init) = record.init {
        match process::kill(&init, Signal::KILL) {
            Ok(_) => watch_process::gone(init).await,
            Err(error) => undo.step::<(), _>(Err(error)),
        }
    }
    // A crash between the start of PID 1 and the record leaves it in a cgroup that only it has.
    if let Some(cgroup) = init_cgroup(parts, record) {
        undo.step(end_cgroup(parts, cgroup).await);
    }
}

/// Kills what is in a cgroup and removes it; one that is not there is fine.
pub(crate) async fn end_cgroup(parts: &Parts, cgroup: CgroupPath) -> Result<(), CgroupError> {
    let cgroups = parts.cgroups.clone();
    blocking(move || {
        if !cgroups.exists(&cgroup) {
            return Ok(());
        }
        cgroups.kill_all(&cgroup)?;
        // A scope is systemd's to remove: it may miss the end of one that was removed before it
        // looked, and go on listing it.
        if cgroup.as_str().ends_with(".scope") {
            return Ok(());
        }
        cgroups.remove(&cgroup)
    })
    .await
}

/// Removes the directory of a sandbox that is torn down, its record included.
pub(crate) async fn remove_directory(dirs: &RecordDirs, id: &PodId) -> Result<(), TeardownError> {
    let path = dirs.pod(id);
    let mut undo = Undo::of(format!("directory of pod sandbox {id}"));
    undo.step(blocking(move || remove_tree(&path)).await);
    undo.end()
}

/// Removes a directory with all that is in it; a missing one is fine.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
