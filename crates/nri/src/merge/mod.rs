//! What several plugins want of one container becomes one adjustment, and one list of updates.
//!
//! Plugins are asked one after the other, and each sees the container as those before it left it.
//! A field, or an entry of a list or a map, has one owner; a second plugin that sets it too is a
//! conflict and fails the request, unless it says that it takes the first one's away: by naming the
//! key with a `-` before it, beside what it sets itself.

mod adjust;
mod entries;
mod owners;
mod resources;

use std::collections::BTreeMap;

use crate::api::{
    Container, ContainerAdjustment, ContainerEviction, ContainerUpdate, LinuxContainerUpdate,
    LinuxResources, OwningPlugins,
};
use crate::error::NriError;

pub(crate) use owners::Owners;
pub use resources::overlay;

/// What plugins want when a container is made.
#[derive(Debug)]
pub(crate) struct Creation {
    /// The container as the next plugin sees it.
    pub(crate) container: Container,
    /// All adjustments until now.
    pub(crate) adjust: ContainerAdjustment,
    updates: Updates,
}

impl Creation {
    pub(crate) fn of(container: Container) -> Self {
        Self {
            updates: Updates::beside(Some(container.id.clone())),
            container,
            adjust: ContainerAdjustment::default(),
        }
    }

    /// Puts one plugin's wishes in.
    pub(crate) fn apply(
        &mut self,
        plugin: &str,
        adjust: Option<ContainerAdjustment>,
        updates: Vec<ContainerUpdate>,
        evictions: Vec<ContainerEviction>,
    ) -> Result<(), NriError> {
        if let Some(adjust) = adjust {
            adjust::apply(self, adjust, plugin)?;
        }
        self.updates.apply(plugin, updates)?;
        self.updates.evictions.extend(evictions);
        Ok(())
    }

    fn owners(&mut self) -> &mut Owners {
        &mut self.updates.owners
    }

    /// The updates of other containers until now, and who owns what.
    pub(crate) fn for_validation(&self) -> (Vec<ContainerUpdate>, OwningPlugins) {
        (self.updates.list.clone(), self.updates.owners.to_message())
    }

    /// The sum.
    pub(crate) fn finish(
        self,
    ) -> (
        ContainerAdjustment,
        Vec<ContainerUpdate>,
        Vec<ContainerEviction>,
    ) {
        (self.adjust, self.updates.list, self.updates.evictions)
    }
}

/// The updates of existing containers that plugins want.
#[derive(Debug)]
pub(crate) struct Updates {
    /// A container that may not be updated: it is only being made.
    new: Option<String>,
    owners: Owners,
    list: Vec<ContainerUpdate>,
    places: BTreeMap<String, usize>,
    pub(crate) evictions: Vec<ContainerEviction>,
}

impl Updates {
    /// Updates of whatever there is, but not of `new`.
    pub(crate) fn beside(new: Option<String>) -> Self {
        Self {
            new,
            owners: Owners::default(),
            list: Vec::new(),
            places: BTreeMap::new(),
            evictions: Vec::new(),
        }
    }

    /// Updates during an update: what was asked for `container` is where they start from.
    pub(crate) fn of(container: &str, asked: LinuxResources) -> Self {
        let mut updates = Self::beside(None);
        updates.places.insert(container.to_owned(), 0);
        updates.list.push(ContainerUpdate {
            container_id: container.to_owned(),
            linux: Some(LinuxContainerUpdate {
                resources: Some(asked),
            }),
            ignore_failure: false,
        });
        updates
    }

    /// What is wanted now of the container that began it.
    pub(crate) fn first(&self) -> Option<LinuxResources> {
        self.list.first()?.linux.as_ref()?.resources.clone()
    }

    /// Puts one plugin's wishes in.
    pub(crate) fn apply(
        &mut self,
        plugin: &str,
        wanted: Vec<ContainerUpdate>,
    ) -> Result<(), NriError> {
        for update in wanted {
            let id = update.container_id.clone();
            if self.new.as_deref() == Some(id.as_str()) {
                return Err(NriError::UpdateOfNew {
                    plugin: plugin.to_owned(),
                    container: id,
                });
            }
            let ignore = update.ignore_failure;
            let wanted = update.linux.and_then(|linux| linux.resources);
            let wanted = wanted.unwrap_or_default();
            // One that may fail leaves nothing of itself when it does.
            let mut owners = self.owners.clone();
            match resources::claim(&mut owners, &id, &wanted, plugin) {
                Ok(()) => self.owners = owners,
                Err(_) if ignore => continue,
                Err(error) => return Err(error),
            }
            self.put(id, &wanted, ignore);
        }
        Ok(())
    }

    fn put(&mut self, id: String, wanted: &LinuxResources, ignore: bool) {
        let place = self
            .places
            .get(&id)
            .and_then(|place| self.list.get_mut(*place));
        if let Some(known) = place {
            known.ignore_failure &= ignore;
            let linux = known.linux.get_or_insert_default();
            resources::overlay(linux.resources.get_or_insert_default(), wanted);
            return;
        }
        self.places.insert(id.clone(), self.list.len());
        self.list.push(ContainerUpdate {
            container_id: id,
            linux: Some(LinuxContainerUpdate {
                resources: Some(wanted.clone()),
            }),
            ignore_failure: ignore,
        });
    }

    /// The sum.
    pub(crate) fn finish(self) -> (Vec<ContainerUpdate>, Vec<ContainerEviction>) {
        (self.list, self.evictions)
    }
}

/// A key that begins with `-` means that what has the rest of it for a key is taken away.
pub(crate) fn removal(key: &str) -> Option<&str> {
    key.strip_prefix('-')
}

#[cfg(test)]
mod tests;
