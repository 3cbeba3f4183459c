//! Signals as something to read: `signalfd(2)`.
#![allow(
    unsafe_code,
    reason = "rustix has neither signalfd nor the signal mask; libc's are functions of raw pointers"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use pinpod_model::Signal;

/// A descriptor that is readable when one of its signals is pending.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks the signals in the calling thread and opens a descriptor (non-blocking,
    /// close-on-exec) for them. Call it before other threads start, as they inherit the mask;
    /// children that `std::process` or the kernel crate spawn get an empty mask.
    ///
    /// # Errors
    /// The kernel refuses, most likely for want of descriptors.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the pointer is to memory of the right type, which the call initialises.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        for signal in signals {
            // SAFETY: the set is initialised above, the number is in 1..=64.
            unsafe { libc::sigaddset(set.as_mut_ptr(), signal.number()) };
        }
        // SAFETY: initialised above; the old mask is not asked for.
        let blocked =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set is initialised; -1 asks for a new descriptor.
        let raw = unsafe { libc::signalfd(-1, set.as_ptr(), flags) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "the kernel has just made it for us"
        )]
        // SAFETY: a new descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// The next pending signal; `None` when there is none.
    ///
    /// # Errors
    /// Reading fails.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut info) {
            // The first field is `ssi_signo`, a u32.
            Ok(_) => Ok(Signal::from_number(info[0])),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_to_the_thread_is_read_once() {
        // A thread of its own, as its mask is changed.
        std::thread::spawn(|| {
            let signal: Signal = "SIGUSR2".parse().unwrap();
            let signals = SignalFd::new(&[signal]).unwrap();
            assert_eq!(signals.next().unwrap(), None);
            // SAFETY: has no preconditions.
            let own = unsafe { libc::pthread_self() };
            // SAFETY: the thread is the calling one, in which the signal is blocked.
            unsafe { libc::pthread_kill(own, signal.number()) };
            assert_eq!(signals.next().unwrap(), Some(signal));
            assert_eq!(signals.next().unwrap(), None);
        })
        .join()
        .unwrap();
    }
}
