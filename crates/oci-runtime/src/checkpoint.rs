//! Checkpoint and restore through criu, where the runtime, criu and the kernel can.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use pinpod_command::{Command, RunError};
use pinpod_model::ContainerId;

use crate::argv::option;
use crate::{CreateArgs, Kind, Operation, Runtime, RuntimeError};

/// How long criu may take to say whether this kernel will do.
const CHECK_DEADLINE: Duration = Duration::from_secs(30);
/// How long a checkpoint may take. To kill criu in the middle of one can harm the container, so
/// this is for what hangs for ever.
const CHECKPOINT_DEADLINE: Duration = Duration::from_secs(3600);

/// Directories of a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointDirs<'a> {
    /// Criu's images.
    pub images: &'a Path,
    /// Criu's log, `dump.log` or `restore.log`.
    pub work: &'a Path,
}

impl Runtime {
    /// What keeps this runtime from checkpoints, as a sentence; `None` when nothing does.
    pub async fn lacks_for_checkpoint(&self) -> Option<String> {
        match self.kind {
            Kind::Runc => {}
            Kind::Crun => {
                let version = Command::new(&self.path).arg("--version");
                let said = version.run(CHECK_DEADLINE).await;
                let said = said.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
                if !said.is_ok_and(|said| said.contains("+CRIU")) {
                    return Some(format!("{} was built without criu", self.path.display()));
                }
            }
            Kind::Youki => return Some("youki restores into no namespaces of a pod".to_owned()),
        }
        match Command::new("criu").arg("check").run(CHECK_DEADLINE).await {
            Ok(output) if output.status.success() => None,
            Ok(output) => {
                let said = [output.stderr, output.stdout].concat();
                let said = String::from_utf8_lossy(&said).into_owned();
                let why = first_error(&said).unwrap_or_else(|| said.trim().to_owned());
                Some(format!("criu does not work with this kernel: {why}"))
            }
            Err(RunError::NotFound { .. }) => Some("the program criu is not installed".to_owned()),
            Err(error) => Some(format!("criu check: {error}")),
        }
    }

    /// Writes an image of a container's processes, which run on.
    ///
    /// # Errors
    /// [`RuntimeError`]; the reason in detail is in criu's log.
    pub async fn checkpoint(
        &self,
        id: &ContainerId,
        dirs: CheckpointDirs<'_>,
    ) -> Result<(), RuntimeError> {
        let patient = Self {
            deadline: CHECKPOINT_DEADLINE,
            ..self.clone()
        };
        let arguments = |command: Command| {
            command
                .arg("--image-path")
                .arg(dirs.images)
                .arg("--work-path")
                .arg(dirs.work)
                .args(["--leave-running", "--tcp-established", "--file-locks"])
                .arg(id.as_str())
        };
        patient
            .run(Operation::Checkpoint, id, arguments)
            .await
            .map(drop)
    }

    /// The full command line of `restore`, which creates and starts a container in one.
    #[must_use]
    pub fn restore_argv(&self, args: &CreateArgs<'_>, dirs: CheckpointDirs<'_>) -> Vec<OsString> {
        let mut argv = self.program_argv(Some(args.log));
        argv.push("restore".into());
        argv.push("--detach".into());
        option(&mut argv, "--bundle", args.bundle);
        option(&mut argv, "--pid-file", args.pid_file);
        option(&mut argv, "--image-path", dirs.images);
        option(&mut argv, "--work-path", dirs.work);
        if let Some(socket) = args.console_socket {
            option(&mut argv, "--console-socket", socket);
        }
        if args.no_pivot {
            argv.push("--no-pivot".into());
        }
        argv.extend(["--tcp-established".into(), "--file-locks".into()]);
        argv.push(args.id.as_str().into());
        argv
    }
}

/// What criu calls an error and goes on after: it could not raise its limit of open files.
const HARMLESS: &str = "RLIMIT_NOFILE for self";

/// The first error that criu reports, without where in its source that was.
#[must_use]
pub fn first_error(log: &str) -> Option<String> {
    let mut errors = log.lines().filter(|line| line.contains("Error ("));
    let line = errors.find(|line| !line.contains(HARMLESS))?;
    let (_, rest) = line.split_once("Error (")?;
    let (_, message) = rest.split_once("): ")?;
    Some(message.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_in_criu_s_log() {
        let check = "Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds\n\
                     Error (criu/vdso.c:613): vdso: Failed to fill self vdso symtable\n";
        let dump = "(00.1) Dumping\n(00.2) Error (criu/sk-unix.c:1): unix: no peer\nx\n";
        let restore = "(0.1) Error (criu/rlimit.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: x\n\
                       (0.2)      1: Error (criu/namespaces.c:2): Can't setns 17/net: y\n";
        for (log, reason) in [
            (check, Some("vdso: Unexpected rt vDSO area bounds")),
            (dump, Some("unix: no peer")),
            (restore, Some("Can't setns 17/net: y")),
            ("all is well\n", None),
        ] {
            assert_eq!(first_error(log).as_deref(), reason);
        }
    }

    #[test]
    fn the_command_line_of_a_restore() {
        let id = ContainerId::generate().unwrap();
        let runtime = Runtime::new("runc", "/usr/sbin/runc", "/run/r");
        let args = CreateArgs {
            id: &id,
            bundle: "/b".as_ref(),
            pid_file: "/b/pid".as_ref(),
            log: "/b/log".as_ref(),
            console_socket: None,
            no_pivot: false,
        };
        let dirs = CheckpointDirs {
            images: "/c".as_ref(),
            work: "/w".as_ref(),
        };
        let argv = runtime.restore_argv(&args, dirs);
        assert_eq!(
            argv.join(" ".as_ref()).into_string().unwrap(),
            format!(
                "/usr/sbin/runc --root /run/r --log /b/log --log-format json restore --detach \
                 --bundle /b --pid-file /b/pid --image-path /c --work-path /w \
                 --tcp-established --file-locks {id}"
            )
        );
    }
}
