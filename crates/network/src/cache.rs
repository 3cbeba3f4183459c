//! Notes about attachments on disk: one file for each pod, written and renamed.

use std::path::{Path, PathBuf};

use pinpod_model::PodId;

use crate::Attachment;

/// A note that could not be written, read or removed.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}")]
pub struct CacheError {
    /// What was tried.
    action: &'static str,
    /// The file or directory.
    path: PathBuf,
    /// Why it failed.
    #[source]
    source: std::io::Error,
}

/// What the file of a pod holds.
#[derive(Debug)]
pub(crate) enum Note {
    /// There is none: nothing was set up, or it was taken down.
    Absent,
    /// The file was torn by a crash of the machine; something may have been set up.
    Torn,
    /// The attachment.
    Present(Box<Attachment>),
}

#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
}

impl Cache {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn path(&self, pod: &PodId) -> PathBuf {
        self.directory.join(format!("{pod}.json"))
    }

    /// Writes without a sync: what the notes tell of does not survive a crash of the machine
    /// either, except for IPAM leases, which their plugins do not sync.
    pub(crate) fn store(&self, attachment: &Attachment) -> Result<(), CacheError> {
        let path = self.path(&attachment.pod_id);
        let write = |path: &Path| {
            let bytes = serde_json::to_vec(attachment).map_err(std::io::Error::from)?;
            let temporary = path.with_extension("json.new");
            if let Err(error) = std::fs::write(&temporary, &bytes) {
                if error.kind() != std::io::ErrorKind::NotFound {
                    return Err(error);
                }
                std::fs::create_dir_all(&self.directory)?;
                std::fs::write(&temporary, &bytes)?;
            }
            std::fs::rename(&temporary, path)
        };
        write(&path).map_err(|source| CacheError {
            action: "writing",
            path,
            source,
        })
    }

    pub(crate) fn load(&self, pod: &PodId) -> Result<Note, CacheError> {
        let path = self.path(pod);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(match serde_json::from_slice(&bytes) {
                Ok(attachment) => Note::Present(Box::new(attachment)),
                Err(_) => Note::Torn,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Note::Absent),
            Err(source) => Err(CacheError {
                action: "reading",
                path,
                source,
            }),
        }
    }

    /// Removes the note; one that is gone is fine.
    pub(crate) fn remove(&self, pod: &PodId) -> Result<(), CacheError> {
        let path = self.path(pod);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(CacheError {
                action: "removing",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Pods that have a note. Files that are not named after a pod are left alone.
    pub(crate) fn pods(&self) -> Result<Vec<PodId>, CacheError> {
        let error = |source| CacheError {
            action: "listing",
            path: self.directory.clone(),
            source,
        };
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(error(source)),
        };
        let mut pods = Vec::new();
        for entry in entries {
            let name = entry.map_err(error)?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            pods.extend(id.and_then(|id| id.parse().ok()));
        }
        Ok(pods)
    }
}
