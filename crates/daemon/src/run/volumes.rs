//! Directories that a pod needs before it runs: logs and volumes.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::log_directories;
use crate::manifest::{Place, PodPlan, Volume};

/// What was made for the pod; the node's own paths are not in it.
#[derive(Debug, Default)]
pub(super) struct Made {
    directories: Vec<PathBuf>,
}

impl Made {
    /// Removes it all.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        for directory in self.directories {
            match std::fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| directory.display().to_string());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Makes log directories and `emptyDir` volumes, and checks the node's paths.
///
/// # Errors
/// If a path cannot be made, or is not of the kind that the manifest says.
pub(super) fn make(plan: &PodPlan, place: &Place) -> anyhow::Result<Made> {
    let uid = plan
        .sandbox
        .metadata
        .as_ref()
        .map_or("", |metadata| &metadata.uid);
    let own = vec![
        PathBuf::from(&plan.sandbox.log_directory),
        place.volumes.join(uid),
    ];
    for directory in log_directories(plan) {
        create(&directory)?;
    }
    for volume in &plan.volumes {
        match volume {
            Volume::EmptyDir { path, group } => {
                create(path)?;
                let mode = if group.is_some() { 0o2777 } else { 0o777 };
                chown(path, None, *group)
                    .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode)))
                    .with_context(|| path.display().to_string())?;
            }
            Volume::HostPath { path, kind } => check_host_path(path, kind)?,
        }
    }
    Ok(Made { directories: own })
}

fn create(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())
}

/// `v1.HostPathType`.
fn check_host_path(path: &Path, kind: &str) -> anyhow::Result<()> {
    let is = match kind {
        "" => true,
        "Directory" => path.is_dir(),
        "File" => path.is_file(),
        "DirectoryOrCreate" => {
            create(path)?;
            true
        }
        "FileOrCreate" => {
            let file = std::fs::File::options()
                .create(true)
                .append(true)
                .open(path);
            drop(file.with_context(|| path.display().to_string())?);
            true
        }
        other => bail!(
            "hostPath {}: type {other} is not known here",
            path.display()
        ),
    };
    if !is {
        bail!("hostPath {} is no {kind}", path.display());
    }
    Ok(())
}
