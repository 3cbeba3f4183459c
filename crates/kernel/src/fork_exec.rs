//! A program started inside cgroups. Writing another process' id to `cgroup.procs` waits for every
//! CPU to pass through the scheduler (7 to 20 ms); a child that is born in the cgroup of version 2,
//! and writes itself to the `tasks` of version 1, waits for nobody.
#![allow(
    unsafe_code,
    reason = "clone3 and what may be called between it and execve have no safe form"
)]

use std::ffi::{CString, c_char, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{mem, ptr};

/// First byte of what a child says that could not become the program: then the step ([`EXEC`], or
/// the number of the cgroup counted from 1) and errno.
pub(crate) const FAILED: u8 = b'E';
/// The step after the cgroups.
pub(crate) const EXEC: u8 = 0;

/// `linux/sched.h`; libc's constant has a type too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What to start, without environment, in the root directory.
#[derive(Debug)]
pub(crate) struct ForkExec<'a> {
    pub(crate) program: &'a Path,
    pub(crate) argument: Option<&'a str>,
    pub(crate) stdin: BorrowedFd<'a>,
    /// Also gets the child's failure, as [`FAILED`] says.
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
    /// `cgroup.procs` of each cgroup to be in, at most one a hierarchy.
    pub(crate) cgroup_procs: &'a [PathBuf],
    /// It is PID 1 of a new PID namespace.
    pub(crate) pid_namespace: bool,
}

/// Everything that the child needs, made before it: it must not allocate, as another thread may
/// have held the allocator's lock when it was copied.
struct Prepared {
    program: CString,
    argv: Vec<*const c_char>,
    envp: [*const c_char; 1],
    /// `tasks` files of version 1 with the number of their cgroup in the request.
    tasks: Vec<(u8, CString)>,
    descriptors: [c_int; 3],
    /// Keeps what `argv` points into.
    _argument: Option<CString>,
}

/// Forks and runs the program; its process id.
///
/// # Errors
/// A path or argument has a zero byte, a cgroup is not there, or there can be no child.
pub(crate) fn fork_exec(request: &ForkExec<'_>) -> io::Result<u32> {
    let (prepared, unified) = prepare(request)?;
    let mut flags = 0;
    if request.pid_namespace {
        flags |= libc::CLONE_NEWPID as u64;
    }
    if unified.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    // SAFETY: the structure is plain numbers, all of which may be 0.
    let mut arguments: libc::clone_args = unsafe { mem::zeroed() };
    arguments.flags = flags;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(directory) = &unified {
        arguments.cgroup = u64::try_from(directory.as_raw_fd()).map_err(io::Error::other)?;
    }
    // SAFETY: without CLONE_VM and with no stack this is fork: the child runs on a copy. It may
    // only make system calls, and `child` makes nothing else.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            mem::size_of::<libc::clone_args>(),
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => child(&prepared),
        _ => u32::try_from(pid).map_err(io::Error::other),
    }
}

fn prepare(request: &ForkExec<'_>) -> io::Result<(Prepared, Option<File>)> {
    let (mut tasks, mut unified) = (Vec::new(), None);
    for (index, procs) in request.cgroup_procs.iter().enumerate() {
        let file = procs.with_file_name("tasks");
        if file.exists() {
            let number = u8::try_from(index + 1).map_err(io::Error::other)?;
            tasks.push((number, c_string(file.as_os_str().as_bytes())?));
        } else {
            let directory = procs.parent().unwrap_or(Path::new("/"));
            unified = Some(File::open(directory)?);
        }
    }
    let program = c_string(request.program.as_os_str().as_bytes())?;
    let argument = match request.argument {
        Some(argument) => Some(c_string(argument.as_bytes())?),
        None => None,
    };
    let mut argv = vec![program.as_ptr()];
    argv.extend(argument.as_ref().map(|argument| argument.as_ptr()));
    argv.push(ptr::null());
    let streams = [request.stdin, request.stdout, request.stderr];
    let prepared = Prepared {
        program,
        argv,
        envp: [ptr::null()],
        tasks,
        descriptors: streams.map(|stream| stream.as_raw_fd()),
        _argument: argument,
    };
    Ok((prepared, unified))
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(io::Error::from)
}

/// The child until it is the program.
fn child(prepared: &Prepared) -> ! {
    for (number, file) in &prepared.tasks {
        // SAFETY: the name ends with a zero byte.
        let tasks = unsafe { libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
        // SAFETY: writes one byte of a constant. 0 is the writer itself.
        if tasks == -1 || unsafe { libc::write(tasks, c"0".as_ptr().cast(), 1) } == -1 {
            fail(prepared, *number);
        }
    }
    for (target, source) in (0..).zip(prepared.descriptors) {
        // SAFETY: numbers only. None of them is below 3 (those are open in the daemon), so none is
        // replaced before it is copied, and the copy lives on in the program.
        if unsafe { libc::dup2(source, target) } == -1 {
            fail(prepared, EXEC);
        }
    }
    // SAFETY: the path ends with a zero byte. The root directory is always there.
    unsafe { libc::chdir(c"/".as_ptr()) };
    // SAFETY: no handler is given. Rust ignores this signal, and the program would inherit that.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: both lists end with a null pointer and all strings with a zero byte.
    unsafe {
        libc::execve(
            prepared.program.as_ptr(),
            prepared.argv.as_ptr(),
            prepared.envp.as_ptr(),
        )
    };
    fail(prepared, EXEC)
}

fn fail(prepared: &Prepared, step: u8) -> ! {
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    let [a, b, c, d] = errno.to_le_bytes();
    let words = [FAILED, step, a, b, c, d];
    // SAFETY: writes from an array that lives here. If nobody reads it, the exit code remains.
    unsafe { libc::write(prepared.descriptors[1], words.as_ptr().cast(), words.len()) };
    // SAFETY: ends the child without running anything of the copied parent.
    unsafe { libc::_exit(127) }
}
