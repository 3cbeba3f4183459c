//! Lists and maps whose entries plugins add, replace and take away one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Owners, removal};
use crate::api::{Field, KeyValue, LinuxDevice, Mount};
use crate::error::NriError;

/// Which list of which container, and who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) container: &'a str,
    pub(super) field: Field,
    pub(super) plugin: &'a str,
}

impl Place<'_> {
    fn claim(&self, owners: &mut Owners, key: &str) -> Result<(), NriError> {
        owners.claim(self.container, self.field, Some(key), self.plugin)
    }

    fn clear(&self, owners: &mut Owners, key: &str) {
        owners.clear(self.container, self.field, Some(key), self.plugin);
    }
}

/// An entry of a list that is known by a key; one whose key begins with `-` takes one away.
pub(super) trait Entry: Clone {
    /// The key, with its mark.
    fn key(&self) -> &str;
}

impl Entry for Mount {
    fn key(&self) -> &str {
        &self.destination
    }
}

impl Entry for LinuxDevice {
    fn key(&self) -> &str {
        &self.path
    }
}

impl Entry for KeyValue {
    fn key(&self) -> &str {
        &self.key
    }
}

/// A plugin's wishes for a list, sorted.
#[derive(Debug)]
pub(super) struct Wanted<E> {
    /// Keys that it takes away.
    pub(super) gone: BTreeSet<String>,
    /// What it sets.
    pub(super) set: Vec<E>,
}

impl<E: Entry> Wanted<E> {
    pub(super) fn of(list: Vec<E>) -> Self {
        let (marked, set): (Vec<E>, Vec<E>) = list
            .into_iter()
            .partition(|entry| removal(entry.key()).is_some());
        let gone = marked.iter().filter_map(|entry| removal(entry.key()));
        Self {
            gone: gone.map(str::to_owned).collect(),
            set,
        }
    }

    /// Whether an entry with this key is not what it was any more.
    pub(super) fn touches(&self, key: &str) -> bool {
        self.gone.contains(key) || self.set.iter().any(|entry| entry.key() == key)
    }
}

/// Puts a plugin's wishes into the sum of those before. `mark` makes an entry that takes a key away.
pub(super) fn list<E: Entry>(
    sum: &mut Vec<E>,
    wanted: &Wanted<E>,
    owners: &mut Owners,
    place: Place<'_>,
    mark: impl Fn(String) -> E,
) -> Result<(), NriError> {
    sum.retain(|entry| !wanted.gone.contains(entry.key()));
    for key in &wanted.gone {
        place.clear(owners, key);
    }
    for entry in &wanted.set {
        place.claim(owners, entry.key())?;
    }
    // What the container had by itself goes too; what is set replaces it anyhow.
    let kept = |key: &String| wanted.set.iter().any(|entry| entry.key() == *key);
    for key in wanted.gone.iter().filter(|key| !kept(key)) {
        sum.push(mark(format!("-{key}")));
    }
    sum.extend(wanted.set.iter().cloned());
    Ok(())
}

/// The same for a map; `own` is the container's.
pub(super) fn map<V: Clone + Default>(
    (sum, own): (&mut BTreeMap<String, V>, &mut BTreeMap<String, V>),
    wanted: BTreeMap<String, V>,
    owners: &mut Owners,
    place: Place<'_>,
) -> Result<(), NriError> {
    let (gone, set): (BTreeMap<_, _>, BTreeMap<_, _>) = wanted
        .into_iter()
        .partition(|(key, _)| removal(key).is_some());
    for key in gone.keys().filter_map(|key| removal(key)) {
        place.clear(owners, key);
        own.remove(key);
        sum.remove(key);
        sum.insert(format!("-{key}"), V::default());
    }
    for (key, value) in set {
        place.claim(owners, &key)?;
        own.insert(key.clone(), value.clone());
        sum.insert(key, value);
    }
    Ok(())
}
