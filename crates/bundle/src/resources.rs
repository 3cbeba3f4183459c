//! Limits: CRI `LinuxContainerResources` to the spec's `linux.resources`, for a create and for an
//! update.

use std::collections::HashMap;

use oci_spec::runtime::{
    LinuxCpu, LinuxCpuBuilder, LinuxHugepageLimit, LinuxHugepageLimitBuilder, LinuxMemory,
    LinuxMemoryBuilder, LinuxResources, LinuxResourcesBuilder,
};
use pinpod_model::LinuxResources as Asked;

use crate::SpecError;
use crate::input::{CgroupMode, NodeFacts};

/// The limits that are set, without devices and processes. What is zero or empty in the request is
/// left out, so that an update leaves it alone.
///
/// # Errors
/// A limit that this node cannot hold, or a number out of range, by name.
pub fn linux_resources(asked: &Asked, node: &NodeFacts) -> Result<LinuxResources, SpecError> {
    let mut resources = LinuxResourcesBuilder::default();
    if let Some(cpu) = cpu(asked)? {
        resources = resources.cpu(cpu);
    }
    if let Some(memory) = memory(asked, node)? {
        resources = resources.memory(memory);
    }
    let hugepages = hugepages(asked, node)?;
    if !hugepages.is_empty() {
        resources = resources.hugepage_limits(hugepages);
    }
    let unified = unified(asked, node)?;
    if !unified.is_empty() {
        resources = resources.unified(unified);
    }
    Ok(resources.build()?)
}

fn unsigned(field: &'static str, value: i64) -> Result<u64, SpecError> {
    u64::try_from(value).map_err(|_| SpecError::OutOfRange { field, value })
}

