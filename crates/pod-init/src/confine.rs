//! Everything is given up, in an order in which no step needs what an earlier one gave up.

use crate::syscall::{Errno, call_plain, number};
use crate::{Step, filter, syscall};

const MS_RDONLY: usize = 1;
const MS_NOSUID: usize = 2;
const MS_NODEV: usize = 4;
const MS_NOEXEC: usize = 8;
const MS_REC: usize = 0x4000;
const MS_PRIVATE: usize = 1 << 18;

const PR_SET_DUMPABLE: usize = 4;
const PR_CAPBSET_DROP: usize = 24;
const PR_SET_NO_NEW_PRIVS: usize = 38;
const PR_CAP_AMBIENT: usize = 47;
const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;

const NOBODY: u32 = 65534;

pub(crate) fn confine() -> Result<(), Step> {
    call_plain(number::SETSID, [0; 5]).map_err(|_error| Step::Session)?;
    syscall::unshare(syscall::CLONE_NEWNS).map_err(|_error| Step::MountNamespace)?;
    empty_root().map_err(|_error| Step::Root)?;
    close_descriptors().map_err(|_error| Step::Descriptors)?;
    empty_bounds().map_err(|_error| Step::Bounds)?;
    syscall::become_user(NOBODY).map_err(|_error| Step::User)?;
    syscall::drop_capabilities().map_err(|_error| Step::Capabilities)?;
    attributes().map_err(|_error| Step::Attributes)?;
    syscall::block_signals().map_err(|_error| Step::Signals)?;
    filter::load().map_err(|_error| Step::Filter)?;
    Ok(())
}

/// A tmpfs with nothing in it becomes the root; all that was mounted goes out of sight.
fn empty_root() -> Result<(), Errno> {
    syscall::mount(c"/", c"", MS_REC | MS_PRIVATE, c"")?;
    let flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    // Any directory that surely exists can be the place; it is only ours to see.
    syscall::mount(c"/proc", c"tmpfs", flags, c"size=4k,nr_inodes=1,mode=555")?;
    syscall::change_directory(c"/proc")?;
    syscall::pivot_root_here()?;
    syscall::unmount_detach(c".")?;
    syscall::change_directory(c"/")?;
    Ok(())
}

/// All but the one that still has to say that we are ready.
fn close_descriptors() -> Result<(), Errno> {
    syscall::close(syscall::STDIN)?;
    syscall::close_from(syscall::STDOUT + 1)?;
    Ok(())
}

fn empty_bounds() -> Result<(), Errno> {
    // The kernel answers EINVAL for the first capability that it does not know.
    for capability in 0..64 {
        match call_plain(number::PRCTL, [PR_CAPBSET_DROP, capability, 0, 0, 0]) {
            Err(Errno::INVAL) => break,
            other => other?,
        };
    }
    let args = [PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0];
    call_plain(number::PRCTL, args)?;
    Ok(())
}

fn attributes() -> Result<(), Errno> {
    call_plain(number::PRCTL, [PR_SET_DUMPABLE, 0, 0, 0, 0])?;
    call_plain(number::PRCTL, [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0])?;
    syscall::set_name(c"pinpod-init")?;
    Ok(())
}
