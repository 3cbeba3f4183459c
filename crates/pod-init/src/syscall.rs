//! System calls of Linux, on x86_64 and aarch64.

use core::arch::asm;
use core::ffi::CStr;

pub(crate) const STDIN: i32 = 0;
pub(crate) const STDOUT: i32 = 1;

pub(crate) const CLONE_NEWNS: usize = 0x0002_0000;
pub(crate) const CLONE_NEWPID: usize = 0x2000_0000;
const CLONE_NEWUSER: usize = 0x1000_0000;
const CLONE_PARENT: usize = 0x0000_8000;
const SIGCHLD: usize = 17;
const WNOHANG: usize = 1;

/// Number of an error, as in `errno(3)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(usize);

impl Errno {
    pub(crate) const INVAL: Self = Self(22);
}

/// Numbers of the calls made here.
#[cfg(target_arch = "x86_64")]
pub(crate) mod number {
    pub(crate) const WRITE: usize = 1;
    pub(crate) const CLOSE: usize = 3;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const CLONE: usize = 56;
    pub(crate) const WAIT4: usize = 61;
    pub(crate) const CHDIR: usize = 80;
    pub(crate) const SETSID: usize = 112;
    pub(crate) const SETGROUPS: usize = 116;
    pub(crate) const SETRESUID: usize = 117;
    pub(crate) const SETRESGID: usize = 119;
    pub(crate) const CAPSET: usize = 126;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 128;
    pub(crate) const PIVOT_ROOT: usize = 155;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const MOUNT: usize = 165;
    pub(crate) const UMOUNT2: usize = 166;
    pub(crate) const EXIT_GROUP: usize = 231;
    pub(crate) const UNSHARE: usize = 272;
    pub(crate) const SETNS: usize = 308;
    pub(crate) const SECCOMP: usize = 317;
    pub(crate) const CLOSE_RANGE: usize = 436;
}

/// Numbers of the calls made here.
#[cfg(target_arch = "aarch64")]
pub(crate) mod number {
    pub(crate) const UMOUNT2: usize = 39;
    pub(crate) const MOUNT: usize = 40;
    pub(crate) const PIVOT_ROOT: usize = 41;
    pub(crate) const CHDIR: usize = 49;
    pub(crate) const CLOSE: usize = 57;
    pub(crate) const WRITE: usize = 64;
    pub(crate) const CAPSET: usize = 91;
    pub(crate) const EXIT_GROUP: usize = 94;
    pub(crate) const UNSHARE: usize = 97;
    pub(crate) const RT_SIGPROCMASK: usize = 135;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 137;
    pub(crate) const SETRESUID: usize = 147;
    pub(crate) const SETRESGID: usize = 149;
    pub(crate) const SETSID: usize = 157;
    pub(crate) const SETGROUPS: usize = 159;
    pub(crate) const PRCTL: usize = 167;
    pub(crate) const CLONE: usize = 220;
    pub(crate) const WAIT4: usize = 260;
    pub(crate) const SETNS: usize = 268;
    pub(crate) const SECCOMP: usize = 277;
    pub(crate) const CLOSE_RANGE: usize = 436;
}

/// Makes a system call.
///
/// # Safety
/// The kernel does what the arguments say; pointers among them must be good for it.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, args: [usize; 5]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the instruction changes the registers that are named here and, through pointers, what
    // the caller vouches for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    check(result)
}

/// Makes a system call.
///
/// # Safety
/// The kernel does what the arguments say; pointers among them must be good for it.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, args: [usize; 5]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the instruction changes the registers that are named here and, through pointers, what
    // the caller vouches for.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") args[0] => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            options(nostack),
        );
    }
    check(result)
}

fn check(result: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&result) {
        Err(Errno(result.unsigned_abs()))
    } else {
        Ok(result.cast_unsigned())
    }
}

/// A call whose arguments are numbers that the kernel checks by itself.
pub(crate) fn call_plain(number: usize, args: [usize; 5]) -> Result<usize, Errno> {
    // SAFETY: callers pass no pointers but null, so the kernel touches no memory of this program.
    unsafe { call(number, args) }
}

fn descriptor(fd: i32) -> usize {
    fd.cast_unsigned() as usize
}

fn address<T: ?Sized>(value: &T) -> usize {
    core::ptr::from_ref(value).cast::<u8>().expose_provenance()
}

/// Ends the program. Nothing comes back, and the loop is only for the compiler.
pub(crate) fn exit(code: u8) -> ! {
    loop {
        let _never = call_plain(number::EXIT_GROUP, [usize::from(code), 0, 0, 0, 0]);
    }
}

pub(crate) fn write(fd: i32, bytes: &[u8]) -> Result<usize, Errno> {
    let args = [descriptor(fd), address(bytes), bytes.len(), 0, 0];
    // SAFETY: the kernel reads as many bytes as the slice has.
    unsafe { call(number::WRITE, args) }
}

pub(crate) fn close(fd: i32) -> Result<usize, Errno> {
    call_plain(number::CLOSE, [descriptor(fd), 0, 0, 0, 0])
}

/// Closes the descriptors from `first` on, all of them.
pub(crate) fn close_from(first: i32) -> Result<usize, Errno> {
    let last = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
    call_plain(number::CLOSE_RANGE, [descriptor(first), last, 0, 0, 0])
}

pub(crate) fn unshare(flags: usize) -> Result<usize, Errno> {
    call_plain(number::UNSHARE, [flags, 0, 0, 0, 0])
}

pub(crate) fn enter_user_namespace(fd: i32) -> Result<usize, Errno> {
    call_plain(number::SETNS, [descriptor(fd), CLONE_NEWUSER, 0, 0, 0])
}

