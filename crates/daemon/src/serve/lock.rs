//! One daemon a `runroot`.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

/// How long a lock is waited for. A daemon that was killed while it started a program may leave a
/// child that has the lock until the program runs.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// Held while the directory is in use; the kernel lets go of it with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Makes `directory` and takes its lock.
///
/// # Errors
/// If another process holds it, or the directory cannot be made.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel has no wait for a file lock that ends with a deadline"
)]
pub(crate) fn take(directory: &Path) -> anyhow::Result<Lock> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let path = directory.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    let end = Instant::now() + PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => {
                std::thread::sleep(PAUSE);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!("{} is in use by another pinpod", directory.display())
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_directory_has_one_user() {
        let directory = tempfile::tempdir().unwrap();
        let lock = super::take(directory.path()).unwrap();
        let error = super::take(directory.path()).unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
        drop(lock);
        super::take(directory.path()).unwrap();
    }
}
