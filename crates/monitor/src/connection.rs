//! One connection from the daemon.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use pinpod_monitor_api::frame::{self, HEADER_LEN, Kind, MAX_PAYLOAD};
use pinpod_monitor_api::{Event, Hello, Refusal, Reply};
use rustix::event::epoll::EventFlags;
use serde::Serialize;

use crate::poller::{Poller, Token, Watch};

/// Bytes that wait for a reader before those who write for it must wait.
const OUTPUT_HIGH: usize = 256 << 10;

/// How long a full queue may not move before an attached client is cut off.
pub(crate) const STALL: Duration = Duration::from_secs(5);

/// What the connection is for, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// No `Hello` yet.
    New,
    /// Between requests.
    Idle,
    /// Waits for a process to be created.
    Creating,
    /// Waits for a process to end, or to start: `ExecSync` and `ExecStream` before its reply.
    Executing {
        /// Number of the process.
        process: u32,
    },
    /// Carries the stdio of a process.
    Streaming {
        /// Number of the process.
        process: u32,
        /// Stdin frames are wanted.
        stdin: bool,
        /// Its stdout is wanted.
        stdout: bool,
        /// Its stderr is wanted.
        stderr: bool,
    },
    /// Gets events.
    Subscribed,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    pub(crate) mode: Mode,
    pub(crate) input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    progress: Instant,
    watch: Watch,
    /// The other side will send no more.
    pub(crate) eof: bool,
    /// The other side is gone.
    pub(crate) hung_up: bool,
    /// To be closed when all output is sent.
    pub(crate) closing: bool,
    /// To be closed.
    pub(crate) dead: bool,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            mode: Mode::New,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            progress: Instant::now(),
            watch: Watch::Off,
            eof: false,
            hung_up: false,
            closing: false,
            dead: false,
        })
    }

    /// Reads what has come, as far as there is room.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) {
        while !self.eof && self.has_room() {
            match self.stream.read(buffer) {
                Ok(0) => self.eof = true,
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.eof = true;
                    self.dead = true;
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.input.len() < MAX_PAYLOAD + HEADER_LEN
    }

    /// Takes the first frame out of what has come. What is no frame ends the connection.
    pub(crate) fn take_frame(&mut self) -> Option<(Kind, Vec<u8>)> {
        match frame::decode(&self.input) {
            Ok(Some(frame::Decoded { kind, payload, len })) => {
                let taken = (kind, payload.to_vec());
                if len == self.input.len() {
                    self.input = Vec::new();
                } else {
                    self.input.drain(..len);
                }
                Some(taken)
            }
            Ok(None) => None,
            Err(_) => {
                self.dead = true;
                None
            }
        }
    }

    /// Sends a stream frame, cut in chunks when long.
    pub(crate) fn send_frame(&mut self, kind: Kind, payload: &[u8]) {
        if payload.is_empty() {
            frame::encode(kind, payload, &mut self.output).ok();
        } else {
            frame::encode_chunks(kind, payload, &mut self.output);
        }
        self.flush();
    }

    pub(crate) fn hello(&mut self, hello: &Hello) {
        self.send_message(hello);
    }

    pub(crate) fn reply(&mut self, reply: &Reply) {
        self.send_message(reply);
    }

    pub(crate) fn refuse(&mut self, reason: Refusal, message: String) {
        self.reply(&Reply::Refused { reason, message });
    }

    pub(crate) fn event(&mut self, event: &Event) {
        self.send_message(event);
    }

    fn send_message<T: Serialize>(&mut self, message: &T) {
        let encoded = serde_json::to_vec(message).ok();
        let sent =
            encoded.and_then(|json| frame::encode(Kind::Message, &json, &mut self.output).ok());
        // A message that cannot be said must not be waited for.
        self.dead |= sent.is_none();
        self.flush();
    }

    /// Sends what goes now.
    pub(crate) fn flush(&mut self) {
        let before = self.sent;
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.dead = true;
                    return;
                }
            }
        }
        if self.sent > before {
            self.progress = Instant::now();
        }
        if self.sent == self.output.len() {
            self.output = Vec::new();
            self.sent = 0;
        } else if self.sent > OUTPUT_HIGH {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Nothing waits to be sent.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// So much waits to be sent that those who write for it must wait.
    pub(crate) fn is_full(&self) -> bool {
        self.output.len() - self.sent > OUTPUT_HIGH
    }

    /// When a client that has not moved is cut off.
    pub(crate) fn stalls_at(&self) -> Option<Instant> {
        self.is_full().then(|| self.progress + STALL)
    }

    /// Watches what there is to do. Stays registered always, so that a hang-up is seen.
    pub(crate) fn arm(&mut self, poller: &Poller, id: u32) -> io::Result<()> {
        let mut flags = EventFlags::empty();
        if !self.eof && self.has_room() {
            flags |= EventFlags::IN;
        }
        if !self.output.is_empty() {
            flags |= EventFlags::OUT;
        }
        let token = Token::Connection(id);
        poller.watch(&self.stream, token, &mut self.watch, Watch::On(flags))
    }
}
