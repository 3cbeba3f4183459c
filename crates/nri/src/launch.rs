//! The plugins of the plugin directory: programs that live as long as the daemon.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use pinpod_kernel::plugin::spawn_with_socket;
use pinpod_kernel::process::{self, ProcessIdentity};
use pinpod_model::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::Settings;
use crate::error::StartError;
use crate::plugin::{Expected, Identity};

/// A program of the plugin directory.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    /// Content of its configuration file; empty if it has none.
    pub(crate) config: String,
}

/// What the directory holds, in the order of the names. A directory that is not there holds nothing;
/// a file that is not executable, or has no plugin's name, is none.
pub(crate) fn discover(settings: &Settings) -> Result<Vec<Installed>, StartError> {
    let failed = |source| StartError::Directory {
        path: settings.plugin_dir.clone(),
        source,
    };
    let entries = match std::fs::read_dir(&settings.plugin_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let Ok(about) = std::fs::metadata(&path) else {
            continue;
        };
        if !about.is_file() || about.permissions().mode() & 0o111 == 0 {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match Identity::parse(&name) {
            Ok(identity) => found.push(Installed {
                config: config(&settings.plugin_config_dir, &identity),
                identity,
                path,
            }),
            Err(error) => tracing::warn!(path = %path.display(), %error, "not an NRI plugin"),
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// `<index>-<name>.conf`, else `<name>.conf`.
fn config(dir: &Path, identity: &Identity) -> String {
    let Identity { index, base } = identity;
    for name in [format!("{index}-{base}.conf"), format!("{base}.conf")] {
        let path = dir.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => return text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read an NRI plugin's configuration");
            }
        }
    }
    String::new()
}

/// A plugin's program. Dropping this kills it.
#[derive(Debug)]
pub(crate) struct Program {
    identity: ProcessIdentity,
}

impl Program {
    /// Starts one, with a socket for descriptor 3.
    pub(crate) fn start(installed: &Installed) -> io::Result<(Self, UnixStream, Expected)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let Identity { index, base } = &installed.identity;
        let env = [
            ("NRI_PLUGIN_NAME", base.as_str()),
            ("NRI_PLUGIN_IDX", index.as_str()),
            ("NRI_PLUGIN_SOCKET", "3"),
        ];
        let identity = spawn_with_socket(&installed.path, &env, OwnedFd::from(theirs))?;
        let expected = Expected {
            identity: Some(installed.identity.clone()),
            config: installed.config.clone(),
        };
        Ok((Self { identity }, UnixStream::from_std(ours)?, expected))
    }

    fn kill(&self) {
        if let Err(error) = process::kill(&self.identity, Signal::KILL) {
            tracing::warn!(pid = self.identity.pid, %error, "cannot end an NRI plugin");
        }
    }

    /// Kills it and returns when it is gone.
    pub(crate) async fn end(self) {
        self.kill();
        if let Err(error) = reap(self.identity).await {
            tracing::warn!(pid = self.identity.pid, %error, "cannot reap an NRI plugin");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

#[allow(
    deprecated,
    reason = "what is deprecated is unsound for types that lend out a descriptor; an OwnedFd is its own"
)]
async fn reap(identity: ProcessIdentity) -> io::Result<()> {
    if let Some(pidfd) = process::open_pidfd(&identity).map_err(io::Error::other)? {
        let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
        pidfd.readable().await?.retain_ready();
    }
    process::reap(identity.pid)
        .map(drop)
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn executables_with_a_plugin_name_are_found_with_their_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let (plugins, configs) = (dir.path().join("plugins"), dir.path().join("conf.d"));
        let settings = Settings {
            runtime_name: "pinpod".into(),
            runtime_version: "0".into(),
            socket: None,
            plugin_dir: plugins.clone(),
            plugin_config_dir: configs.clone(),
            registration_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(1),
        };
        assert!(discover(&settings).unwrap().is_empty());
        std::fs::create_dir_all(&plugins).unwrap();
        std::fs::create_dir_all(&configs).unwrap();
        for (name, mode) in [
            ("20-b", 0o755),
            ("10-a", 0o700),
            ("30-c", 0o644),
            ("x", 0o755),
        ] {
            std::fs::write(plugins.join(name), "").unwrap();
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(plugins.join(name), mode).unwrap();
        }
        std::fs::create_dir(plugins.join("40-d")).unwrap();
        for (name, text) in [("a.conf", "any"), ("20-b.conf", "this"), ("b.conf", "any")] {
            std::fs::write(configs.join(name), text).unwrap();
        }
        let found = discover(&settings).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.identity.base.as_str(), it.config.as_str()))
            .collect();
        assert_eq!(found, [("a", "any"), ("b", "this")]);
    }
}
