//! One connection of the system bus.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::SystemdError;
use crate::wire::{self, Body, Kind, Message, Received};

/// Where dbus-daemon and dbus-broker listen.
const SOCKET: &str = "/run/dbus/system_bus_socket";
const BUS: &str = "org.freedesktop.DBus";
/// Longest line of the handshake.
const LINE: usize = 512;

/// A connection that has said hello.
#[derive(Debug)]
pub(crate) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while a reply was awaited.
    signals: VecDeque<Received>,
}

/// A call of a method of the bus itself.
pub(crate) fn of_the_bus(member: &'static str, signature: &'static str, body: Body) -> Message {
    Message {
        destination: BUS,
        path: "/org/freedesktop/DBus",
        interface: BUS,
        member,
        signature,
        body,
    }
}

impl Bus {
    /// Connects as the user that this process is.
    pub(crate) async fn connect() -> Result<Self, SystemdError> {
        let stream = open(Path::new(SOCKET)).await.map_err(broken)?;
        let mut bus = Self {
            stream,
            serial: 0,
            signals: VecDeque::new(),
        };
        bus.call(&of_the_bus("Hello", "", Body::default())).await?;
        Ok(bus)
    }

    /// Calls a method and waits for its answer, an error included.
    pub(crate) async fn call(&mut self, message: &Message) -> Result<Received, SystemdError> {
        self.serial += 1;
        let bytes = message.to_bytes(self.serial);
        self.stream.write_all(&bytes).await.map_err(broken)?;
        loop {
            let received = self.receive().await?;
            match received.kind {
                Kind::Reply if received.reply_to == Some(self.serial) => return Ok(received),
                Kind::Signal => self.signals.push_back(received),
                Kind::Reply | Kind::Other => {}
            }
        }
    }

    /// The next signal, those that came before included.
    pub(crate) async fn signal(&mut self) -> Result<Received, SystemdError> {
        if let Some(signal) = self.signals.pop_front() {
            return Ok(signal);
        }
        loop {
            let received = self.receive().await?;
            if received.kind == Kind::Signal {
                return Ok(received);
            }
        }
    }

    async fn receive(&mut self) -> Result<Received, SystemdError> {
        read_message(&mut self.stream).await.map_err(broken)
    }
}

async fn read_message(stream: &mut UnixStream) -> io::Result<Received> {
    let mut bytes = vec![0; wire::FIXED];
    stream.read_exact(&mut bytes).await?;
    let length = wire::length(&bytes).ok_or_else(malformed)?;
    bytes.resize(length, 0);
    let rest = bytes.get_mut(wire::FIXED..).ok_or_else(malformed)?;
    stream.read_exact(rest).await?;
    Received::parse(&bytes).ok_or_else(malformed)
}

/// The handshake: the bus asks the kernel who we are.
async fn open(socket: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await?;
    let uid = rustix::process::geteuid().as_raw().to_string();
    let hex: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
    let hello = format!("\0AUTH EXTERNAL {hex}\r\n");
    stream.write_all(hello.as_bytes()).await?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() > LINE {
            return Err(malformed());
        }
        line.push(stream.read_u8().await?);
    }
    if !line.starts_with(b"OK ") {
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    stream.write_all(b"BEGIN\r\n").await?;
    Ok(stream)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the bus sent no D-Bus message")
}

fn broken(source: io::Error) -> SystemdError {
    SystemdError::Bus {
        socket: PathBuf::from(SOCKET),
        source,
    }
}
