//! The two duties of the running program.

use crate::syscall;

const SIGINT: usize = 2;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;

/// Reaps children until someone outside of the pod asks for the end.
pub(crate) fn reap_until_told_to_end() {
    let set = bit(SIGINT) | bit(SIGTERM) | bit(SIGCHLD);
    loop {
        // An error is an interruption by a stop and a continue: wait again.
        let Ok(arrived) = syscall::wait_signal(set) else {
            continue;
        };
        match arrived.signal {
            SIGCHLD => while syscall::reap_one() {},
            SIGINT | SIGTERM if arrived.from_outside => return,
            _ => {}
        }
    }
}

const fn bit(signal: usize) -> u64 {
    1 << (signal - 1)
}
