//! Epoll, and the names of what is waited for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// One of a process's stdio streams. A terminal is `Stdout`, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// What it reads.
    Stdin,
    /// What it writes.
    Stdout,
    /// What it complains.
    Stderr,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// A daemon wants to connect.
    Listener,
    /// Signals are pending.
    Signals,
    /// A connection by its number.
    Connection(u32),
    /// A stream of a process by its number.
    Stream(u32, Channel),
    /// The counter of processes of a container that were ended for want of memory.
    Oom(u32),
}

impl Token {
    fn to_data(self) -> EventData {
        let (id, code) = match self {
            Self::Listener => (0, 0),
            Self::Signals => (0, 1),
            Self::Connection(id) => (id, 2),
            Self::Stream(id, Channel::Stdin) => (id, 3),
            Self::Stream(id, Channel::Stdout) => (id, 4),
            Self::Stream(id, Channel::Stderr) => (id, 5),
            Self::Oom(id) => (id, 6),
        };
        EventData::new_u64(u64::from(id) << 8 | code)
    }

    fn from_data(data: EventData) -> Option<Self> {
        let id = u32::try_from(data.u64() >> 8).ok()?;
        Some(match data.u64() & 0xff {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Connection(id),
            3 => Self::Stream(id, Channel::Stdin),
            4 => Self::Stream(id, Channel::Stdout),
            5 => Self::Stream(id, Channel::Stderr),
            6 => Self::Oom(id),
            _ => return None,
        })
    }
}

/// What a descriptor is watched for. It follows the state: see [`Poller::watch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Watch {
    /// Not registered.
    #[default]
    Off,
    /// Registered for these; an empty set still reports a hang-up.
    On(EventFlags),
}

/// The epoll.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Brings what the kernel watches a descriptor for from `current` to `wanted`.
    pub(crate) fn watch(
        &self,
        fd: impl AsFd,
        token: Token,
        current: &mut Watch,
        wanted: Watch,
    ) -> io::Result<()> {
        if *current == wanted {
            return Ok(());
        }
        match (*current, wanted) {
            (Watch::Off, Watch::On(flags)) => epoll::add(&self.epoll, fd, token.to_data(), flags)?,
            (_, Watch::On(flags)) => epoll::modify(&self.epoll, fd, token.to_data(), flags)?,
            (_, Watch::Off) => epoll::delete(&self.epoll, fd)?,
        }
        *current = wanted;
        Ok(())
    }

    /// Waits for events, for ever without a time.
    pub(crate) fn wait(&self, at_most: Option<Duration>) -> io::Result<Vec<(Token, EventFlags)>> {
        let timeout = at_most.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        let mut events: Vec<Event> = Vec::with_capacity(32);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let known = |event: &Event| Some((Token::from_data(event.data)?, event.flags));
        Ok(events.iter().filter_map(known).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        for token in [
            Token::Listener,
            Token::Signals,
            Token::Connection(7),
            Token::Stream(u32::MAX, Channel::Stdin),
            Token::Stream(1, Channel::Stdout),
            Token::Stream(0, Channel::Stderr),
            Token::Oom(3),
        ] {
            assert_eq!(Token::from_data(token.to_data()), Some(token));
        }
    }
}
