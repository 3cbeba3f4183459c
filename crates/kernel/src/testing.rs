//! For tests as root: a thread with mounts of its own, so that the machine's stay as they are.

use std::path::Path;

use rustix::thread::UnshareFlags;

use crate::{mount, namespace, throwaway};

/// Runs `test` on a thread in a private mount namespace; its child processes and threads are in it
/// too. A panic in it is one here.
pub(crate) fn with_private_mounts(test: impl FnOnce() + Send) {
    throwaway::run("private-mounts", || {
        namespace::unshare_thread(UnshareFlags::FS | UnshareFlags::NEWNS).unwrap();
        mount::make_private(Path::new("/"), true).unwrap();
        test();
    })
    .unwrap();
}

/// Standard output of a program that succeeds.
#[allow(clippy::disallowed_methods, reason = "a look from outside")]
pub(crate) fn output(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(args)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}
