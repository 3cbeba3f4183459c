//! Limits of a pod's own cgroup, from the units of CRI.

use std::fs;
use std::io;

use pinpod_model::LinuxResources;

use crate::hierarchy::{Hierarchy, Version};
use crate::{CgroupError, CgroupPath};

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    controller: String,
    file: String,
    value: String,
}

impl Setting {
    fn new(controller: &str, file: &str, value: impl ToString) -> Self {
        Self {
            controller: controller.to_owned(),
            file: file.to_owned(),
            value: value.to_string(),
        }
    }
}

impl Hierarchy {
    /// Sets the limits of a cgroup that exists. Zero and empty fields leave what is there;
    /// `oom_score_adj` belongs to processes and is not looked at.
    ///
    /// # Errors
    /// See [`CgroupError`]; those before the one that failed stay set.
    pub fn apply(&self, path: &CgroupPath, limits: &LinuxResources) -> Result<(), CgroupError> {
        let version_of = |controller: &str| {
            let found = self.controller(controller);
            found.map_or(Version::V2, |(version, _)| version)
        };
        let settings = plan(limits, version_of)?;
        let mut refused = Vec::new();
        for setting in &settings {
            match self.set(path, setting) {
                // Two limits may bound each other (quota and period, memory with and without
                // swap), so that one can only be set after the other.
                Err(CgroupError::Write { source, .. })
                    if source.kind() == io::ErrorKind::InvalidInput =>
                {
                    refused.push(setting);
                }
                other => other?,
            }
        }
        refused
            .iter()
            .try_for_each(|setting| self.set(path, setting))
    }

    fn set(&self, path: &CgroupPath, setting: &Setting) -> Result<(), CgroupError> {
        let directory = if setting.controller == "cgroup" {
            self.unified(path)
        } else {
            let found = self.directory(&setting.controller, path);
            found.map(|(_, directory)| directory)
        };
        let Some(directory) = directory else {
            return Err(CgroupError::NoController {
                controller: setting.controller.clone(),
                setting: setting.file.clone(),
            });
        };
        let file = directory.join(&setting.file);
        fs::write(&file, &setting.value).map_err(|source| CgroupError::Write {
            file,
            value: setting.value.clone(),
            source,
        })
    }
}

fn plan(
    limits: &LinuxResources,
    version_of: impl Fn(&str) -> Version,
) -> Result<Vec<Setting>, CgroupError> {
    let mut settings = Vec::new();
    match version_of("cpu") {
        Version::V1 => cpu_v1(limits, &mut settings),
        Version::V2 => cpu_v2(limits, &mut settings),
    }
    match version_of("memory") {
        Version::V1 => memory_v1(limits, &mut settings),
        Version::V2 => memory_v2(limits, &mut settings),
    }
    for (file, value) in [
        ("cpuset.cpus", &limits.cpuset_cpus),
        ("cpuset.mems", &limits.cpuset_mems),
    ] {
        if !value.is_empty() {
            settings.push(Setting::new("cpuset", file, value));
        }
    }
    let name = match version_of("hugetlb") {
        Version::V1 => "limit_in_bytes",
        Version::V2 => "max",
    };
    for page in &limits.hugepage_limits {
        let file = format!("hugetlb.{}.{name}", page.page_size);
        settings.push(Setting::new("hugetlb", &file, page.limit));
    }
    for (key, value) in &limits.unified {
        settings.push(unified(key, value)?);
    }
    Ok(settings)
}

fn cpu_v1(limits: &LinuxResources, settings: &mut Vec<Setting>) {
    for (file, value) in [
        ("cpu.shares", limits.cpu_shares),
        ("cpu.cfs_period_us", limits.cpu_period),
        ("cpu.cfs_quota_us", limits.cpu_quota),
    ] {
        if value != 0 {
            settings.push(Setting::new("cpu", file, value.max(-1)));
        }
    }
}

fn cpu_v2(limits: &LinuxResources, settings: &mut Vec<Setting>) {
    if let Ok(shares @ 1..) = u64::try_from(limits.cpu_shares) {
        settings.push(Setting::new("cpu", "cpu.weight", weight_of_shares(shares)));
    }
    let period = match limits.cpu_period {
        0 => String::new(),
        period => format!(" {period}"),
    };
    let quota = match limits.cpu_quota {
        0 if period.is_empty() => return,
        ..=0 => "max".to_owned(),
        quota => quota.to_string(),
    };
    settings.push(Setting::new("cpu", "cpu.max", format!("{quota}{period}")));
}

/// CPU shares (2 to 262144, usually 1024) as the weight of version 2 (1 to 10000, usually 100): the
/// curve that the OCI runtimes and the kubelet use since 2025, which keeps the usual values and both
/// ends.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the shares are clamped to 18 bits, the weight to 1 to 10000"
)]
fn weight_of_shares(shares: u64) -> u64 {
    let bits = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (bits * bits + 125.0 * bits) / 612.0 - 7.0 / 34.0;
    // What rounding of the logarithms adds must not become a whole step.
    let weight = (10_f64.powf(exponent) - 1e-9).ceil();
    (weight as u64).clamp(1, 10_000)
}

