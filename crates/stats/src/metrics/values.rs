//! The values of metrics, group by group.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use pinpod_cgroup::{Details, Pressure, Stats};
use pinpod_model::LinuxResources;
use pinpod_pod::UnixNanos;

use super::collect::Device;
use super::families as f;
use super::{Family, Metric, MetricGroup, processes as open_files};
use crate::usage::{InterfaceUsage, LayerUsage, NetworkUsage};

const SECOND_NS: u64 = 1_000_000_000;
const SECOND_US: u64 = 1_000_000;
/// What the kernel gives a cgroup that asks for nothing.
const DEFAULT_PERIOD: u64 = 100_000;
const DEFAULT_SHARES: u64 = 1024;

/// What files of a cgroup say.
pub(super) fn cgroup(
    sink: &mut Sink<'_>,
    stats: &Stats,
    details: &Details,
    has_quota: bool,
    names: &mut BlockDevices,
) {
    cpu(sink, stats, details, has_quota);
    memory(sink, stats, details);
    io(sink, details, names);
    pressure(sink, stats);
    for pages in &details.hugepages {
        let size = pages.page_size.as_str();
        sink.put(&f::HUGETLB_USAGE, &[size], pages.usage);
        sink.put(&f::HUGETLB_MAX, &[size], pages.max_usage);
        sink.put(&f::HUGETLB_FAILCNT, &[size], pages.limit_hits);
    }
    sink.put(&f::OOM_EVENTS, &[], details.oom_kills);
    if let Some(pids) = details.pids {
        sink.put(&f::THREADS, &[], pids.current);
        sink.put(&f::THREADS_MAX, &[], pids.limit.unwrap_or_default());
    }
}

/// What the processes of a container, the first of which is `init`, hold open.
pub(super) fn processes(sink: &mut Sink<'_>, pids: &[u32], init: Option<u32>) {
    let open = open_files::open(pids);
    sink.put(&f::PROCESSES, &[], u64::try_from(pids.len()).ok());
    sink.put(&f::FILE_DESCRIPTORS, &[], open.descriptors);
    sink.put(&f::SOCKETS, &[], open.sockets);
    let limit = init.and_then(open_files::open_files_limit);
    sink.put(&f::ULIMITS_SOFT, &["max_open_files"], limit);
}

/// The writable layer and its file system.
pub(super) fn disk(sink: &mut Sink<'_>, device: &Device, layer: Option<LayerUsage>) {
    if !sink.wants(MetricGroup::Disk) {
        return;
    }
    let name = [device.name.as_str()];
    sink.put(&f::FS_USAGE, &name, layer.map(|layer| layer.bytes));
    if let Ok(size) = rustix::fs::statvfs(&device.mountpoint) {
        sink.put(&f::FS_LIMIT, &name, size.f_blocks * size.f_frsize);
        sink.put(&f::FS_INODES_TOTAL, &name, size.f_files);
        sink.put(&f::FS_INODES_FREE, &name, size.f_ffree);
    }
}

fn cpu(sink: &mut Sink<'_>, stats: &Stats, details: &Details, has_quota: bool) {
    if let Some(cpu) = stats.cpu {
        sink.put(&f::CPU_USAGE, &["total"], cpu.usage_ns / SECOND_NS);
    }
    let Some(cpu) = &details.cpu else {
        return;
    };
    sink.put(&f::CPU_USER, &[], cpu.user_ns / SECOND_NS);
    sink.put(&f::CPU_SYSTEM, &[], cpu.system_ns / SECOND_NS);
    if has_quota {
        sink.put(&f::CFS_PERIODS, &[], cpu.periods);
        sink.put(&f::CFS_THROTTLED_PERIODS, &[], cpu.throttled_periods);
        sink.put(&f::CFS_THROTTLED, &[], cpu.throttled_ns / SECOND_NS);
        sink.put(&f::CFS_BURST_PERIODS, &[], cpu.burst_periods);
        sink.put(&f::CFS_BURST, &[], cpu.burst_ns / SECOND_NS);
    }
}

fn memory(sink: &mut Sink<'_>, stats: &Stats, details: &Details) {
    let (Some(memory), Some(kinds)) = (&stats.memory, &details.memory) else {
        return;
    };
    sink.put(&f::MEMORY_CACHE, &[], kinds.cache);
    sink.put(&f::MEMORY_RSS, &[], memory.rss);
    sink.put(&f::MEMORY_KERNEL, &[], kinds.kernel);
    sink.put(&f::MEMORY_MAPPED, &[], kinds.mapped_file);
    sink.put(&f::MEMORY_SWAP, &[], memory.swap_usage);
    sink.put(&f::MEMORY_FAILCNT, &[], kinds.limit_hits);
    sink.put(&f::MEMORY_USAGE, &[], memory.usage);
    sink.put(&f::MEMORY_MAX, &[], kinds.max_usage);
    sink.put(&f::MEMORY_WORKING_SET, &[], memory.working_set);
    sink.put(&f::MEMORY_ACTIVE_FILE, &[], kinds.active_file);
    sink.put(&f::MEMORY_INACTIVE_FILE, &[], kinds.inactive_file);
    for (labels, value) in [
        (["pgfault", "container"], kinds.own_page_faults),
        (["pgmajfault", "container"], kinds.own_major_page_faults),
        (["pgfault", "hierarchy"], memory.page_faults),
        (["pgmajfault", "hierarchy"], memory.major_page_faults),
    ] {
        sink.put(&f::MEMORY_FAILURES, &labels, value);
    }
}

