//! The soft limit of open files: the daemon uses all that it is allowed, programs get what the
//! daemon was started with.
//!
//! A soft limit of 1024 is usual, for programs that call select(2). The daemon holds two
//! descriptors for each stream of exec, attach and port-forward, so it needs more; what it starts
//! must not get the higher limit, as containers inherit it. Limits belong to a whole process, so
//! what the limit was is kept once for it.

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises this process' soft limit of open files to the hard one, and returns it; `None` is
/// without limit. Programs that are started later get the old one back.
///
/// # Errors
/// The kernel's; the limit is as it was then.
pub fn raise_open_files() -> std::io::Result<Option<u64>> {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    // The first is the one that the process was started with.
    BEFORE.get_or_init(|| before);
    Ok(raised.current)
}

/// Gives a program that was just started the limit that the daemon had. It may have begun already;
/// a service has not begun its work before it is asked to.
pub(crate) fn give_back(program: Option<u32>) {
    let pid = program.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let (Some(pid), Some(before)) = (pid, BEFORE.get()) {
        // A program that has ended needs none; another keeps the higher one, which few mind.
        prlimit(Some(pid), Resource::Nofile, *before).ok();
    }
}