/// Forks; the child has the same parent as this process. Returns 0 in the child, its id here.
pub(crate) fn fork_sibling() -> Result<usize, Errno> {
    // The flags have neither CLONE_VM nor a stack, so this is a fork of a single thread: the child
    // goes on with a copy of everything.
    call_plain(number::CLONE, [CLONE_PARENT | SIGCHLD, 0, 0, 0, 0])
}

/// No groups, and one user and group id everywhere.
pub(crate) fn become_user(id: u32) -> Result<(), Errno> {
    let id = id as usize;
    call_plain(number::SETGROUPS, [0, 0, 0, 0, 0])?;
    call_plain(number::SETRESGID, [id, id, id, 0, 0])?;
    call_plain(number::SETRESUID, [id, id, id, 0, 0])?;
    Ok(())
}

/// `mount(2)` without a source that matters.
pub(crate) fn mount(
    target: &CStr,
    fs_type: &CStr,
    flags: usize,
    data: &CStr,
) -> Result<usize, Errno> {
    let source = c"none";
    let args = [
        source.as_ptr().expose_provenance(),
        target.as_ptr().expose_provenance(),
        fs_type.as_ptr().expose_provenance(),
        flags,
        data.as_ptr().expose_provenance(),
    ];
    // SAFETY: all are C strings, which the kernel reads up to their ends.
    unsafe { call(number::MOUNT, args) }
}

pub(crate) fn change_directory(path: &CStr) -> Result<usize, Errno> {
    let args = [path.as_ptr().expose_provenance(), 0, 0, 0, 0];
    // SAFETY: a C string, which the kernel reads up to its end.
    unsafe { call(number::CHDIR, args) }
}

/// Makes the working directory the root and puts the old root over it.
pub(crate) fn pivot_root_here() -> Result<usize, Errno> {
    let here = c".".as_ptr().expose_provenance();
    // SAFETY: both are C strings, which the kernel reads up to their ends.
    unsafe { call(number::PIVOT_ROOT, [here, here, 0, 0, 0]) }
}

pub(crate) fn unmount_detach(path: &CStr) -> Result<usize, Errno> {
    const MNT_DETACH: usize = 2;
    let args = [path.as_ptr().expose_provenance(), MNT_DETACH, 0, 0, 0];
    // SAFETY: a C string, which the kernel reads up to its end.
    unsafe { call(number::UMOUNT2, args) }
}

pub(crate) fn set_name(name: &CStr) -> Result<usize, Errno> {
    const PR_SET_NAME: usize = 15;
    let args = [PR_SET_NAME, name.as_ptr().expose_provenance(), 0, 0, 0];
    // SAFETY: a C string; the kernel reads up to its end, at most 16 bytes.
    unsafe { call(number::PRCTL, args) }
}

/// Empties the effective, permitted and inheritable sets.
pub(crate) fn drop_capabilities() -> Result<usize, Errno> {
    // `struct __user_cap_header_struct` (version 3, this process) and two empty
    // `struct __user_cap_data_struct`.
    let header = [0x2008_0522_u32, 0];
    let data = [0_u32; 6];
    let args = [address(&header), address(&data), 0, 0, 0];
    // SAFETY: both have the size that version 3 says; the kernel writes to the header only when it
    // does not know the version, and there is only this one.
    unsafe { call(number::CAPSET, args) }
}

/// Blocks every signal that can be blocked.
pub(crate) fn block_signals() -> Result<usize, Errno> {
    const SIG_SETMASK: usize = 2;
    let all = u64::MAX;
    let args = [SIG_SETMASK, address(&all), 0, size_of::<u64>(), 0];
    // SAFETY: the kernel reads a set of the given size and writes no old one.
    unsafe { call(number::RT_SIGPROCMASK, args) }
}

/// A signal that was waiting.
pub(crate) struct Arrived {
    pub(crate) signal: usize,
    /// It was sent with `kill` by a process outside of this PID namespace.
    pub(crate) from_outside: bool,
}

/// Waits for a signal of `set`.
pub(crate) fn wait_signal(set: u64) -> Result<Arrived, Errno> {
    // `siginfo_t` is 128 bytes: signal, error, code, padding, then the sender's process id, which
    // is 0 for a sender that this namespace cannot name.
    let mut info = [0_i32; 32];
    let args = [
        address(&set),
        core::ptr::from_mut(&mut info).expose_provenance(),
        0,
        size_of::<u64>(),
        0,
    ];
    // SAFETY: the kernel reads a set of the given size and writes at most one `siginfo_t`.
    let signal = unsafe { call(number::RT_SIGTIMEDWAIT, args) }?;
    let [_, _, code, _, sender, ..] = info;
    Ok(Arrived {
        signal,
        from_outside: code == 0 && sender == 0,
    })
}

/// Reaps one child; `false` when none has ended.
pub(crate) fn reap_one() -> bool {
    let any = usize::MAX;
    matches!(call_plain(number::WAIT4, [any, 0, WNOHANG, 0, 0]), Ok(pid) if pid != 0)
}

/// Loads a filter for this and later system calls.
pub(crate) fn load_filter(program: &[u64]) -> Result<usize, Errno> {
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    /// `struct sock_fprog`.
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const u64,
    }
    let program = Program {
        length: u16::try_from(program.len()).map_err(|_error| Errno::INVAL)?,
        instructions: program.as_ptr(),
    };
    program.instructions.expose_provenance();
    let args = [SECCOMP_SET_MODE_FILTER, 0, address(&program), 0, 0];
    // SAFETY: the kernel reads a `sock_fprog` and as many instructions of eight bytes as it says.
    unsafe { call(number::SECCOMP, args) }
}