fn io(sink: &mut Sink<'_>, details: &Details, names: &mut BlockDevices) {
    for io in details.io.iter().flatten() {
        let device = names.name(io.major, io.minor);
        sink.put(&f::FS_READ_BYTES, &[device], io.read_bytes);
        sink.put(&f::FS_READS, &[device], io.reads);
        sink.put(&f::FS_WRITE_BYTES, &[device], io.write_bytes);
        sink.put(&f::FS_WRITES, &[device], io.writes);
        let (major, minor) = (io.major.to_string(), io.minor.to_string());
        for (operation, bytes) in [("Read", io.read_bytes), ("Write", io.write_bytes)] {
            sink.put(&f::BLKIO, &[device, &major, &minor, operation], bytes);
        }
    }
}

fn pressure(sink: &mut Sink<'_>, stats: &Stats) {
    let cpu = stats.cpu.and_then(|cpu| cpu.pressure);
    let memory = stats.memory.and_then(|memory| memory.pressure);
    for (pressure, stalled, waiting) in [
        (cpu, &f::CPU_STALLED, &f::CPU_WAITING),
        (memory, &f::MEMORY_STALLED, &f::MEMORY_WAITING),
        (stats.io_pressure, &f::IO_STALLED, &f::IO_WAITING),
    ] {
        if let Some(Pressure { some, full }) = pressure {
            sink.put(stalled, &[], full.total_us / SECOND_US);
            sink.put(waiting, &[], some.total_us / SECOND_US);
        }
    }
}

pub(super) fn network(sink: &mut Sink<'_>, network: &NetworkUsage) {
    for interface in std::iter::once(&network.default).chain(&network.others) {
        let InterfaceUsage {
            name,
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        } = interface;
        for (family, value) in [
            (&f::RX_BYTES, rx_bytes),
            (&f::RX_PACKETS, rx_packets),
            (&f::RX_DROPPED, rx_dropped),
            (&f::RX_ERRORS, rx_errors),
            (&f::TX_BYTES, tx_bytes),
            (&f::TX_PACKETS, tx_packets),
            (&f::TX_DROPPED, tx_dropped),
            (&f::TX_ERRORS, tx_errors),
        ] {
            sink.put(family, &[name], *value);
        }
    }
}

/// A limit of CRI that is not set is 0, and one that is none is negative.
pub(super) fn spec(sink: &mut Sink<'_>, resources: &LinuxResources) {
    let set = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let period = set(resources.cpu_period).unwrap_or(DEFAULT_PERIOD);
    sink.put(&f::SPEC_CPU_PERIOD, &[], period);
    sink.put(&f::SPEC_CPU_QUOTA, &[], set(resources.cpu_quota));
    let shares = set(resources.cpu_shares).unwrap_or(DEFAULT_SHARES);
    sink.put(&f::SPEC_CPU_SHARES, &[], shares);
    let kept = resources.unified.get("memory.low");
    let kept = kept.and_then(|text| text.parse().ok()).unwrap_or_default();
    sink.put(&f::SPEC_MEMORY_RESERVATION, &[], Some(kept));
    let limit = set(resources.memory_limit).unwrap_or_default();
    sink.put(&f::SPEC_MEMORY_LIMIT, &[], limit);
    let limit = set(resources.memory_swap_limit).unwrap_or_default();
    sink.put(&f::SPEC_MEMORY_SWAP_LIMIT, &[], limit);
}

pub(super) fn has_quota(resources: &LinuxResources) -> bool {
    resources.cpu_quota > 0
}

pub(super) fn seconds(at: UnixNanos) -> Option<u64> {
    u64::try_from(at).ok().map(|ns| ns / SECOND_NS)
}

/// Takes values that have the same six labels.
pub(super) struct Sink<'a> {
    groups: &'a [MetricGroup],
    labels: Vec<Arc<str>>,
    pub(super) metrics: Vec<Metric>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(groups: &'a [MetricGroup], labels: [&str; 6]) -> Self {
        Self {
            groups,
            labels: labels.into_iter().map(Arc::from).collect(),
            metrics: Vec::new(),
        }
    }

    pub(super) fn wants(&self, group: MetricGroup) -> bool {
        group.is_among(self.groups)
    }

    /// Notes a value, if its group is wanted and it is known.
    pub(super) fn put(
        &mut self,
        family: &'static Family,
        labels: &[&str],
        value: impl Into<Option<u64>>,
    ) {
        debug_assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
        let Some(value) = value.into().filter(|_| self.wants(family.group)) else {
            return;
        };
        let own = labels.iter().map(|label| Arc::from(*label));
        self.metrics.push(Metric {
            name: family.name,
            kind: family.kind,
            labels: self.labels.iter().cloned().chain(own).collect(),
            value,
        });
    }
}

