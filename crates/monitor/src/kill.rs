//! Kills an exec'd process with all that it started.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// How often the processes are listed anew, for those that were forked meanwhile.
const ROUNDS: usize = 4;

/// SIGKILL to the process, its descendants, and everything in its session or process group: an OCI
/// runtime makes an exec'd process the leader of a session.
pub(crate) fn kill_tree(root: Pid) {
    let root = root.as_raw_nonzero().get();
    let mut killed: Vec<i32> = Vec::new();
    for _ in 0..ROUNDS {
        let all = processes();
        let mut doomed: Vec<i32> = vec![root];
        loop {
            let before = doomed.len();
            for process in &all {
                let belongs = process.session == root
                    || process.group == root
                    || doomed.contains(&process.parent);
                if belongs && !doomed.contains(&process.pid) {
                    doomed.push(process.pid);
                }
            }
            if doomed.len() == before {
                break;
            }
        }
        doomed.retain(|pid| !killed.contains(pid));
        if doomed.is_empty() {
            return;
        }
        for pid in doomed.iter().filter_map(|&raw| Pid::from_raw(raw)) {
            kill_process(pid, Signal::KILL).ok();
        }
        killed.append(&mut doomed);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
}

fn processes() -> Vec<Entry> {
    let Ok(directory) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = directory.flatten().filter_map(|entry| {
        entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
    });
    pids.filter_map(|pid| parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// Fields 4 to 6 of `/proc/<pid>/stat`; the name before them may hold anything.
fn parse(pid: i32, stat: &str) -> Option<Entry> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(1).map(str::parse);
    let mut next = || fields.next()?.ok();
    Some(Entry {
        pid,
        parent: next()?,
        group: next()?,
        session: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let entry = Entry {
            pid: 5,
            parent: 1,
            group: 2,
            session: 3,
        };
        assert_eq!(parse(5, "5 (a) b) S 1 2 3 0 -1"), Some(entry));
        assert_eq!(parse(5, "5 (a) S 1"), None);
        assert!(
            processes()
                .iter()
                .any(|p| p.pid == rustix::process::getpid().as_raw_nonzero().get())
        );
    }
}
