//! What a spec needs to know of the node: the only part of this crate, with [`crate::user`], that
//! reads anything.

mod apparmor;
mod devices;
mod kept;
mod propagation;

use std::io;
use std::path::Path;

use oci_spec::runtime::Capability;

use crate::capabilities::from_mask;
use crate::input::{CgroupMode, NodeFacts};

pub use apparmor::{apparmor_profile_loaded, check_apparmor};
pub use devices::{DeviceError, DeviceKind, Devices, HostDevice, container_devices};
pub use kept::kept_options;
pub use propagation::{check_propagation, create_missing_sources};

const CGROUPS: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: i128 = 0x6367_7270;

/// Reads what the node can do.
///
/// # Errors
/// `/proc/self/status` cannot be read or is not of the kernel's form. What else is missing counts
/// as "not there".
pub fn node_facts() -> io::Result<NodeFacts> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let capabilities = from_mask(mask(&status, "CapBnd:")? & mask(&status, "CapPrm:")?);
    let oom_score_adj_floor = if capabilities.contains(&Capability::SysResource) {
        -1000
    } else {
        read("/proc/self/oom_score_adj").trim().parse().unwrap_or(0)
    };
    let name = rustix::system::uname();
    let cgroup = cgroup_mode();
    let own = read("/proc/self/cgroup");
    Ok(NodeFacts {
        hostname: name.nodename().to_string_lossy().into_owned(),
        capabilities,
        oom_score_adj_floor,
        cgroup,
        seccomp: status.lines().any(|line| line.starts_with("Seccomp:")),
        apparmor: read("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
        selinux: is_there("/sys/fs/selinux/enforce"),
        hugepage_sizes: if has_hugetlb(cgroup, &own) {
            hugepage_sizes()
        } else {
            Vec::new()
        },
        swap: has_swap_limit(cgroup, &own),
        kernel: kernel_version(&name.release().to_string_lossy()),
    })
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn is_there(path: impl AsRef<Path>) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

fn mask(status: &str, field: &str) -> io::Result<u64> {
    status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix(field)?.trim(), 16).ok())
        .ok_or_else(|| io::Error::other(format!("/proc/self/status has no {field}")))
}

fn cgroup_mode() -> CgroupMode {
    match rustix::fs::statfs(CGROUPS) {
        Ok(stat) if i128::from(stat.f_type) == CGROUP2_MAGIC => CgroupMode::V2,
        _ if is_there(format!("{CGROUPS}/unified/cgroup.controllers")) => CgroupMode::Hybrid,
        _ => CgroupMode::V1,
    }
}

/// Whether the hierarchy that an OCI runtime writes to limits huge pages. On a hybrid node the
/// controller may sit on v2, where no runtime looks for it.
fn has_hugetlb(mode: CgroupMode, own_cgroup: &str) -> bool {
    match mode {
        CgroupMode::V2 => read(&format!("{CGROUPS}/cgroup.controllers"))
            .split_whitespace()
            .any(|controller| controller == "hugetlb"),
        CgroupMode::V1 | CgroupMode::Hybrid => own_cgroup.lines().any(|line| {
            let controllers = line.split(':').nth(1).unwrap_or_default();
            controllers
                .split(',')
                .any(|controller| controller == "hugetlb")
        }),
    }
}

fn hugepage_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let kilobytes = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
            Some(page_size(kilobytes.parse().ok()?))
        })
        .collect()
}

/// A size in KiB as cgroup files write it: `64KB`, `2MB`, `1GB`.
fn page_size(kilobytes: u64) -> String {
    match kilobytes {
        _ if kilobytes >= 1 << 20 && kilobytes.is_multiple_of(1 << 20) => {
            format!("{}GB", kilobytes >> 20)
        }
        _ if kilobytes >= 1 << 10 && kilobytes.is_multiple_of(1 << 10) => {
            format!("{}MB", kilobytes >> 10)
        }
        _ => format!("{kilobytes}KB"),
    }
}

/// The v2 root has no `memory.swap.max`; there a child of it tells.
fn has_swap_limit(mode: CgroupMode, own_cgroup: &str) -> bool {
    if mode != CgroupMode::V2 {
        return is_there(format!("{CGROUPS}/memory/memory.memsw.limit_in_bytes"));
    }
    let own = own_cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("/");
    if is_there(format!("{CGROUPS}{own}/memory.swap.max")) {
        return true;
    }
    std::fs::read_dir(CGROUPS).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| is_there(entry.path().join("memory.swap.max")))
    })
}

fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_conversions() {
        assert_eq!(page_size(2048), "2MB");
        assert_eq!(page_size(1 << 20), "1GB");
        assert_eq!(page_size(64), "64KB");
        assert_eq!(kernel_version("6.18.44-cloud"), (6, 18));
        assert_eq!(kernel_version("5"), (5, 0));
        let status = "Name:\tx\nCapBnd:\t00000000a80425fb\n";
        assert_eq!(mask(status, "CapBnd:").unwrap(), 0xa804_25fb);
        assert!(mask(status, "CapPrm:").is_err());
        let own = "4:memory:/\n3:cpu,hugetlb:/x\n0::/\n";
        assert!(has_hugetlb(CgroupMode::V1, own));
        assert!(!has_hugetlb(CgroupMode::Hybrid, "4:memory:/\n0::/\n"));
    }

    #[test]
    fn this_node_can_be_read() {
        let facts = node_facts().unwrap();
        assert!(facts.kernel.0 >= 5);
        assert!(!facts.hostname.is_empty());
    }
}
