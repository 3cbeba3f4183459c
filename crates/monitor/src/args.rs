//! The command line: `--pod-dir PATH` or `--version`.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Print the version.
    Version,
    /// Be the monitor of the pod with this directory.
    Run {
        /// Where the socket goes.
        pod_dir: PathBuf,
    },
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Action, String> {
    let usage = "usage: pinpod-monitor --pod-dir PATH | --version";
    let action = match arguments.next() {
        Some(first) if first == "--version" => Action::Version,
        Some(first) if first == "--pod-dir" => match arguments.next() {
            Some(path) => Action::Run {
                pod_dir: path.into(),
            },
            None => return Err(usage.to_owned()),
        },
        _ => return Err(usage.to_owned()),
    };
    if arguments.next().is_some() {
        Err(usage.to_owned())
    } else {
        Ok(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let parse = |line: &str| parse(line.split_whitespace().map(OsString::from)).ok();
        assert_eq!(parse("--version"), Some(Action::Version));
        assert_eq!(
            parse("--pod-dir /p"),
            Some(Action::Run {
                pod_dir: "/p".into()
            })
        );
        for bad in ["", "--pod-dir", "--pod-dir /p x", "/p", "--version x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
