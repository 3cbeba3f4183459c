//! The monitor's ends of a process's stdin, stdout and stderr, or of its terminal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio as ChildStdio;

use rustix::event::epoll::EventFlags;
use rustix::fs::{Gid, MemfdFlags, SealFlags, Uid};
use rustix::io::Errno;
use rustix::termios::{Winsize, tcsetwinsize};

use crate::poller::{Channel, Poller, Token, Watch};

/// Bytes for stdin that wait here before their senders must wait.
pub(crate) const STDIN_HIGH: usize = 64 << 10;

/// What the OCI runtime gets as its stdio, and hands on.
#[derive(Debug)]
pub(crate) struct ChildEnds {
    pub(crate) stdin: ChildStdio,
    pub(crate) stdout: ChildStdio,
    pub(crate) stderr: ChildStdio,
}

/// User and group that are root in a pod with a user namespace, as the node counts. Its containers
/// can open `/dev/stdout` only if it is theirs.
///
/// Such a pod never gets a device of the node as its stdio: crun 1.8.1 gives its stdio to root of
/// the pod, and with it would go `/dev/null` for the whole node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

fn give(end: OwnedFd, root: Option<Root>) -> io::Result<ChildStdio> {
    if let Some(root) = root {
        let (user, group) = (Uid::from_raw(root.user), Gid::from_raw(root.group));
        rustix::fs::fchown(&end, Some(user), Some(group))?;
    }
    Ok(end.into())
}

/// What reads as empty: `/dev/null`, or a file without name and content that nobody can change.
fn nothing(root: Option<Root>) -> io::Result<ChildStdio> {
    if root.is_none() {
        return Ok(ChildStdio::null());
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("stdin", flags)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    give(file, root)
}

/// What takes the few words that an OCI runtime has beside its log: `/dev/null`, or a file without
/// name that ends with it.
fn sink(root: Option<Root>) -> io::Result<ChildStdio> {
    if root.is_none() {
        return Ok(ChildStdio::null());
    }
    give(
        rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC)?,
        root,
    )
}

/// What one read gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes.
    Data(usize),
    /// Nothing now.
    Later,
    /// Nothing any more: every holder of the other end has closed it.
    End,
}

/// The monitor's ends.
#[derive(Debug, Default)]
pub(crate) struct Stdio {
    stdin: Option<OwnedFd>,
    /// Or the terminal.
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    terminal: bool,
    accepts_stdin: bool,
    queue: Vec<u8>,
    close_when_drained: bool,
    watch: [Watch; 3],
}

impl Stdio {
    /// Pipes; stdin is empty unless wanted.
    pub(crate) fn pipes(stdin: bool, root: Option<Root>) -> io::Result<(Self, ChildEnds)> {
        let (stdout, child_stdout) = io::pipe()?;
        let (stderr, child_stderr) = io::pipe()?;
        let (stdin, child_stdin) = if stdin {
            let (child_stdin, stdin) = io::pipe()?;
            (Some(OwnedFd::from(stdin)), give(child_stdin.into(), root)?)
        } else {
            (None, nothing(root)?)
        };
        let this = Self {
            accepts_stdin: stdin.is_some(),
            stdin,
            stdout: Some(stdout.into()),
            stderr: Some(stderr.into()),
            ..Self::default()
        };
        for fd in [&this.stdin, &this.stdout, &this.stderr]
            .into_iter()
            .flatten()
        {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let stdout = give(child_stdout.into(), root)?;
        let stderr = give(child_stderr.into(), root)?;
        Ok((
            this,
            ChildEnds {
                stdin: child_stdin,
                stdout,
                stderr,
            },
        ))
    }

    /// A terminal, which the OCI runtime will send. What the runtime itself says is in its log.
    pub(crate) fn terminal(stdin: bool, root: Option<Root>) -> io::Result<(Self, ChildEnds)> {
        let this = Self {
            terminal: true,
            accepts_stdin: stdin,
            ..Self::default()
        };
        let ends = ChildEnds {
            stdin: nothing(root)?,
            stdout: sink(root)?,
            stderr: sink(root)?,
        };
        Ok((this, ends))
    }

    /// The terminal has come.
    pub(crate) fn set_terminal(&mut self, master: OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&master, true)?;
        self.stdout = Some(master);
        Ok(())
    }

