//! Command lines, as the monitor or the daemon runs them.

use std::ffi::OsString;
use std::path::Path;

use pinpod_model::ContainerId;

use crate::Runtime;

/// Arguments of the runtime's `create`.
#[derive(Debug, Clone, Copy)]
pub struct CreateArgs<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// Directory with `config.json`.
    pub bundle: &'a Path,
    /// Where the runtime writes the process id of the container's first process.
    pub pid_file: &'a Path,
    /// Where the runtime writes its own log; see [`crate::log_error`].
    pub log: &'a Path,
    /// The socket that takes the terminal, for a container with one.
    pub console_socket: Option<&'a Path>,
    /// Use `chroot` in place of `pivot_root`, for a rootfs on a ramdisk.
    pub no_pivot: bool,
}

/// Arguments of the runtime's `exec`.
#[derive(Debug, Clone, Copy)]
pub struct ExecArgs<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// JSON of the OCI `process`.
    pub process: &'a Path,
    /// Where the runtime writes the process id.
    pub pid_file: &'a Path,
    /// Where the runtime writes its own log.
    pub log: &'a Path,
    /// The socket that takes the terminal, for a process with one.
    pub console_socket: Option<&'a Path>,
    /// Do not stay until the process ends: what the monitor wants.
    pub detach: bool,
}

impl Runtime {
    /// The full command line of `create`.
    #[must_use]
    pub fn create_argv(&self, args: &CreateArgs<'_>) -> Vec<OsString> {
        let mut argv = self.program_argv(Some(args.log));
        argv.push("create".into());
        option(&mut argv, "--bundle", args.bundle);
        option(&mut argv, "--pid-file", args.pid_file);
        if let Some(socket) = args.console_socket {
            option(&mut argv, "--console-socket", socket);
        }
        if args.no_pivot {
            argv.push("--no-pivot".into());
        }
        argv.push(args.id.as_str().into());
        argv
    }

    /// The full command line of `exec`.
    #[must_use]
    pub fn exec_argv(&self, args: &ExecArgs<'_>) -> Vec<OsString> {
        let mut argv = self.program_argv(Some(args.log));
        argv.push("exec".into());
        option(&mut argv, "--process", args.process);
        option(&mut argv, "--pid-file", args.pid_file);
        if let Some(socket) = args.console_socket {
            option(&mut argv, "--console-socket", socket);
        }
        if args.detach {
            argv.push("--detach".into());
        }
        argv.push(args.id.as_str().into());
        argv
    }

    /// The program and its global options.
    pub(crate) fn program_argv(&self, log: Option<&Path>) -> Vec<OsString> {
        let mut argv = vec![self.path.clone().into_os_string()];
        option(&mut argv, "--root", &self.root);
        if let Some(log) = log {
            option(&mut argv, "--log", log);
            argv.extend(["--log-format".into(), "json".into()]);
        }
        if self.systemd_cgroup {
            argv.push("--systemd-cgroup".into());
        }
        argv
    }
}

pub(crate) fn option(argv: &mut Vec<OsString>, name: &str, value: &Path) {
    argv.push(name.into());
    argv.push(value.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(argv: &[OsString]) -> String {
        argv.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn command_lines() {
        let id = ContainerId::generate().unwrap();
        let mut runtime = Runtime::new("runc", "/usr/sbin/runc", "/run/r");
        let create = CreateArgs {
            id: &id,
            bundle: "/b".as_ref(),
            pid_file: "/b/pid".as_ref(),
            log: "/b/log".as_ref(),
            console_socket: None,
            no_pivot: false,
        };
        assert_eq!(
            text(&runtime.create_argv(&create)),
            format!(
                "/usr/sbin/runc --root /run/r --log /b/log --log-format json \
                 create --bundle /b --pid-file /b/pid {id}"
            )
        );
        runtime.systemd_cgroup = true;
        let create = CreateArgs {
            console_socket: Some("/b/s".as_ref()),
            no_pivot: true,
            ..create
        };
        assert_eq!(
            text(&runtime.create_argv(&create)),
            format!(
                "/usr/sbin/runc --root /run/r --log /b/log --log-format json --systemd-cgroup \
                 create --bundle /b --pid-file /b/pid --console-socket /b/s --no-pivot {id}"
            )
        );
        let exec = ExecArgs {
            id: &id,
            process: "/p.json".as_ref(),
            pid_file: "/p.pid".as_ref(),
            log: "/p.log".as_ref(),
            console_socket: None,
            detach: true,
        };
        assert_eq!(
            text(&runtime.exec_argv(&exec)),
            format!(
                "/usr/sbin/runc --root /run/r --log /p.log --log-format json --systemd-cgroup \
                 exec --process /p.json --pid-file /p.pid --detach {id}"
            )
        );
    }
}
