//! Descriptors passed over Unix sockets (`SCM_RIGHTS`, `unix(7)`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Most descriptors that one message carries here; a container's stdio needs three, an exec with a
/// terminal one.
pub const MAX_FDS: usize = 16;

/// Sends `bytes`, and with the first of them the descriptors. Returns how many bytes went out,
/// which may be fewer; the descriptors went with them whenever at least one did.
///
/// # Errors
/// As of `sendmsg`; `WouldBlock` on a non-blocking socket. More than [`MAX_FDS`] descriptors, or no
/// bytes to carry them, are `InvalidInput`.
pub fn send_with_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > MAX_FDS || (bytes.is_empty() && !fds.is_empty()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        let iov = [IoSlice::new(bytes)];
        match rustix::net::sendmsg(&socket, &iov, &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Receives up to `buffer.len()` bytes and the descriptors that came with them (close-on-exec).
/// Zero bytes mean that the other side has closed.
///
/// # Errors
/// As of `recvmsg`; `WouldBlock` on a non-blocking socket. More descriptors than [`MAX_FDS`] are
/// `InvalidData`; those that did arrive are closed.
pub fn recv_with_fds(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut iov = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(&socket, &mut iov, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((received.bytes, fds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_pipe_crosses_with_its_bytes() {
        let (left, right) = UnixStream::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let sent = send_with_fds(&left, b"hello", &[writer.as_fd()]).unwrap();
        assert_eq!(sent, 5);
        drop(writer);
        let mut buffer = [0; 16];
        let (count, mut fds) = recv_with_fds(&right, &mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"hello");
        let fd = fds.pop().unwrap();
        assert!(fds.is_empty());
        let flags = rustix::io::fcntl_getfd(&fd).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        File::from(fd).write_all(b"through").unwrap();
        let mut text = String::new();
        let mut reader = reader;
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        drop(left);
        assert_eq!(recv_with_fds(&right, &mut buffer).unwrap().0, 0);
    }

    #[test]
    fn what_cannot_be_carried_is_refused() {
        let (left, _right) = UnixStream::pair().unwrap();
        let many = vec![left.as_fd(); MAX_FDS + 1];
        assert!(send_with_fds(&left, b"x", &many).is_err());
        assert!(send_with_fds(&left, b"", &many[..1]).is_err());
    }
}
