//! How a process ended: from the kernel's status, to the exit file.

use std::fs;
use std::io;
use std::path::Path;

use pinpod_monitor_api::{Exit, OomFile};
use rustix::process::WaitStatus;

use crate::timestamp;

const SIGKILL: i32 = 9;

/// The exit as of now.
pub(crate) fn from_status(status: WaitStatus, oom: Option<(&OomFile, u64)>) -> Exit {
    let signal = status.terminating_signal();
    let exit_code = match signal {
        Some(signal) => 128 + signal,
        None => status.exit_status().unwrap_or(-1),
    };
    // A shell whose child the kernel killed exits with 137 by itself.
    let killed = exit_code == 128 + SIGKILL;
    let oom_killed =
        killed && oom.is_some_and(|(file, before)| oom_count(file).is_some_and(|now| now > before));
    Exit {
        exit_code,
        signal,
        finished_at_ns: timestamp::now_ns(),
        oom_killed,
    }
}

/// How often the kernel has killed for want of memory; `None` when the file is not there.
pub(crate) fn oom_count(file: &OomFile) -> Option<u64> {
    count_of(&fs::read_to_string(&file.path).ok()?, &file.key)
}

fn count_of(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next()? == key).then(|| words.next()?.parse().ok())?)
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
    fn counters() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        let v2 = "low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(count_of(v1, "oom_kill"), Some(2));
        assert_eq!(count_of(v2, "oom_kill"), Some(1));
        assert_eq!(count_of(v2, "none"), None);
        assert_eq!(count_of("oom_kill", "oom_kill"), None);
    }

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
