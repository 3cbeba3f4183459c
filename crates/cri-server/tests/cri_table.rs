//! `docs/cri.md` must name every RPC of the contract exactly once.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

use std::collections::BTreeSet;

use prost::Message as _;

const DOCUMENT: &str = include_str!("../../../docs/cri.md");

/// `RuntimeService.Version` and the like, as the rows name them.
fn documented() -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    let (table, _) = DOCUMENT.split_once("\n## ").unwrap();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let rpc = cells[1].trim_matches('`').to_owned();
        assert!(rows.insert(rpc.clone()), "{rpc} is there twice");
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
    let rows: Vec<String> = documented().into_iter().collect();
    assert_eq!(rows, declared);
}