fn cpu(asked: &Asked) -> Result<Option<LinuxCpu>, SpecError> {
    let mut cpu = LinuxCpuBuilder::default();
    if asked.cpu_shares != 0 {
        cpu = cpu.shares(unsigned("cpu_shares", asked.cpu_shares)?);
    }
    if asked.cpu_period != 0 {
        cpu = cpu.period(unsigned("cpu_period", asked.cpu_period)?);
    }
    if asked.cpu_quota != 0 {
        cpu = cpu.quota(asked.cpu_quota.max(-1));
    }
    if !asked.cpuset_cpus.is_empty() {
        cpu = cpu.cpus(asked.cpuset_cpus.clone());
    }
    if !asked.cpuset_mems.is_empty() {
        cpu = cpu.mems(asked.cpuset_mems.clone());
    }
    let cpu = cpu.build()?;
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

/// The spec's `swap` is memory and swap together, on both cgroup versions. A limit on memory alone
/// means no swap, where the node can limit it.
fn memory(asked: &Asked, node: &NodeFacts) -> Result<Option<LinuxMemory>, SpecError> {
    let mut memory = LinuxMemoryBuilder::default();
    if asked.memory_limit != 0 {
        memory = memory.limit(asked.memory_limit.max(-1));
    }
    let together = match (asked.memory_swap_limit, asked.memory_limit) {
        (0, limit) => limit,
        (swap, _) => swap,
    };
    if node.swap && together != 0 {
        if together > 0 && together < asked.memory_limit {
            return Err(SpecError::OutOfRange {
                field: "memory_swap_limit_in_bytes, which is below the memory limit,",
                value: together,
            });
        }
        memory = memory.swap(together.max(-1));
    }
    let memory = memory.build()?;
    Ok((memory != LinuxMemory::default()).then_some(memory))
}

/// The kubelet names each size of the node with a limit of 0; where a size cannot be limited, only
/// a limit that grants something is refused.
fn hugepages(asked: &Asked, node: &NodeFacts) -> Result<Vec<LinuxHugepageLimit>, SpecError> {
    let mut limits = Vec::new();
    for asked in &asked.hugepage_limits {
        if !node.hugepage_sizes.contains(&asked.page_size) {
            if asked.limit == 0 {
                continue;
            }
            return Err(SpecError::HugepageSize(asked.page_size.clone()));
        }
        let limit = i64::try_from(asked.limit).map_err(|_| SpecError::HugepageLimit {
            size: asked.page_size.clone(),
            limit: asked.limit,
        })?;
        limits.push(
            LinuxHugepageLimitBuilder::default()
                .page_size(asked.page_size.clone())
                .limit(limit)
                .build()?,
        );
    }
    Ok(limits)
}

fn unified(asked: &Asked, node: &NodeFacts) -> Result<HashMap<String, String>, SpecError> {
    if let Some(key) = asked.unified.keys().next()
        && node.cgroup != CgroupMode::V2
    {
        return Err(SpecError::UnifiedNeedsV2(key.clone()));
    }
    // A key is a file name that the OCI runtime opens for writing.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let bad = |key: &&String| !key.contains('.') || key.starts_with('.') || !key.chars().all(plain);
    if let Some(key) = asked.unified.keys().find(bad) {
        return Err(SpecError::UnifiedKey(key.clone()));
    }
    Ok(asked
        .unified
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinpod_model::HugepageLimit;
    use serde_json::json;

    fn node(cgroup: CgroupMode, swap: bool) -> NodeFacts {
        NodeFacts {
            cgroup,
            swap,
            hugepage_sizes: vec!["2MB".into()],
            ..NodeFacts::default()
        }
    }

    fn asked() -> Asked {
        Asked::default()
    }

    #[test]
    fn limits_in_the_form_of_the_spec() {
        let pages = |size: &str, limit| Asked {
            hugepage_limits: vec![HugepageLimit {
                page_size: size.into(),
                limit,
            }],
            ..asked()
        };
        for (asked, swap, expected) in [
            (asked(), true, json!({})),
            (
                Asked {
                    cpu_shares: 512,
                    cpu_period: 100_000,
                    cpu_quota: -1,
                    ..asked()
                },
                true,
                json!({"cpu": {"shares": 512, "period": 100_000, "quota": -1}}),
            ),
            (
                Asked {
                    cpuset_cpus: "0-1".into(),
                    cpuset_mems: "0".into(),
                    ..asked()
                },
                true,
                json!({"cpu": {"cpus": "0-1", "mems": "0"}}),
            ),
            (
                Asked {
                    memory_limit: 1024,
                    ..asked()
                },
                true,
                json!({"memory": {"limit": 1024, "swap": 1024}}),
            ),
            (
                Asked {
                    memory_limit: 1024,
                    memory_swap_limit: 4096,
                    ..asked()
                },
                true,
                json!({"memory": {"limit": 1024, "swap": 4096}}),
            ),
            (
                Asked {
                    memory_limit: 1024,
                    memory_swap_limit: -1,
                    ..asked()
                },
                true,
                json!({"memory": {"limit": 1024, "swap": -1}}),
            ),
            (
                Asked {
                    memory_limit: 1024,
                    memory_swap_limit: 4096,
                    ..asked()
                },
                false,
                json!({"memory": {"limit": 1024}}),
            ),
            (
                pages("2MB", 0),
                true,
                json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}),
            ),
            (pages("1GB", 0), true, json!({})),
        ] {
            let resources = linux_resources(&asked, &node(CgroupMode::V2, swap)).unwrap();
            assert_eq!(serde_json::to_value(&resources).unwrap(), expected);
        }
        let error = linux_resources(&pages("1GB", 1 << 30), &node(CgroupMode::V2, true));
        assert!(error.unwrap_err().to_string().contains("1GB"));
    }

    #[test]
    fn unified_needs_v2() {
        let with = |key: &str| Asked {
            unified: [(key.to_owned(), "1".to_owned())].into(),
            ..asked()
        };
        let v2 = node(CgroupMode::V2, true);
        assert!(linux_resources(&with("memory.high"), &v2).is_ok());
        for bad in ["../x.y", "memory", "a/b.c", ".hidden"] {
            assert!(
                matches!(
                    linux_resources(&with(bad), &v2),
                    Err(SpecError::UnifiedKey(_))
                ),
                "{bad}"
            );
        }
        for mode in [CgroupMode::V1, CgroupMode::Hybrid] {
            let outcome = linux_resources(&with("memory.high"), &node(mode, true));
            assert!(matches!(outcome, Err(SpecError::UnifiedNeedsV2(_))));
        }
    }

    #[test]
    fn numbers_out_of_range() {
        let v2 = node(CgroupMode::V2, true);
        for bad in [
            Asked {
                cpu_shares: -1,
                ..asked()
            },
            Asked {
                cpu_period: -5,
                ..asked()
            },
            Asked {
                memory_limit: 10,
                memory_swap_limit: 5,
                ..asked()
            },
        ] {
            assert!(matches!(
                linux_resources(&bad, &v2),
                Err(SpecError::OutOfRange { .. })
            ));
        }
    }
}
