//! `pinpod-init`: PID 1 of a pod whose containers share one PID namespace.
//!
//! It confines itself, says so with the byte `R` on its standard output, and then does two things
//! for as long as the pod lives: it reaps processes whose parents have ended, and it ends when the
//! node (not a process of the pod) sends it SIGTERM or SIGINT. The kernel then ends the pod's other
//! processes, as it does whenever a PID 1 ends.
//!
//! What a container of the pod finds at `/proc/1` is an empty read-only root directory, no
//! descriptor, no capability, user 65534, and a filter that leaves five system calls. It is user
//! 65534 because root, even without capabilities, owns most files of a node; it does not need a
//! user that the containers cannot signal, since a signal counts only when the kernel says that it
//! came from outside of the namespace.
//!
//! Called with an argument, it is first outside of the pod: it enters the user namespace that its
//! standard input is, makes the PID namespace there, forks PID 1 into it as a child of its own
//! parent, writes `P` and the process id, and ends. A thread of the daemon could do all of that but
//! the first step.
//!
//! There is no memory allocator, no C library and, but for a debug build, no standard library. A
//! failed step ends the program with the number of the step as its exit code, see [`Step`].
#![cfg_attr(panic = "abort", no_std)]
#![no_main]
#![allow(
    unsafe_code,
    reason = "the program is system calls and an entry point, and has no library that could hold them"
)]

mod confine;
mod filter;
mod reap;
mod start;
mod syscall;

/// The step that failed, which is the exit code.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Step {
    /// Entering the pod's user namespace.
    UserNamespace = 10,
    /// Making the PID namespace and forking into it.
    Fork = 11,
    /// Telling the parent.
    Tell = 12,
    /// A session of its own.
    Session = 13,
    /// A mount namespace of its own.
    MountNamespace = 14,
    /// The empty root directory.
    Root = 15,
    /// Closing descriptors.
    Descriptors = 16,
    /// Emptying the bounding and ambient sets of capabilities.
    Bounds = 17,
    /// Becoming user 65534.
    User = 18,
    /// Emptying the other sets of capabilities.
    Capabilities = 19,
    /// `no_new_privs`, not dumpable, the name.
    Attributes = 20,
    /// Blocking signals.
    Signals = 21,
    /// The filter of system calls.
    Filter = 22,
}

/// Everything, from the entry point on.
fn run(argument_count: usize) -> Result<(), Step> {
    if argument_count > 1 {
        enter_user_namespace()?;
    }
    confine::confine()?;
    tell(b"R")?;
    syscall::close(syscall::STDOUT).map_err(|_error| Step::Descriptors)?;
    reap::reap_until_told_to_end();
    Ok(())
}

/// Moves the rest of the program into a new process: PID 1 of a PID namespace that the user
/// namespace owns. Does not return in the old one.
fn enter_user_namespace() -> Result<(), Step> {
    syscall::enter_user_namespace(syscall::STDIN).map_err(|_error| Step::UserNamespace)?;
    syscall::become_user(0).map_err(|_error| Step::UserNamespace)?;
    syscall::unshare(syscall::CLONE_NEWPID).map_err(|_error| Step::Fork)?;
    let pid = syscall::fork_sibling().map_err(|_error| Step::Fork)?;
    if pid == 0 {
        return Ok(());
    }
    let [a, b, c, d, ..] = pid.to_le_bytes();
    tell(&[b'P', a, b, c, d])?;
    syscall::exit(0)
}

fn tell(bytes: &[u8]) -> Result<(), Step> {
    match syscall::write(syscall::STDOUT, bytes) {
        Ok(count) if count == bytes.len() => Ok(()),
        _ => Err(Step::Tell),
    }
}

#[cfg(panic = "abort")]
#[panic_handler]
fn end_on_panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    syscall::exit(99)
}
