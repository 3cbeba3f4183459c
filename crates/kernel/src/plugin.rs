//! Starting a program that talks over a socket which it inherits, as NRI plugins do.
#![allow(
    unsafe_code,
    reason = "a descriptor is put into its place between fork and exec"
)]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{self, ProcessIdentity};

/// The number under which the program finds its socket.
pub const SOCKET_FD: i32 = 3;

/// Starts `program` with `socket` as descriptor [`SOCKET_FD`] and no environment but `PATH` and
/// `env`. Its stdin and stdout are `/dev/null`, its stderr is ours, and it has a process group of its
/// own. It is a child of this process: see [`process::reap`].
///
/// # Errors
/// It cannot be run.
#[allow(
    clippy::disallowed_methods,
    reason = "the helper that runs programs hands over nothing but stdio"
)]
pub fn spawn_with_socket(
    program: &Path,
    env: &[(&str, &str)],
    socket: OwnedFd,
) -> io::Result<ProcessIdentity> {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(env.iter().copied())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let fd = socket.as_raw_fd();
    let place = move || {
        let done = if fd == SOCKET_FD {
            // SAFETY: takes numbers only; may be called between fork and exec (signal-safety(7)).
            unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }
        } else {
            // SAFETY: takes numbers only; may be called between fork and exec (signal-safety(7)).
            // What the number meant before is of no use to the program, as it would not be inherited.
            unsafe { libc::dup2(fd, SOCKET_FD) }
        };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: the closure allocates nothing, takes no lock and makes one system call.
    unsafe { command.pre_exec(place) };
    let mut child = command.spawn()?;
    drop(socket);
    match process::identify(child.id()) {
        Ok(Some(identity)) => Ok(identity),
        Ok(None) => {
            child.wait()?;
            Err(io::ErrorKind::NotFound.into())
        }
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(io::Error::other(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_socket_is_descriptor_three() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("plugin");
        let text = "#!/bin/sh\nfor fd in /proc/self/fd/*; do echo ${fd##*/}; done >&3\n\
                    echo $NRI_PLUGIN_NAME $HOME >&3\n";
        std::fs::write(&program, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let env = [("NRI_PLUGIN_NAME", "a")];
        let identity = spawn_with_socket(&program, &env, theirs.into()).unwrap();
        let mut said = String::new();
        ours.read_to_string(&mut said).unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert!(lines.contains(&"3") && lines.last() == Some(&"a"), "{said}");
        let pidfd = process::open_pidfd(&identity).unwrap();
        if let Some(pidfd) = pidfd {
            process::wait_exit(&pidfd, std::time::Duration::from_secs(10)).unwrap();
        }
        process::reap(identity.pid).unwrap();
        let missing = Path::new("/nonexistent/plugin");
        let (_, theirs) = UnixStream::pair().unwrap();
        assert!(spawn_with_socket(missing, &[], theirs.into()).is_err());
    }
}
