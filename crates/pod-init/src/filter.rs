//! The filter of system calls (`seccomp(2)`): the five that the rest of the program makes; any
//! other one ends it.

use crate::syscall::{self, Errno, number};

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;

// Offsets in `struct seccomp_data`.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;

const KILL_PROCESS: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7FFF_0000;

// Operations of classic BPF.
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// `struct sock_filter` as one number, on the little-endian machines that this builds for.
const fn instruction(code: u16, jumps: (u8, u8), operand: u32) -> u64 {
    code as u64 | (jumps.0 as u64) << 16 | (jumps.1 as u64) << 24 | (operand as u64) << 32
}

/// Skips the rest of the list when it is this call.
#[allow(
    clippy::cast_possible_truncation,
    reason = "numbers of system calls are below 500"
)]
const fn allow(call: usize, skip: u8) -> u64 {
    instruction(JUMP_IF_EQUAL, (skip, 0), call as u32)
}

static PROGRAM: [u64; 10] = [
    instruction(LOAD_WORD, (0, 0), OFFSET_ARCH),
    instruction(JUMP_IF_EQUAL, (0, 6), AUDIT_ARCH),
    instruction(LOAD_WORD, (0, 0), OFFSET_NUMBER),
    allow(number::RT_SIGTIMEDWAIT, 5),
    allow(number::WAIT4, 4),
    allow(number::WRITE, 3),
    allow(number::CLOSE, 2),
    allow(number::EXIT_GROUP, 1),
    instruction(RETURN, (0, 0), KILL_PROCESS),
    instruction(RETURN, (0, 0), ALLOW),
];

pub(crate) fn load() -> Result<usize, Errno> {
    syscall::load_filter(&PROGRAM)
}
