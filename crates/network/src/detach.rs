//! DEL: everything that an attachment set up goes, whether its namespace is still there or not.

use std::path::{Path, PathBuf};

use pinpod_model::PodId;

use crate::cache::Note;
use crate::conf::NetworkList;
use crate::{Attachment, DetachError, Network};

/// A pod that shall lose its network.
#[derive(Debug, Clone)]
pub struct DetachRequest {
    /// The pod.
    pub pod_id: PodId,
    /// Its network namespace; `None` takes the path that it was attached with. It may be gone.
    pub netns: Option<PathBuf>,
}

/// Whether a network namespace is pinned at a path. After a crash or a reboot there may be a plain
/// file, which plugins take for an error instead of for a namespace that is gone.
fn is_pinned(path: &Path) -> bool {
    const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == NSFS_MAGIC)
}

impl Network {
    /// Undoes a pod's attachment, with the configuration and the result that it was made with. Does
    /// nothing for a pod that has none.
    ///
    /// The plugins run last one first; an error does not stop those before it. After an error the
    /// note is kept and the next call tries again.
    ///
    /// # Errors
    /// [`DetachError`]: a plugin's own error, or a disk error.
    pub async fn detach(&self, request: &DetachRequest) -> Result<(), DetachError> {
        let pod = &request.pod_id;
        let cache_error = |source| DetachError::Cache {
            pod: pod.clone(),
            source: Box::new(source),
        };
        let cache = &self.shared.cache;
        let attachment = match cache.load(pod).map_err(cache_error)? {
            Note::Absent => return Ok(()),
            Note::Present(attachment) => *attachment,
            Note::Torn => self.guessed(request)?,
        };
        let list = match NetworkList::parse(&attachment.conflist.to_string()) {
            Ok(list) => list,
            Err(error) => {
                tracing::warn!(%pod, %error, "noted CNI configuration is not valid; taking today's");
                self.current_list(pod)?
            }
        };
        let netns = request.netns.as_ref().unwrap_or(&attachment.netns);
        let netns = is_pinned(netns).then_some(netns.as_path());
        let count = list.plugins().len();
        let errors = if attachment.result.is_some() {
            self.del(&list, &attachment, netns, count).await
        } else {
            self.del_half(&list, &attachment, netns, count).await
        };
        let mut errors = errors.into_iter();
        match errors.next() {
            None => cache.remove(pod).map_err(cache_error),
            Some(source) => Err(DetachError::Plugin {
                pod: pod.clone(),
                network: list.name().to_owned(),
                source: Box::new(source),
                others: errors.collect(),
            }),
        }
    }

    fn current_list(&self, pod: &PodId) -> Result<NetworkList, DetachError> {
        match &self.current().list {
            Ok(list) => Ok(list.as_ref().clone()),
            Err(why) => Err(DetachError::NotReady {
                pod: pod.clone(),
                why: why.clone(),
            }),
        }
    }

    /// Stands in for a torn note: plugins find what is theirs by the pod's identifier alone.
    fn guessed(&self, request: &DetachRequest) -> Result<Attachment, DetachError> {
        let list = self.current_list(&request.pod_id)?;
        Ok(Attachment {
            pod_id: request.pod_id.clone(),
            network: list.name().to_owned(),
            conflist: list.to_value(),
            netns: request.netns.clone().unwrap_or_default(),
            ifname: crate::attach::IFNAME.to_owned(),
            args: "IgnoreUnknown=1".to_owned(),
            capability_args: serde_json::Map::new(),
            result: None,
            ips: Vec::new(),
        })
    }
}
