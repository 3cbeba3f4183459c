//! Who is who: identifiers, and the keys that the kubelet sends, to drivers; and who follows them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pinpod_model::{PodId, PodMetadata, PodSandboxConfig};

use crate::driver::{self, PodHandle};
use crate::error::{LookupError, RunPodError};
use crate::events::Events;
use crate::settings::Parts;
use crate::snapshot::{ContainerSnapshot, PodSnapshot};

/// The pods of the node. The lock is held for map operations only.
#[derive(Debug, Default)]
pub(crate) struct Index {
    maps: RwLock<Maps>,
    events: Events,
}

#[derive(Debug, Default)]
struct Maps {
    by_id: BTreeMap<PodId, PodHandle>,
    by_key: HashMap<PodMetadata, PodId>,
}

impl Index {
    /// Where drivers say what happened.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// The driver of the pod with this key; a new one, already at work, if there is none.
    pub(crate) fn pod_for(
        self: &Arc<Self>,
        parts: &Arc<Parts>,
        config: PodSandboxConfig,
    ) -> Result<PodHandle, RunPodError> {
        let mut maps = self.write();
        if let Some(handle) = maps
            .by_key
            .get(&config.metadata)
            .and_then(|id| maps.by_id.get(id))
        {
            return Ok(handle.clone());
        }
        let id = PodId::generate().map_err(RunPodError::Identifier)?;
        let key = config.metadata.clone();
        let handle = driver::begin(Arc::clone(parts), Arc::clone(self), id.clone(), config);
        maps.by_key.insert(key, id.clone());
        maps.by_id.insert(id, handle.clone());
        Ok(handle)
    }

    /// Puts a recovered pod in.
    pub(crate) fn insert(&self, key: PodMetadata, id: PodId, handle: PodHandle) {
        let mut maps = self.write();
        maps.by_key.insert(key, id.clone());
        maps.by_id.insert(id, handle);
    }

    /// Takes a pod out; its key is free from now on.
    pub(crate) fn forget(&self, key: &PodMetadata, id: &PodId) {
        let mut maps = self.write();
        maps.by_id.remove(id);
        if maps.by_key.get(key) == Some(id) {
            maps.by_key.remove(key);
        }
    }

    /// The pod whose identifier this is, or begins so.
    pub(crate) fn pod(&self, id: &str) -> Result<PodHandle, LookupError> {
        let maps = self.read();
        let mut found = None;
        for (known, handle) in &maps.by_id {
            if known.as_str() == id {
                return Ok(handle.clone());
            }
            if !id.is_empty() && known.as_str().starts_with(id) && handle.visible().is_some() {
                if found.is_some() {
                    return Err(LookupError::Ambiguous(id.to_owned()));
                }
                found = Some(handle);
            }
        }
        found
            .cloned()
            .ok_or_else(|| LookupError::NoPod(id.to_owned()))
    }

    /// The pods that clients may see, oldest first.
    pub(crate) fn pods(&self) -> Vec<Arc<PodSnapshot>> {
        let mut all: Vec<_> = self
            .read()
            .by_id
            .values()
            .filter_map(PodHandle::visible)
            .collect();
        all.sort_by_key(|pod| pod.created_at);
        all
    }

    /// The container whose identifier this is, or begins so, and its pod.
    pub(crate) fn container(
        &self,
        id: &str,
    ) -> Result<(PodHandle, Arc<ContainerSnapshot>), LookupError> {
        let maps = self.read();
        let mut found = None;
        for handle in maps.by_id.values() {
            for container in &handle.snapshot().containers {
                if container.id.as_str() == id {
                    return Ok((handle.clone(), Arc::clone(container)));
                }
                if !id.is_empty() && container.id.as_str().starts_with(id) {
                    if found.is_some() {
                        return Err(LookupError::Ambiguous(id.to_owned()));
                    }
                    found = Some((handle.clone(), Arc::clone(container)));
                }
            }
        }
        found.ok_or_else(|| LookupError::NoContainer(id.to_owned()))
    }

    // A panic while the lock was held cannot leave the maps half-changed: each change is one
    // insert or remove. So poison is no reason to refuse.
    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }
}
