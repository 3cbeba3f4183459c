//! How a process ended: from the kernel's status, to the exit file.

use std::fs;
use std::io;
use std::path::Path;

use pinpod_monitor_api::Exit;
use rustix::process::WaitStatus;

use crate::timestamp;

const SIGKILL: i32 = 9;

/// The exit as of now. `oom` says that the kernel has ended a process of the container for want of
/// memory.
pub(crate) fn from_status(status: WaitStatus, oom: bool) -> Exit {
    let signal = status.terminating_signal();
    let exit_code = match signal {
        Some(signal) => 128 + signal,
        None => status.exit_status().unwrap_or(-1),
    };
    // A shell whose child the kernel killed exits with 137 by itself.
    let killed = exit_code == 128 + SIGKILL;
    Exit {
        exit_code,
        signal,
        finished_at_ns: timestamp::now_ns(),
        oom_killed: killed && oom,
    }
}

/// Writes the exit file: whole, or not at all.
pub(crate) fn write_file(path: &Path, exit: &Exit) -> io::Result<()> {
    let json = serde_json::to_vec(exit)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    fs::write(&temporary, json)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_exit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit.json");
        let exit = Exit {
            exit_code: 137,
            signal: Some(9),
            finished_at_ns: 1,
            oom_killed: true,
        };
        write_file(&path, &exit).unwrap();
        let back: Exit = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(back, exit);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