fn memory_v1(limits: &LinuxResources, settings: &mut Vec<Setting>) {
    for (file, value) in [
        ("memory.limit_in_bytes", limits.memory_limit),
        ("memory.memsw.limit_in_bytes", limits.memory_swap_limit),
    ] {
        if value != 0 {
            settings.push(Setting::new("memory", file, value.max(-1)));
        }
    }
}

/// Version 2 counts swap alone; CRI counts memory and swap together.
fn memory_v2(limits: &LinuxResources, settings: &mut Vec<Setting>) {
    let or_max = |value: i64| match value {
        ..0 => "max".to_owned(),
        value => value.to_string(),
    };
    if limits.memory_limit != 0 {
        let value = or_max(limits.memory_limit);
        settings.push(Setting::new("memory", "memory.max", value));
    }
    let swap = match (limits.memory_swap_limit, limits.memory_limit) {
        (0, _) => return,
        (both @ 1.., memory @ 1..) => or_max(both.saturating_sub(memory).max(0)),
        // Without a memory limit there is nothing to subtract.
        (both, _) => or_max(both),
    };
    settings.push(Setting::new("memory", "memory.swap.max", swap));
}

/// `cpu.max` belongs to the controller `cpu`; `cgroup.…` to the kernel itself.
fn unified(key: &str, value: &str) -> Result<Setting, CgroupError> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    match key.split_once('.') {
        Some((controller, rest))
            if !controller.is_empty() && !rest.is_empty() && key.chars().all(sound) =>
        {
            Ok(Setting::new(controller, key, value))
        }
        _ => Err(CgroupError::BadUnifiedKey {
            key: key.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use pinpod_model::HugepageLimit;

    fn lines(limits: &LinuxResources, version: Version) -> Vec<String> {
        let settings = plan(limits, |_| version).unwrap();
        let lines = settings
            .iter()
            .map(|setting| format!("{}={}", setting.file, setting.value));
        lines.collect()
    }

    #[test]
    fn each_version_gets_its_own_files() {
        let limits = LinuxResources {
            cpu_period: 100_000,
            cpu_quota: 50_000,
            cpu_shares: 1024,
            memory_limit: 1000,
            memory_swap_limit: 1500,
            cpuset_cpus: "0-1".into(),
            hugepage_limits: vec![HugepageLimit {
                page_size: "2MB".into(),
                limit: 0,
            }],
            unified: [("memory.high".to_owned(), "900".to_owned())].into(),
            ..LinuxResources::default()
        };
        assert_eq!(
            lines(&limits, Version::V1),
            [
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "memory.limit_in_bytes=1000",
                "memory.memsw.limit_in_bytes=1500",
                "cpuset.cpus=0-1",
                "hugetlb.2MB.limit_in_bytes=0",
                "memory.high=900",
            ]
        );
        assert_eq!(
            lines(&limits, Version::V2),
            [
                "cpu.weight=100",
                "cpu.max=50000 100000",
                "memory.max=1000",
                "memory.swap.max=500",
                "cpuset.cpus=0-1",
                "hugetlb.2MB.max=0",
                "memory.high=900",
            ]
        );
    }

    #[test]
    fn no_limit_and_not_set() {
        assert!(lines(&LinuxResources::default(), Version::V1).is_empty());
        assert!(lines(&LinuxResources::default(), Version::V2).is_empty());
        let none = LinuxResources {
            cpu_quota: -1,
            memory_limit: -1,
            memory_swap_limit: -1,
            ..LinuxResources::default()
        };
        assert_eq!(
            lines(&none, Version::V2),
            ["cpu.max=max", "memory.max=max", "memory.swap.max=max"]
        );
        assert_eq!(lines(&none, Version::V1)[0], "cpu.cfs_quota_us=-1");
    }

    #[test]
    fn shares_as_weight() {
        for (shares, weight) in [(1, 1), (2, 1), (102, 17), (1024, 100), (262_144, 10_000)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn unified_keys() {
        assert_eq!(unified("cpu.max", "1").unwrap().controller, "cpu");
        for bad in ["", "cpu", ".max", "cpu.", "../cpu.max", "cpu/max.x"] {
            assert!(unified(bad, "1").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn limits_reach_the_kernel_up_and_down() {
        let scratch = Scratch::new("limits");
        let (hierarchy, path) = (&scratch.hierarchy, &scratch.path);
        hierarchy.create(path).unwrap();
        for mebibytes in [64_u64, 256, 32] {
            let bytes = mebibytes << 20;
            let signed = i64::try_from(bytes).unwrap();
            let limits = LinuxResources {
                cpu_period: 50_000,
                cpu_quota: 25_000,
                cpu_shares: 512,
                memory_limit: signed,
                memory_swap_limit: signed,
                ..LinuxResources::default()
            };
            hierarchy.apply(path, &limits).unwrap();
            let memory = hierarchy.stats(path).unwrap().memory.unwrap();
            assert_eq!(memory.limit, Some(bytes));
        }
        let limits = LinuxResources {
            unified: [("nothing.max".to_owned(), "1".to_owned())].into(),
            ..LinuxResources::default()
        };
        let error = hierarchy.apply(path, &limits).unwrap_err();
        assert!(matches!(error, CgroupError::NoController { .. }), "{error}");
    }
}
