//! A user namespace and those owned by it. A thread of a larger process cannot make one, so a child
//! is forked that does nothing but hold the new namespaces until they are pinned.
#![allow(unsafe_code, reason = "fork with namespaces: clone has no safe form")]

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use pinpod_model::{IdMapping, UserNamespace};
use rustix::thread::UnshareFlags;

/// A user namespace to make and pin.
#[derive(Debug, Clone)]
pub struct UserPin {
    /// File to pin it on.
    pub target: PathBuf,
    /// Its ids.
    pub mapping: UserNamespace,
}

/// A new user namespace with these ids that no process is in and no file holds: for mounts, which
/// keep the mapping for themselves.
///
/// # Errors
/// There can be no child or no further namespace, or the kernel refuses the mapping (`EINVAL` for
/// ranges that overlap).
pub fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> io::Result<OwnedFd> {
    let holder = Holder::spawn(UnshareFlags::empty(), uids, gids)?;
    Ok(File::open(holder.namespaces().join("user"))?.into())
}

/// A child in new namespaces; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Holder {
    pid: libc::pid_t,
    release: Option<PipeWriter>,
}

impl Holder {
    /// Forks a child into a new user namespace and into those of `flags`, which it owns, and maps
    /// its ids.
    pub(super) fn spawn(
        flags: UnshareFlags,
        uids: &[IdMapping],
        gids: &[IdMapping],
    ) -> io::Result<Self> {
        let (wait, release) = io::pipe()?;
        let flags = libc::c_ulong::from((flags | UnshareFlags::NEWUSER).bits())
            | libc::c_ulong::try_from(libc::SIGCHLD).unwrap_or_default();
        let (none, wait_fd, release_fd) = (0_usize, wait.as_raw_fd(), release.as_raw_fd());
        // SAFETY: without CLONE_VM and with no stack this is fork: the child runs on a copy. It may
        // only make system calls, as another thread may have held a lock of the allocator;
        // `hold` makes nothing else.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
        match pid {
            -1 => return Err(io::Error::last_os_error()),
            0 => hold(wait_fd, release_fd),
            _ => {}
        }
        drop::<PipeReader>(wait);
        let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
        let holder = Self {
            pid,
            release: Some(release),
        };
        write_map(pid, "uid_map", uids)?;
        write_map(pid, "gid_map", gids)?;
        Ok(holder)
    }

    /// Directory of its namespaces.
    pub(super) fn namespaces(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns", self.pid))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.release.take());
        // SAFETY: the status pointer may be null, and the child is ours and not yet reaped.
        while unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) } == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
}

/// The child's whole life: wait until the parent closes its end (or dies), then end.
fn hold(wait: libc::c_int, release: libc::c_int) -> ! {
    let mut byte = 0_u8;
    // SAFETY: closes the child's own copy of the writing end, so that the read can end.
    unsafe { libc::close(release) };
    // SAFETY: reads at most one byte into a variable that lives here.
    unsafe { libc::read(wait, (&raw mut byte).cast(), 1) };
    // SAFETY: ends the child without running anything of the copied parent.
    unsafe { libc::_exit(0) }
}

/// The kernel takes a map in one write only, and at most 340 lines.
fn write_map(pid: libc::pid_t, file: &str, maps: &[IdMapping]) -> io::Result<()> {
    let line = |map: &IdMapping| format!("{} {} {}\n", map.container_id, map.host_id, map.length);
    let lines: String = maps.iter().map(line).collect();
    std::fs::write(format!("/proc/{pid}/{file}"), lines)
}
