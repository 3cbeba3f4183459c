//! Descriptors and values against each other.

use std::collections::{BTreeMap, HashSet};

use super::values::tests::everything;
use super::*;

const ALL: [MetricGroup; 1] = [MetricGroup::All];

#[test]
fn names_are_unique_and_those_that_kubelets_users_know() {
    let descriptors = descriptors(&ALL);
    let names: HashSet<_> = descriptors.iter().map(|known| known.name).collect();
    assert_eq!(names.len(), descriptors.len());
    for known in [
        "container_blkio_device_usage_total",
        "container_cpu_cfs_throttled_seconds_total",
        "container_cpu_system_seconds_total",
        "container_cpu_usage_seconds_total",
        "container_file_descriptors",
        "container_fs_usage_bytes",
        "container_last_seen",
        "container_memory_failures_total",
        "container_memory_working_set_bytes",
        "container_network_receive_packets_dropped_total",
        "container_oom_events_total",
        "container_pressure_io_waiting_seconds_total",
        "container_processes",
        "container_spec_memory_swap_limit_bytes",
        "container_start_time_seconds",
        "container_threads_max",
        "container_ulimits_soft",
    ] {
        assert!(names.contains(known), "{known}");
    }
    for descriptor in &descriptors {
        assert!(descriptor.help.ends_with('.'), "{}", descriptor.name);
        assert_eq!(descriptor.labels[..6], BASE_LABELS);
        let counts = descriptor.name.ends_with("_total") || descriptor.name.ends_with("failcnt");
        let family = families::ALL.iter().find(|f| f.name == descriptor.name);
        let is_counter = family.unwrap().kind == MetricKind::Counter;
        assert_eq!(
            counts && descriptor.name != "container_fs_inodes_total",
            is_counter
        );
    }
}

#[test]
fn each_value_has_a_descriptor_with_as_many_labels_and_each_descriptor_a_value() {
    let described: BTreeMap<_, _> = descriptors(&ALL)
        .into_iter()
        .map(|known| (known.name, known.labels.len()))
        .collect();
    let mut seen = HashSet::new();
    for metric in everything(&ALL) {
        assert_eq!(
            Some(&metric.labels.len()),
            described.get(metric.name),
            "{metric:?}"
        );
        seen.insert(metric.name);
    }
    let silent: Vec<_> = described
        .keys()
        .filter(|name| !seen.contains(*name))
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn a_group_that_is_left_out_has_neither_descriptors_nor_values() {
    let groups = [MetricGroup::Network, MetricGroup::Oom];
    let described: HashSet<_> = descriptors(&groups)
        .iter()
        .map(|known| known.name)
        .collect();
    assert_eq!(
        described.len(),
        10,
        "eight of the network, one of OOM, last_seen"
    );
    let seen: HashSet<_> = everything(&groups)
        .iter()
        .map(|metric| metric.name)
        .collect();
    assert_eq!(seen, described);
}
