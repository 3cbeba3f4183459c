//! Making namespaces and pinning them on files, and the way back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pinpod_model::{Classify, ErrorClass};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;

use super::user::{Holder, UserPin};
use super::{NamespaceKind, SysctlError, enter, loopback, sysctl};
use crate::process::{self, ProcessIdentity};
use crate::throwaway;

/// The namespaces of a pod, each to be made new and pinned on the file given. `None` leaves the
/// node's.
#[derive(Debug, Clone, Default)]
pub struct PinRequest {
    /// Network namespace; its loopback interface is brought up.
    pub net: Option<PathBuf>,
    /// IPC namespace.
    pub ipc: Option<PathBuf>,
    /// UTS namespace.
    pub uts: Option<PathBuf>,
    /// User namespace, the owner of the others.
    pub user: Option<UserPin>,
    /// Host name, set when there is a UTS namespace.
    pub hostname: Option<String>,
    /// Kernel parameters and their values; each must belong to one of the new namespaces.
    pub sysctls: Vec<(String, String)>,
}

/// Why namespaces were not pinned. Nothing is left pinned then.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// No thread can be made.
    #[error("cannot run a thread for namespaces")]
    Thread(#[source] io::Error),
    /// `unshare` failed.
    #[error("cannot make new namespaces ({kinds})")]
    Unshare {
        /// Their kinds.
        kinds: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A new namespace cannot be entered to set it up.
    #[error(transparent)]
    Enter(#[from] enter::EnterError),
    /// The user namespace cannot be made or its ids not mapped.
    #[error("cannot make a user namespace with {ids} ids from {host_id}")]
    User {
        /// First user id on the node.
        host_id: u32,
        /// How many.
        ids: u32,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The loopback interface stays down.
    #[error("cannot bring up the loopback interface")]
    Loopback(#[source] io::Error),
    /// The host name was refused.
    #[error("cannot set the host name {hostname:?}")]
    Hostname {
        /// The name.
        hostname: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A kernel parameter was not set.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The directory of the files cannot be made or shared.
    #[error("cannot prepare the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The file exists already.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("cannot make {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The bind mount failed.
    #[error("cannot pin the {kind} namespace on {}", path.display())]
    Bind {
        /// Kind of namespace.
        kind: NamespaceKind,
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The process whose namespace was to be pinned is gone.
    #[error("process {pid} is gone")]
    ProcessGone {
        /// Its id.
        pid: u32,
    },
    /// That process cannot be looked at.
    #[error(transparent)]
    Process(#[from] process::ProcessError),
}

impl Classify for PinError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Sysctl(error) => error.class(),
            Self::Exists { .. } => ErrorClass::AlreadyExists,
            Self::ProcessGone { .. } => ErrorClass::FailedPrecondition,
            // `ENOSPC` is a limit of `/proc/sys/user/max_*_namespaces`.
            Self::Unshare { source, .. } | Self::User { source, .. }
                if source.kind() == io::ErrorKind::StorageFull =>
            {
                ErrorClass::ResourceExhausted
            }
            _ => ErrorClass::Internal,
        }
    }
}

/// Why a namespace stays pinned.
#[derive(Debug, thiserror::Error)]
pub enum UnpinError {
    /// It cannot be unmounted.
    #[error("cannot unmount {}", path.display())]
    Unmount {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The file cannot be removed.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

/// Makes new namespaces, sets them up and pins them. When it fails, nothing is left of them.
///
/// # Errors
/// See [`PinError`].
pub fn pin(request: &PinRequest) -> Result<(), PinError> {
    let mut pinned = Vec::new();
    let result = throwaway::run("pinpod-pin", || match &request.user {
        None => pin_on_thread(request, &mut pinned),
        Some(user) => pin_owned(request, user, &mut pinned),
    })
    .map_err(PinError::Thread)
    .flatten();
    if result.is_err() {
        undo(&pinned);
    }
    result
}

/// Pins a namespace of a running process.
///
/// # Errors
/// See [`PinError`]; [`PinError::ProcessGone`] when it ended first.
pub fn pin_process(
    process: &ProcessIdentity,
    kind: NamespaceKind,
    target: &Path,
) -> Result<(), PinError> {
    let pid = process.pid;
    let Some(_pidfd) = process::open_pidfd(process)? else {
        return Err(PinError::ProcessGone { pid });
    };
    let namespaces = PathBuf::from(format!("/proc/{pid}/ns"));
    let mut pinned = Vec::new();
    let mut result = pin_one(&namespaces, kind, target, &mut pinned);
    // The process may have ended and its id been given to another one before the mount.
    if result.is_ok() && process::identify(pid)? != Some(*process) {
        result = Err(PinError::ProcessGone { pid });
    }
    if result.is_err() {
        undo(&pinned);
    }
    result
}

/// Lets a pinned namespace go and removes its file. It ends when nobody is in it any more. A
/// missing file and one that is not mounted are fine.
///
/// # Errors
/// It cannot be unmounted or the file not removed.
pub fn unpin(path: &Path) -> Result<(), UnpinError> {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    loop {
        match rustix::mount::unmount(path, flags) {
            // Mounted twice is possible after a crash; go on until it is a plain file.
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => {
                return Err(UnpinError::Unmount {
                    path: path.to_owned(),
                    source: errno.into(),
                });
            }
        }
    }
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(UnpinError::Remove {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// The plain case: the thread's own new namespaces.
fn pin_on_thread(request: &PinRequest, pinned: &mut Vec<PathBuf>) -> Result<(), PinError> {
    let kinds = kinds(request);
    unshare(&kinds)?;
    set_up(request, &kinds)?;
    pin_all(Path::new("/proc/thread-self/ns"), request, &kinds, pinned)
}

/// The case with a user namespace: a child made them all, so that it owns them; the thread only
/// visits to set them up.
fn pin_owned(
    request: &PinRequest,
    user: &UserPin,
    pinned: &mut Vec<PathBuf>,
) -> Result<(), PinError> {
    let kinds = kinds(request);
    let mapping = &user.mapping;
    let holder = Holder::spawn(flags(&kinds), &[mapping.uid], &[mapping.gid]);
    let holder = holder.map_err(|source| PinError::User {
        host_id: mapping.uid.host_id,
        ids: mapping.uid.length,
        source,
    })?;
    let namespaces = holder.namespaces();
    let files: Vec<PathBuf> = kinds
        .iter()
        .map(|kind| namespaces.join(kind.as_str()))
        .collect();
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    enter::enter_here(&files)?;
    set_up(request, &kinds)?;
    pin_one(&namespaces, NamespaceKind::User, &user.target, pinned)?;
    pin_all(&namespaces, request, &kinds, pinned)
}

fn kinds(request: &PinRequest) -> Vec<NamespaceKind> {
    [NamespaceKind::Net, NamespaceKind::Ipc, NamespaceKind::Uts]
        .into_iter()
        .filter(|kind| target(request, *kind).is_some())
        .collect()
}

fn target(request: &PinRequest, kind: NamespaceKind) -> Option<&Path> {
    match kind {
        NamespaceKind::Net => request.net.as_deref(),
        NamespaceKind::Ipc => request.ipc.as_deref(),
        NamespaceKind::Uts => request.uts.as_deref(),
        NamespaceKind::User => request.user.as_ref().map(|user| user.target.as_path()),
        NamespaceKind::Pid => None,
    }
}

fn flags(kinds: &[NamespaceKind]) -> UnshareFlags {
    kinds.iter().map(|kind| kind.flag()).collect()
}

fn unshare(kinds: &[NamespaceKind]) -> Result<(), PinError> {
    if kinds.is_empty() {
        return Ok(());
    }
    super::unshare_thread(flags(kinds)).map_err(|source| {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        PinError::Unshare {
            kinds: names.join(", "),
            source,
        }
    })
}

fn set_up(request: &PinRequest, kinds: &[NamespaceKind]) -> Result<(), PinError> {
    if kinds.contains(&NamespaceKind::Net) {
        loopback::bring_up().map_err(PinError::Loopback)?;
    }
    if let Some(hostname) = &request.hostname
        && kinds.contains(&NamespaceKind::Uts)
    {
        rustix::system::sethostname(hostname.as_bytes()).map_err(|errno| PinError::Hostname {
            hostname: hostname.clone(),
            source: errno.into(),
        })?;
    }
    let scope = sysctl::Scope {
        own: kinds,
        user: request.user.as_ref().map(|user| &user.mapping),
    };
    Ok(scope.write_all(&request.sysctls)?)
}

fn pin_all(
    namespaces: &Path,
    request: &PinRequest,
    kinds: &[NamespaceKind],
    pinned: &mut Vec<PathBuf>,
) -> Result<(), PinError> {
    for kind in kinds {
        if let Some(target) = target(request, *kind) {
            pin_one(namespaces, *kind, target, pinned)?;
        }
    }
    Ok(())
}

fn pin_one(
    namespaces: &Path,
    kind: NamespaceKind,
    target: &Path,
    pinned: &mut Vec<PathBuf>,
) -> Result<(), PinError> {
    if let Some(directory) = target.parent() {
        prepare_directory(directory).map_err(|source| PinError::Directory {
            path: directory.to_owned(),
            source,
        })?;
    }
    let path = target.to_owned();
    let made = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(target);
    match made {
        Ok(_) => pinned.push(path.clone()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(PinError::Exists { path });
        }
        Err(source) => return Err(PinError::File { path, source }),
    }
    rustix::mount::mount_bind(namespaces.join(kind.as_str()), target).map_err(|errno| {
        PinError::Bind {
            kind,
            path,
            source: errno.into(),
        }
    })
}

/// Makes the directory and a shared mount of it, as `ip netns add` does, so that an unpin reaches
/// the copies of the mount in other mount namespaces, which would keep the namespace alive.
fn prepare_directory(directory: &Path) -> io::Result<()> {
    let shared = MountPropagationFlags::SHARED;
    match rustix::mount::mount_change(directory, shared) {
        Ok(()) => return Ok(()),
        Err(Errno::NOENT) => fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)?,
        Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    // Two at once would mount it on itself twice; `ip netns` takes the same lock.
    let lock = File::open(directory)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    match rustix::mount::mount_change(directory, shared) {
        Err(Errno::INVAL) => {
            rustix::mount::mount_bind_recursive(directory, directory)?;
            Ok(rustix::mount::mount_change(directory, shared)?)
        }
        other => Ok(other?),
    }
}

/// The way back of a failed pin. Its own failures are not told: the first one is what counts, and
/// the teardown of the pod unpins the same files again.
fn undo(pinned: &[PathBuf]) {
    for path in pinned.iter().rev() {
        unpin(path).ok();
    }
}
