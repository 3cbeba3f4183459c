//! Getting at parts of a JSON document that may not be there.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The member `key`, made if it is missing. What is no object becomes one.
pub(super) fn member<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    object(value).entry(key).or_insert(Value::Null)
}

/// The object that this is; what is none becomes an empty one.
pub(super) fn object(value: &mut Value) -> &mut Map<String, Value> {
    loop {
        // Two steps, as the borrow checker does not see that one excludes the other.
        if value.is_object()
            && let Value::Object(map) = value
        {
            return map;
        }
        *value = Value::Object(Map::new());
    }
}

/// Edits the list `key` of an object; an empty one is taken out.
pub(super) fn edit_list(parent: &mut Value, key: &str, edit: impl FnOnce(&mut Vec<Value>)) {
    let parent = object(parent);
    let mut list = match parent.remove(key) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    edit(&mut list);
    if !list.is_empty() {
        parent.insert(key.to_owned(), Value::Array(list));
    }
}

/// The list `key` of an object; empty if it is missing.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The text `key` of an object; empty if it is missing.
pub(super) fn text(value: &Value, key: &str) -> String {
    value
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// The texts of the list `key`.
pub(super) fn texts(value: &Value, key: &str) -> Vec<String> {
    list(value, key)
        .iter()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// The texts of the object `key`.
pub(super) fn text_map<M: FromIterator<(String, String)>>(value: &Value, key: &str) -> M {
    let members = value.get(key).and_then(Value::as_object);
    members
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The number `key` of an object.
pub(super) fn signed(value: &Value, key: &str) -> Option<i64> {
    value.get(key)?.as_i64()
}

/// The same, where it cannot be negative.
pub(super) fn unsigned(value: &Value, key: &str) -> Option<u64> {
    value.get(key)?.as_u64()
}

/// The same, for numbers of 32 bits.
pub(super) fn small(value: &Value, key: &str) -> Option<u32> {
    unsigned(value, key)?.try_into().ok()
}

/// Sets members of the object `key`, and takes out those that are marked with `-`.
pub(super) fn map<V>(
    parent: &mut Value,
    key: &str,
    wanted: &BTreeMap<String, V>,
    encode: impl Fn(&V) -> Value,
) {
    for (name, value) in wanted {
        let into = member(parent, key);
        match name.strip_prefix('-') {
            Some(name) => drop(object(into).remove(name)),
            None => *member(into, name) = encode(value),
        }
    }
}

/// Edits the list `key` once for each of `wanted`, if there is any.
pub(super) fn edit_list_if<V>(
    wanted: &[V],
    parent: &mut Value,
    key: &str,
    mut edit: impl FnMut(&mut Vec<Value>, &V),
) {
    if !wanted.is_empty() {
        edit_list(parent, key, |known| {
            for value in wanted {
                edit(known, value);
            }
        });
    }
}
