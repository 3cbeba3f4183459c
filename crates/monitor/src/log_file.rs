//! The log of one container on disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::log::Lines;
use crate::poller::Channel;
use crate::{complain, timestamp};

/// Where output goes. Without a path it is thrown away.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: Option<PathBuf>,
    file: Option<File>,
    stdout: Lines,
    stderr: Lines,
    /// Entries that could not be written.
    lost: u64,
    /// The last write ended inside an entry.
    torn: bool,
}

impl LogFile {
    /// Opens the log, to append.
    pub(crate) fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let file = path.as_deref().map(append_to).transpose()?;
        let (stdout, stderr) = (Lines::new("stdout"), Lines::new("stderr"));
        Ok(Self {
            path,
            file,
            stdout,
            stderr,
            lost: 0,
            torn: false,
        })
    }

    /// Opens the path again; the old file stays in use when that fails.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = Some(append_to(path)?);
            self.torn = false;
        }
        Ok(())
    }

    /// Entries that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Writes what `data` completes.
    pub(crate) fn push(&mut self, channel: Channel, data: &[u8]) {
        self.append(channel, Some(data));
    }

    /// The stream has ended.
    pub(crate) fn finish(&mut self, channel: Channel) {
        self.append(channel, None);
    }

    fn append(&mut self, channel: Channel, data: Option<&[u8]>) {
        if self.file.is_none() {
            return;
        }
        let time = timestamp::format(timestamp::now_ns());
        let mut rest = data.unwrap_or_default();
        let mut out = Vec::new();
        loop {
            out.clear();
            out.extend(self.torn.then_some(b'\n'));
            let lines = if channel == Channel::Stderr {
                &mut self.stderr
            } else {
                &mut self.stdout
            };
            rest = lines.push(&time, rest, &mut out);
            if data.is_none() {
                lines.finish(&time, &mut out);
            }
            if out.len() > usize::from(self.torn) {
                self.write(&out);
            }
            if rest.is_empty() {
                return;
            }
        }
    }

    /// One write for a batch of entries. When the disk is full they are counted as lost and the next ones
    /// are tried again: the container runs on.
    fn write(&mut self, entries: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let mut written = 0;
        let error = loop {
            match file.write(&entries[written..]) {
                Ok(0) => break io::Error::from(io::ErrorKind::WriteZero),
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
            if written == entries.len() {
                self.torn = false;
                return;
            }
        };
        if written > 0 {
            self.torn = !entries[..written].ends_with(b"\n");
        }
        let lost = entries[written..]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count();
        if self.lost == 0 {
            let path = self.path.as_deref().unwrap_or(Path::new("")).display();
            complain(&format!("log entries of {path} are lost: {error}"));
        }
        self.lost = self
            .lost
            .saturating_add(u64::try_from(lost).unwrap_or(u64::MAX));
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_costs_entries_and_nothing_else() {
        let mut log = LogFile::open(Some("/dev/full".into())).unwrap();
        log.push(Channel::Stdout, b"a\nb\n");
        assert_eq!((log.lost(), log.torn), (2, false));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        log.path = Some(path.clone());
        log.reopen().unwrap();
        log.push(Channel::Stderr, b"c\n");
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .ends_with("Z stderr F c\n")
        );
    }

    #[test]
    fn a_torn_entry_ends_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(Some(path.clone())).unwrap();
        log.torn = true;
        log.push(Channel::Stdout, b"a\n");
        log.push(Channel::Stdout, b"b");
        log.finish(Channel::Stdout);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(|l| l.get(31..).unwrap_or("")).collect();
        assert_eq!(lines, ["", "stdout F a", "stdout P b"]);
    }
}