    /// Whether stdin has no room: its senders wait.
    pub(crate) fn stdin_is_full(&self) -> bool {
        self.queue.len() >= STDIN_HIGH
    }

    /// Sets the terminal's size.
    pub(crate) fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        let size = Winsize {
            ws_row: height,
            ws_col: width,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        match &self.stdout {
            Some(master) if self.terminal => Ok(tcsetwinsize(master, size)?),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Reads what the process wrote.
    pub(crate) fn read(&self, channel: Channel, buffer: &mut [u8]) -> Read {
        let fd = if channel == Channel::Stderr {
            &self.stderr
        } else {
            &self.stdout
        };
        let Some(fd) = fd else { return Read::End };
        match rustix::io::read(fd, buffer) {
            Ok(0) => Read::End,
            Ok(n) => Read::Data(n),
            Err(Errno::AGAIN | Errno::INTR) => Read::Later,
            // A terminal whose other side is closed says EIO.
            Err(_) => Read::End,
        }
    }

    /// Queues bytes for stdin and writes what goes now.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.accepts_stdin && !self.close_when_drained {
            self.queue.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// Closes stdin when what is queued has been written. A terminal stays open.
    pub(crate) fn close_stdin(&mut self) {
        if !self.terminal {
            self.close_when_drained = true;
            self.flush();
        }
    }

    /// Nobody reads or writes it any more: stdin ends; a terminal hangs up; what is written to
    /// pipes will be read and thrown away.
    pub(crate) fn abandon(&mut self) {
        if self.terminal {
            self.close(Channel::Stdout);
        } else {
            self.close_stdin();
        }
    }

    /// Writes what goes now.
    pub(crate) fn flush(&mut self) {
        let fd = if self.terminal {
            &self.stdout
        } else {
            &self.stdin
        };
        let mut written = 0;
        let mut broken = false;
        if let Some(fd) = fd {
            while written < self.queue.len() {
                match rustix::io::write(fd, &self.queue[written..]) {
                    Ok(n) => written += n,
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(_) => {
                        broken = true;
                        break;
                    }
                }
            }
        } else {
            broken = true;
        }
        self.queue.drain(..written);
        if broken || (self.queue.is_empty() && self.close_when_drained) {
            self.queue = Vec::new();
            self.stdin = None;
            self.watch[0] = Watch::Off;
            self.accepts_stdin &= self.terminal;
        } else if self.queue.is_empty() {
            self.queue = Vec::new();
        }
    }

    /// The stream has ended, or is not wanted any more.
    pub(crate) fn close(&mut self, channel: Channel) {
        match channel {
            Channel::Stdin => self.stdin = None,
            Channel::Stdout => self.stdout = None,
            Channel::Stderr => self.stderr = None,
        }
        // Closing the only descriptor of a file takes it out of the epoll.
        self.watch[channel as usize] = Watch::Off;
    }

    /// Watches what there is to do: output unless it has to wait, stdin while bytes wait for it.
    pub(crate) fn arm(&mut self, poller: &Poller, id: u32, read_output: bool) -> io::Result<()> {
        let on = |wanted: bool, flags: EventFlags| {
            if wanted { flags } else { EventFlags::empty() }
        };
        let read = on(read_output, EventFlags::IN);
        let write = on(!self.queue.is_empty(), EventFlags::OUT);
        let terminal_write = if self.terminal {
            write
        } else {
            EventFlags::empty()
        };
        let streams = [
            (&self.stdin, Channel::Stdin, write),
            (&self.stdout, Channel::Stdout, read | terminal_write),
            (&self.stderr, Channel::Stderr, read),
        ];
        for ((fd, channel, flags), current) in streams.into_iter().zip(&mut self.watch) {
            let Some(fd) = fd else { continue };
            // Registered without interest, a pipe still reports hang-ups, again and again.
            let wanted = if flags.is_empty() {
                Watch::Off
            } else {
                Watch::On(flags)
            };
            poller.watch(fd.as_fd(), Token::Stream(id, channel), current, wanted)?;
        }
        Ok(())
    }

    /// What a runtime that failed left on stderr, as far as it fits.
    pub(crate) fn last_words(&self, buffer: &mut [u8]) -> String {
        match self.read(Channel::Stderr, buffer) {
            Read::Data(n) => String::from_utf8_lossy(&buffer[..n]).trim().to_owned(),
            Read::Later | Read::End => String::new(),
        }
    }
}
