//! A thread that lives for one closure, for calls that change the thread itself.

use std::io;
use std::thread;

/// Enough for a closure that formats paths and makes system calls; the default of 2 MiB would be
/// mapped and unmapped for each pod.
const STACK_BYTES: usize = 256 * 1024;

/// Runs `work` on a new thread that ends before this returns.
///
/// # Errors
/// The thread cannot be made, or `work` panicked.
pub(crate) fn run<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)?;
        thread
            .join()
            .map_err(|_panic| io::Error::other("the thread panicked"))
    })
}
