//! The command line: `--pod-dir PATH [--root UID:GID]` or `--version`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::stdio::Root;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Print the version.
    Version,
    /// Be the monitor of the pod with this directory.
    Run {
        /// Where the socket goes.
        pod_dir: PathBuf,
        /// Root of the pod's user namespace.
        root: Option<Root>,
    },
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Action, String> {
    let usage = || "usage: pinpod-monitor --pod-dir PATH [--root UID:GID] | --version".to_owned();
    let first = arguments.next().ok_or_else(usage)?;
    let action = if first == "--version" {
        Action::Version
    } else if first == "--pod-dir" {
        let pod_dir = arguments.next().ok_or_else(usage)?.into();
        let root = match arguments.next() {
            None => None,
            Some(option) if option == "--root" => {
                let ids = arguments.next().ok_or_else(usage)?;
                Some(root(&ids.to_string_lossy()).ok_or_else(usage)?)
            }
            Some(_) => return Err(usage()),
        };
        Action::Run { pod_dir, root }
    } else {
        return Err(usage());
    };
    if arguments.next().is_some() {
        Err(usage())
    } else {
        Ok(action)
    }
}

fn root(ids: &str) -> Option<Root> {
    let (user, group) = ids.split_once(':')?;
    Some(Root {
        user: user.parse().ok()?,
        group: group.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let parse = |line: &str| parse(line.split_whitespace().map(OsString::from)).ok();
        let run = |root| {
            Some(Action::Run {
                pod_dir: "/p".into(),
                root,
            })
        };
        assert_eq!(parse("--version"), Some(Action::Version));
        assert_eq!(parse("--pod-dir /p"), run(None));
        let (user, group) = (200_000, 300_000);
        assert_eq!(
            parse("--pod-dir /p --root 200000:300000"),
            run(Some(Root { user, group }))
        );
        for bad in [
            "",
            "--pod-dir",
            "--pod-dir /p x",
            "/p",
            "--version x",
            "--pod-dir /p --root",
            "--pod-dir /p --root 1",
            "--pod-dir /p --root a:1",
            "--pod-dir /p --root 1:1 x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