/// Paths of block devices by their numbers.
#[derive(Debug, Default)]
pub(super) struct BlockDevices(HashMap<(u32, u32), String>);

impl BlockDevices {
    fn name(&mut self, major: u32, minor: u32) -> &str {
        self.0.entry((major, minor)).or_insert_with(|| {
            let numbers = format!("{major}:{minor}");
            let link = std::fs::read_link(Path::new("/sys/dev/block").join(&numbers));
            let name = link.ok().and_then(|target| {
                let name = target.file_name()?.to_string_lossy().into_owned();
                Some(format!("/dev/{name}"))
            });
            name.unwrap_or(numbers)
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use pinpod_cgroup::{
        CpuDetails, CpuStats, HugepageStats, IoDevice, MemoryDetails, MemoryStats, PidStats,
    };

    use super::*;

    /// A value of each metric, of a node that lacks nothing.
    pub(in crate::metrics) fn everything(groups: &[MetricGroup]) -> Vec<Metric> {
        let some = Pressure::default();
        let stats = Stats {
            cpu: Some(CpuStats {
                usage_ns: 2_500_000_000,
                pressure: Some(some),
            }),
            memory: Some(MemoryStats {
                swap_usage: Some(1),
                pressure: Some(some),
                ..MemoryStats::default()
            }),
            io_pressure: Some(some),
        };
        let details = Details {
            cpu: Some(CpuDetails::default()),
            memory: Some(MemoryDetails {
                kernel: Some(1),
                max_usage: Some(1),
                limit_hits: Some(1),
                ..MemoryDetails::default()
            }),
            pids: Some(PidStats::default()),
            io: Some(vec![IoDevice::new(0, 0)]),
            hugepages: vec![HugepageStats {
                page_size: "2MB".into(),
                usage: 1,
                max_usage: Some(1),
                limit_hits: Some(1),
            }],
            oom_kills: Some(1),
        };
        let resources = LinuxResources {
            cpu_quota: 50_000,
            ..LinuxResources::default()
        };
        let usage = NetworkUsage {
            read_at: 1,
            default: InterfaceUsage::default(),
            others: Vec::new(),
        };
        let layer = LayerUsage {
            measured_at: 1,
            bytes: 1,
            inodes: 1,
        };
        let mut sink = Sink::new(groups, ["/c", "id", "image", "pod", "namespace", "main"]);
        sink.put(&f::LAST_SEEN, &[], seconds(1_500_000_000));
        sink.put(&f::START_TIME, &[], seconds(0));
        cgroup(
            &mut sink,
            &stats,
            &details,
            true,
            &mut BlockDevices::default(),
        );
        network(&mut sink, &usage);
        spec(&mut sink, &resources);
        let own = std::process::id();
        processes(&mut sink, &[own], Some(own));
        disk(&mut sink, &Device::of(Path::new("/")), Some(layer));
        sink.metrics
    }

    fn value(metrics: &[Metric], name: &str) -> Vec<u64> {
        let named = metrics.iter().filter(|metric| metric.name == name);
        named.map(|metric| metric.value).collect()
    }

    #[test]
    fn times_are_whole_seconds_and_limits_what_was_asked_for() {
        let metrics = everything(&[MetricGroup::All]);
        assert_eq!(value(&metrics, "container_cpu_usage_seconds_total"), [2]);
        assert_eq!(value(&metrics, "container_last_seen"), [1]);
        assert_eq!(value(&metrics, "container_spec_cpu_period"), [100_000]);
        assert_eq!(value(&metrics, "container_spec_cpu_quota"), [50_000]);
        assert_eq!(value(&metrics, "container_spec_cpu_shares"), [1024]);
        assert_eq!(value(&metrics, "container_spec_memory_limit_bytes"), [0]);
        assert_eq!(value(&metrics, "container_memory_failures_total").len(), 4);
        let usage = metrics
            .iter()
            .find(|metric| metric.name == "container_cpu_usage_seconds_total");
        let labels: Vec<&str> = usage.unwrap().labels.iter().map(AsRef::as_ref).collect();
        assert_eq!(
            labels,
            ["/c", "id", "image", "pod", "namespace", "main", "total"]
        );
    }

    #[test]
    fn what_is_not_limited_or_counted_has_no_value() {
        let mut sink = Sink::new(&[MetricGroup::All], [""; 6]);
        spec(&mut sink, &LinuxResources::default());
        let nothing = Details::default();
        let names = &mut BlockDevices::default();
        cgroup(&mut sink, &Stats::default(), &nothing, false, names);
        assert!(value(&sink.metrics, "container_spec_cpu_quota").is_empty());
        assert_eq!(sink.metrics.len(), 5, "{:?}", sink.metrics);
    }
}
