//! The CRI socket: bound before anything slow, removed when the daemon ends.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tokio::net::UnixListener;

/// Owner and group only: who may write here is root on the node.
const MODE: u32 = 0o660;

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// Binds `path`, in the place of a socket that nobody answers on. Clients that connect from now on
/// wait until the daemon accepts.
///
/// # Errors
/// If somebody answers there, or it is not a socket's place.
pub(crate) fn bind(path: &Path) -> anyhow::Result<(Socket, UnixListener)> {
    let place = || path.display().to_string();
    if UnixStream::connect(path).is_ok() {
        bail!("somebody serves on {} already", path.display());
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(place)?;
    }
    // Bound under another name first, so that nobody connects before the mode is set.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push("~");
    let fresh = PathBuf::from(fresh);
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| fresh.display().to_string());
        }
        _ => {}
    }
    let listener = UnixListener::bind(&fresh).with_context(place)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(MODE)).with_context(place)?;
    std::fs::rename(&fresh, path).with_context(place)?;
    Ok((
        Socket {
            path: path.to_owned(),
        },
        listener,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_respected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/cri.sock");
        let (socket, listener) = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        assert!(bind(&path).unwrap_err().to_string().contains("already"));
        drop(listener);
        std::mem::drop(bind(&path).unwrap());
        assert!(!path.exists());
        drop(socket);
    }
}
