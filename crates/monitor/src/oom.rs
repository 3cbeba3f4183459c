//! How often the kernel has ended a process of a container for want of memory.
//!
//! systemd removes a scope as soon as it is empty, and the counter with it: often before the monitor
//! has heard of the end. So the counter is also read whenever the kernel says that it has changed,
//! which it does in cgroup v2, but up to 10 ms late. Where even that is too late, the counter of the
//! cgroup above tells, which outlives the container's and counts all below it.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};

use pinpod_monitor_api::OomFile;
use rustix::event::epoll::EventFlags;

use crate::poller::{Poller, Token, Watch};

/// The counter of one container.
#[derive(Debug)]
pub(crate) struct OomCounter {
    source: OomFile,
    /// When the container was created.
    before: u64,
    /// The last that was seen.
    last: u64,
    /// The counter of the pod in cgroup v2, and what of it is known to be others'.
    above: Option<(OomFile, u64)>,
    /// Open while the kernel tells of changes.
    watched: Option<File>,
}

impl OomCounter {
    pub(crate) fn new(source: OomFile) -> Self {
        Self {
            source,
            before: 0,
            last: 0,
            above: None,
            watched: None,
        }
    }

    /// Counts from now, and hears of changes as events of process `id` where the kernel tells of
    /// them.
    pub(crate) fn begin(&mut self, poller: &Poller, id: u32) {
        self.before = count(&self.source).unwrap_or_default();
        self.last = self.before;
        if !self.source.path.ends_with("memory.events") {
            return;
        }
        self.above = above(&self.source).and_then(|file| {
            let before = count(&file)?;
            Some((file, before))
        });
        // Each change is one event, as the file stays "changed" once its cgroup is gone.
        let changes = Watch::On(EventFlags::PRI | EventFlags::ET);
        self.watched = File::open(&self.source.path).ok().filter(|file| {
            poller
                .watch(file, Token::Oom(id), &mut Watch::Off, changes)
                .is_ok()
        });
    }

    /// The counter has changed, or its cgroup is gone.
    pub(crate) fn changed(&mut self) {
        let Some(file) = &mut self.watched else {
            return;
        };
        let mut text = String::new();
        let read = file.seek(SeekFrom::Start(0));
        match read.and_then(|_start| file.read_to_string(&mut text)) {
            Ok(_) => self.see(count_of(&text, &self.source.key)),
            // Closing ends the watch.
            Err(_) => self.watched = None,
        }
    }

    /// Whether the kernel has ended a process since the beginning. There are no more events after it.
    pub(crate) fn end(&mut self) -> bool {
        self.look();
        self.watched = None;
        self.last > self.before
    }

    /// Reads the counter if it is there, else the one above.
    pub(crate) fn look(&mut self) {
        match count(&self.source) {
            None if self.has_grown_above() => self.see(Some(self.before + 1)),
            count => self.see(count),
        }
    }

    /// What is counted above until now was of another container.
    pub(crate) fn settle(&mut self) {
        if let Some((file, known)) = &mut self.above {
            *known = count(file).unwrap_or(*known);
        }
    }

    fn has_grown_above(&self) -> bool {
        let above = self.above.as_ref();
        above.is_some_and(|(file, known)| count(file).is_some_and(|count| count > *known))
    }

    fn see(&mut self, count: Option<u64>) {
        self.last = self.last.max(count.unwrap_or_default());
    }
}

/// The same counter of the cgroup above.
fn above(source: &OomFile) -> Option<OomFile> {
    let name = source.path.file_name()?;
    Some(OomFile {
        path: source.path.parent()?.parent()?.join(name),
        key: source.key.clone(),
    })
}

/// `None` when the file is not there.
fn count(source: &OomFile) -> Option<u64> {
    count_of(&fs::read_to_string(&source.path).ok()?, &source.key)
}

fn count_of(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next()? == key).then(|| words.next()?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counter() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        let v2 = "low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(count_of(v1, "oom_kill"), Some(2));
        assert_eq!(count_of(v2, "oom_kill"), Some(1));
        assert_eq!(count_of(v2, "none"), None);
        assert_eq!(count_of("oom_kill", "oom_kill"), None);
    }

    #[test]
    fn the_counter_above_tells_when_the_own_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let pod = dir.path().join("memory.events");
        let scope = dir.path().join("a.scope");
        fs::create_dir(&scope).unwrap();
        let begin = || {
            fs::write(&pod, "oom_kill 1\n").unwrap();
            let path = scope.join("memory.events");
            fs::write(&path, "oom_kill 0\n").unwrap();
            let key = "oom_kill".to_owned();
            let mut counter = OomCounter::new(OomFile { path, key });
            counter.begin(&Poller::new().unwrap(), 1);
            counter
        };
        let gone = || fs::remove_file(scope.join("memory.events")).unwrap();
        let mut counter = begin();
        gone();
        assert!(!counter.end(), "nothing was killed");
        let mut counter = begin();
        gone();
        fs::write(&pod, "oom_kill 2\n").unwrap();
        assert!(counter.end());
        let mut counter = begin();
        fs::write(&pod, "oom_kill 2\n").unwrap();
        assert!(!counter.end(), "the own counter is there, and tells");
        let mut counter = begin();
        fs::write(&pod, "oom_kill 2\n").unwrap();
        counter.settle();
        gone();
        assert!(!counter.end(), "it was another's");
    }

    #[test]
    fn what_was_seen_is_kept_when_the_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.oom_control");
        let key = "oom_kill".to_owned();
        fs::write(&path, "oom_kill 3\n").unwrap();
        let source = OomFile {
            path: path.clone(),
            key,
        };
        let mut counter = OomCounter::new(source);
        counter.begin(&Poller::new().unwrap(), 1);
        assert!(!counter.end());
        fs::write(&path, "oom_kill 4\n").unwrap();
        counter.look();
        fs::remove_file(&path).unwrap();
        assert!(counter.end());
    }
}
