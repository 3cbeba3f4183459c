//! The directory that a layer is made in.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::error::UnpackError;

/// `staging/<n>`, removed when dropped unless it was given away.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    armed: bool,
}

impl Staging {
    /// Makes the directory and `diff` in it. `path` must not exist.
    pub(crate) fn create(path: PathBuf) -> Result<Self, UnpackError> {
        let make = || {
            DirBuilder::new().mode(0o700).create(&path)?;
            let diff = path.join("diff");
            std::fs::create_dir(&diff)?;
            // What the root directory is when the tar does not say.
            std::fs::set_permissions(&diff, std::fs::Permissions::from_mode(0o755))
        };
        match make() {
            Ok(()) => Ok(Self { path, armed: true }),
            Err(source) => {
                // The reason is the error to tell; leftovers are removed at the next start.
                drop(std::fs::remove_dir_all(&path));
                Err(UnpackError::Staging { path, source })
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn open_diff(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::open(
            self.path.join("diff"),
            flags,
            Mode::empty(),
        )?)
    }

    pub(crate) fn error(&self, source: io::Error) -> UnpackError {
        UnpackError::Staging {
            path: self.path.clone(),
            source,
        }
    }

    /// The directory has another owner now.
    pub(crate) fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.armed
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "cannot remove a staging directory");
        }
    }
}
