//! `docs/cri.md` must name every RPC of the contract exactly once, and tell which ones are built.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

use std::collections::BTreeMap;

use prost::Message as _;

const DOCUMENT: &str = include_str!("../../../docs/cri.md");
const RUNTIME_SERVICE: &str = include_str!("../src/runtime_service/mod.rs");

/// `RuntimeService.Version` and what its row says in the column "built".
fn documented() -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    let (table, _) = DOCUMENT.split_once("\n## ").unwrap();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let rpc = cells[1].trim_matches('`').to_owned();
        assert_eq!(
            rows.insert(rpc.clone(), cells[2].to_owned()),
            None,
            "{rpc} is there twice"
        );
    }
    rows
}

#[test]
fn every_rpc_is_documented_once() {
    let set = prost_types::FileDescriptorSet::decode(pinpod_cri_api::FILE_DESCRIPTOR_SET).unwrap();
    let mut declared: Vec<String> = set
        .file
        .iter()
        .flat_map(|file| &file.service)
        .flat_map(|service| {
            service
                .method
                .iter()
                .map(|method| format!("{}.{}", service.name(), method.name()))
        })
        .collect();
    declared.sort();
    let rows: Vec<String> = documented().into_keys().collect();
    assert_eq!(rows, declared);
}

#[test]
fn the_document_tells_what_is_built() {
    for (rpc, built) in documented() {
        let Some(name) = rpc.strip_prefix("RuntimeService.") else {
            assert_eq!(built, "yes", "{rpc}");
            continue;
        };
        let start = format!("    \"{name}\" ");
        let line = RUNTIME_SERVICE
            .lines()
            .find(|line| line.starts_with(&start))
            .unwrap();
        let has_handler = line.contains(" = ");
        assert_eq!(built, if has_handler { "yes" } else { "no" }, "{rpc}");
    }
}
