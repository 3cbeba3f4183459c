//! The entry point.

use core::arch::naked_asm;

use crate::syscall;

/// Where the kernel starts the program: the stack pointer is at the number of arguments.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "xor ebp, ebp",
        "mov rdi, [rsp]",
        "and rsp, -16",
        "call {main}",
        "ud2",
        main = sym main,
    )
}

/// Where the kernel starts the program: the stack pointer is at the number of arguments.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "mov x29, xzr",
        "mov x30, xzr",
        "ldr x0, [sp]",
        "bl {main}",
        "brk #1",
        main = sym main,
    )
}

extern "C" fn main(argument_count: usize) -> ! {
    match crate::run(argument_count) {
        Ok(()) => syscall::exit(0),
        Err(step) => syscall::exit(step as u8),
    }
}
