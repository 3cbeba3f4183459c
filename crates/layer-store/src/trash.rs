//! Directories that nobody needs any more: renamed away at once, deleted when there is time.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Moves a directory of the store into its trash; one that is not there is gone already.
pub(crate) fn throw(root: &Path, dir: &Path) -> io::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let place = root.join("trash").join(format!("{name}.{number}"));
        match std::fs::rename(dir, place) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Left by an earlier process that counted from zero too.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Starts a thread that deletes what is in the trash. What it cannot delete stays for the next
/// time.
pub(crate) fn empty(root: &Path) {
    let trash = root.join("trash");
    let work = move || {
        for entry in std::fs::read_dir(&trash).into_iter().flatten().flatten() {
            if let Err(error) = std::fs::remove_dir_all(entry.path())
                // Two such threads may meet.
                && error.kind() != io::ErrorKind::NotFound
            {
                let path = entry.path();
                tracing::warn!(path = %path.display(), %error, "cannot delete from the trash");
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("trash".into()).spawn(work) {
        tracing::warn!(%error, "cannot start the thread that empties the trash");
    }
}
