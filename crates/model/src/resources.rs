//! Resource limits, in the units of CRI.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Limit of one huge page size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugepageLimit {
    /// Page size as the kernel writes it, `2MB` or `1GB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// CRI's `LinuxContainerResources`. Zero and empty mean "not set", as in CRI.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LinuxResources {
    /// CFS period in microseconds.
    pub cpu_period: i64,
    /// CFS quota in microseconds; negative means none.
    pub cpu_quota: i64,
    /// CPU shares, 2 to 262144.
    pub cpu_shares: i64,
    /// Memory limit in bytes.
    pub memory_limit: i64,
    /// Requested `oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: i64,
    /// CPUs, in the kernel's list format.
    pub cpuset_cpus: String,
    /// Memory nodes, in the kernel's list format.
    pub cpuset_mems: String,
    /// Huge page limits.
    pub hugepage_limits: Vec<HugepageLimit>,
    /// Cgroup v2 files and what to write to them.
    pub unified: BTreeMap<String, String>,
    /// Memory and swap together, in bytes; negative means no limit.
    pub memory_swap_limit: i64,
}
