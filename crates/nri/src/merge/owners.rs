//! Which plugin set what.

use std::collections::BTreeMap;

use crate::api::{CompoundFieldOwners, Field, FieldOwners, OwningPlugins};
use crate::error::{NriError, field_text};

/// Owners of fields and entries, by container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owners {
    owned: BTreeMap<(String, i32, Option<String>), Owner>,
}

#[derive(Debug, Clone)]
enum Owner {
    /// Set by these; more than one only where setting adds.
    Set(Vec<String>),
    /// Taken away by this one, which alone may set it anew.
    Cleared(String),
}

impl Owners {
    /// Makes `plugin` the owner of a field, or of its entry `key`.
    pub(crate) fn claim(
        &mut self,
        container: &str,
        field: Field,
        key: Option<&str>,
        plugin: &str,
    ) -> Result<(), NriError> {
        let place = place(container, field, key);
        let other = match self.owned.get(&place) {
            None => None,
            Some(Owner::Cleared(by)) => (by != plugin).then(|| by.clone()),
            Some(Owner::Set(by)) => Some(by.join(",")),
        };
        if let Some(first) = other {
            return Err(NriError::Conflict {
                first,
                second: plugin.to_owned(),
                what: field_text(field, key),
            });
        }
        self.owned
            .insert(place, Owner::Set(vec![plugin.to_owned()]));
        Ok(())
    }

    /// Adds `plugin` to the owners of a field that several may add to.
    pub(crate) fn join(&mut self, container: &str, field: Field, plugin: &str) {
        let owner = self.owned.entry(place(container, field, None));
        match owner.or_insert_with(|| Owner::Set(Vec::new())) {
            Owner::Set(by) => by.push(plugin.to_owned()),
            cleared @ Owner::Cleared(_) => *cleared = Owner::Set(vec![plugin.to_owned()]),
        }
    }

    /// Takes a field, or its entry `key`, away from whoever has it.
    pub(crate) fn clear(&mut self, container: &str, field: Field, key: Option<&str>, plugin: &str) {
        self.owned.insert(
            place(container, field, key),
            Owner::Cleared(plugin.to_owned()),
        );
    }

    /// As validating plugins are told.
    pub(crate) fn to_message(&self) -> OwningPlugins {
        let mut message = OwningPlugins::default();
        for ((container, field, key), owner) in &self.owned {
            let owner = match owner {
                Owner::Set(by) => by.join(","),
                Owner::Cleared(by) => format!("-{by}"),
            };
            let fields: &mut FieldOwners = message.owners.entry(container.clone()).or_default();
            match key {
                None => drop(fields.simple.insert(*field, owner)),
                Some(key) => {
                    let entries: &mut CompoundFieldOwners =
                        fields.compound.entry(*field).or_default();
                    entries.owners.insert(key.clone(), owner);
                }
            }
        }
        message
    }
}

fn place(container: &str, field: Field, key: Option<&str>) -> (String, i32, Option<String>) {
    (container.to_owned(), field.into(), key.map(str::to_owned))
}
