//! Work done inside of pinned namespaces.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::thread::ThreadNameSpaceType;

use crate::throwaway;

/// Why a namespace cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The file of the namespace cannot be opened.
    #[error("cannot open the namespace {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The file is no namespace, or of a kind that a thread cannot enter.
    #[error("{} is not a namespace that a thread can enter", path.display())]
    NotEnterable {
        /// The file.
        path: PathBuf,
    },
    /// `setns` failed otherwise.
    #[error("cannot enter the namespace {}", path.display())]
    Enter {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// No thread can be made, or the work panicked.
    #[error("cannot run a thread for a namespace")]
    Thread(#[source] io::Error),
}

/// Runs `work` on a thread of its own inside of the namespaces of `paths` (net, ipc, uts; a pid
/// namespace only counts for children). Sockets made there stay in the namespace for good.
///
/// # Errors
/// A namespace cannot be entered; then `work` did not run.
pub fn enter_thread<T: Send>(
    paths: &[&Path],
    work: impl FnOnce() -> T + Send,
) -> Result<T, EnterError> {
    throwaway::run("pinpod-ns", || {
        enter_here(paths)?;
        Ok(work())
    })
    .map_err(EnterError::Thread)?
}

/// Runs `work` inside of one namespace after the other, all on one thread of its own, and gives what
/// it returned for each, in their order: a thread for each would cost more than a short `work`.
///
/// # Errors
/// No thread can be made, or `work` panicked. A namespace that cannot be entered fails alone.
pub fn enter_each<T: Send>(
    paths: &[&Path],
    work: impl Fn() -> T + Sync,
) -> Result<Vec<Result<T, EnterError>>, EnterError> {
    throwaway::run("pinpod-ns", || {
        let each = paths.iter();
        each.map(|path| enter_here(&[path]).map(|()| work()))
            .collect()
    })
    .map_err(EnterError::Thread)
}

/// Moves the calling thread; only for threads that end soon.
pub(crate) fn enter_here(paths: &[&Path]) -> Result<(), EnterError> {
    for path in paths {
        let path = path.to_path_buf();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(source) => return Err(EnterError::Open { path, source }),
        };
        let any = ThreadNameSpaceType::empty();
        match rustix::thread::move_into_thread_name_spaces(file.as_fd(), any) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => return Err(EnterError::NotEnterable { path }),
            Err(errno) => {
                let source = errno.into();
                return Err(EnterError::Enter { path, source });
            }
        }
    }
    Ok(())
}
