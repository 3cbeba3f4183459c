//! The metrics there are: names and labels are cAdvisor's, the words are ours.

use super::Family;
use super::MetricGroup::{
    Cpu, Disk, DiskIo, Hugetlb, Memory, Network, Oom, Pressure, Process, Seen, Spec,
};
use super::MetricKind::{Counter, Gauge};

macro_rules! families {
    ($($id:ident = $group:ident $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(
            pub(super) static $id: Family = Family {
                group: $group,
                kind: $kind,
                name: concat!("container_", $name),
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// All of them.
        pub(super) static ALL: &[&Family] = &[$(&$id),*];
    };
}

families! {
    LAST_SEEN = Seen Gauge "last_seen" [] "When the container was last seen, in seconds since 1970.";

    CPU_USER = Cpu Counter "cpu_user_seconds_total" [] "CPU time in user mode, in seconds.";
    CPU_SYSTEM = Cpu Counter "cpu_system_seconds_total" [] "CPU time in the kernel, in seconds.";
    CPU_USAGE = Cpu Counter "cpu_usage_seconds_total" ["cpu"] "CPU time, in seconds.";
    CFS_PERIODS = Cpu Counter "cpu_cfs_periods_total" [] "CFS periods in which something ran.";
    CFS_THROTTLED_PERIODS = Cpu Counter "cpu_cfs_throttled_periods_total" [] "CFS periods in which the quota ran out.";
    CFS_THROTTLED = Cpu Counter "cpu_cfs_throttled_seconds_total" [] "Time of waiting for a new quota, in seconds.";
    CFS_BURST_PERIODS = Cpu Counter "cpu_cfs_burst_periods_total" [] "CFS periods in which more than the quota was used.";
    CFS_BURST = Cpu Counter "cpu_cfs_burst_seconds_total" [] "CPU time used beyond the quota, in seconds.";

    FS_INODES_FREE = Disk Gauge "fs_inodes_free" ["device"] "Free inodes of the file system of the writable layer.";
    FS_INODES_TOTAL = Disk Gauge "fs_inodes_total" ["device"] "Inodes of the file system of the writable layer.";
    FS_LIMIT = Disk Gauge "fs_limit_bytes" ["device"] "Size of the file system of the writable layer, in bytes.";
    FS_USAGE = Disk Gauge "fs_usage_bytes" ["device"] "What the writable layer holds, in bytes.";

    FS_READ_BYTES = DiskIo Counter "fs_reads_bytes_total" ["device"] "Bytes read from a block device.";
    FS_READS = DiskIo Counter "fs_reads_total" ["device"] "Reads from a block device.";
    FS_WRITE_BYTES = DiskIo Counter "fs_writes_bytes_total" ["device"] "Bytes written to a block device.";
    FS_WRITES = DiskIo Counter "fs_writes_total" ["device"] "Writes to a block device.";
    BLKIO = DiskIo Counter "blkio_device_usage_total" ["device" "major" "minor" "operation"] "Bytes that passed between the container and a block device.";

    HUGETLB_USAGE = Hugetlb Gauge "hugetlb_usage_bytes" ["pagesize"] "Huge pages in use, in bytes.";
    HUGETLB_MAX = Hugetlb Gauge "hugetlb_max_usage_bytes" ["pagesize"] "Most huge pages ever in use, in bytes.";
    HUGETLB_FAILCNT = Hugetlb Counter "hugetlb_failcnt" ["pagesize"] "How often the limit of huge pages was met.";

    MEMORY_CACHE = Memory Gauge "memory_cache" [] "Page cache, in bytes.";
    MEMORY_RSS = Memory Gauge "memory_rss" [] "Anonymous memory, in bytes.";
    MEMORY_KERNEL = Memory Gauge "memory_kernel_usage" [] "Memory of the kernel for the container, in bytes.";
    MEMORY_MAPPED = Memory Gauge "memory_mapped_file" [] "Page cache that is mapped, in bytes.";
    MEMORY_SWAP = Memory Gauge "memory_swap" [] "Swap in use, in bytes.";
    MEMORY_FAILCNT = Memory Counter "memory_failcnt" [] "How often the memory limit was met.";
    MEMORY_USAGE = Memory Gauge "memory_usage_bytes" [] "Memory in use, page cache included, in bytes.";
    MEMORY_MAX = Memory Gauge "memory_max_usage_bytes" [] "Most memory ever in use, in bytes.";
    MEMORY_WORKING_SET = Memory Gauge "memory_working_set_bytes" [] "Memory in use without page cache that was not used lately, in bytes.";
    MEMORY_ACTIVE_FILE = Memory Gauge "memory_total_active_file_bytes" [] "Page cache that was used lately, in bytes.";
    MEMORY_INACTIVE_FILE = Memory Gauge "memory_total_inactive_file_bytes" [] "Page cache that was not used lately, in bytes.";
    MEMORY_FAILURES = Memory Counter "memory_failures_total" ["failure_type" "scope"] "Page faults.";

    RX_BYTES = Network Counter "network_receive_bytes_total" ["interface"] "Bytes received.";
    RX_PACKETS = Network Counter "network_receive_packets_total" ["interface"] "Packets received.";
    RX_DROPPED = Network Counter "network_receive_packets_dropped_total" ["interface"] "Packets that came and were dropped.";
    RX_ERRORS = Network Counter "network_receive_errors_total" ["interface"] "Packets that came damaged.";
    TX_BYTES = Network Counter "network_transmit_bytes_total" ["interface"] "Bytes sent.";
    TX_PACKETS = Network Counter "network_transmit_packets_total" ["interface"] "Packets sent.";
    TX_DROPPED = Network Counter "network_transmit_packets_dropped_total" ["interface"] "Packets dropped instead of sent.";
    TX_ERRORS = Network Counter "network_transmit_errors_total" ["interface"] "Packets that could not be sent.";

    OOM_EVENTS = Oom Counter "oom_events_total" [] "Processes that the kernel ended for want of memory.";

    CPU_STALLED = Pressure Counter "pressure_cpu_stalled_seconds_total" [] "Time in which all tasks waited for a CPU, in seconds.";
    CPU_WAITING = Pressure Counter "pressure_cpu_waiting_seconds_total" [] "Time in which some task waited for a CPU, in seconds.";
    MEMORY_STALLED = Pressure Counter "pressure_memory_stalled_seconds_total" [] "Time in which all tasks waited for memory, in seconds.";
    MEMORY_WAITING = Pressure Counter "pressure_memory_waiting_seconds_total" [] "Time in which some task waited for memory, in seconds.";
    IO_STALLED = Pressure Counter "pressure_io_stalled_seconds_total" [] "Time in which all tasks waited for a block device, in seconds.";
    IO_WAITING = Pressure Counter "pressure_io_waiting_seconds_total" [] "Time in which some task waited for a block device, in seconds.";

    PROCESSES = Process Gauge "processes" [] "Processes.";
    FILE_DESCRIPTORS = Process Gauge "file_descriptors" [] "Open file descriptors.";
    SOCKETS = Process Gauge "sockets" [] "Open sockets.";
    THREADS = Process Gauge "threads" [] "Threads.";
    THREADS_MAX = Process Gauge "threads_max" [] "Most threads there may be; 0 is no limit.";
    ULIMITS_SOFT = Process Gauge "ulimits_soft" ["ulimit"] "Soft resource limits of the container's first process.";

    START_TIME = Spec Gauge "start_time_seconds" [] "When the container was started, in seconds since 1970.";
    SPEC_CPU_PERIOD = Spec Gauge "spec_cpu_period" [] "CFS period, in microseconds.";
    SPEC_CPU_QUOTA = Spec Gauge "spec_cpu_quota" [] "CFS quota, in microseconds.";
    SPEC_CPU_SHARES = Spec Gauge "spec_cpu_shares" [] "CPU shares.";
    SPEC_MEMORY_LIMIT = Spec Gauge "spec_memory_limit_bytes" [] "Memory limit, in bytes; 0 is none.";
    SPEC_MEMORY_RESERVATION = Spec Gauge "spec_memory_reservation_limit_bytes" [] "Memory kept for the container, in bytes; 0 is none.";
    SPEC_MEMORY_SWAP_LIMIT = Spec Gauge "spec_memory_swap_limit_bytes" [] "Limit of memory and swap together, in bytes; 0 is none.";
}
