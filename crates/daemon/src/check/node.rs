//! The kernel and what this process may do with it.

use std::path::Path;

use oci_spec::runtime::Capability;
use pinpod_bundle::{CgroupMode, NodeFacts};
use pinpod_config::Config;
use pinpod_model::CgroupDriver;

use super::report::Finding;

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAY_MAGIC: i128 = 0x794c_7630;
/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS_MAGIC: i128 = 0x0102_1994;

pub(super) fn findings(config: &Config, facts: &NodeFacts) -> Vec<Finding> {
    let mut findings = kernel(facts);
    findings.extend(rights(facts));
    findings.extend(cgroups(config, facts));
    findings.extend(security(facts));
    findings.extend(directories(config));
    findings
}

fn kernel(facts: &NodeFacts) -> Vec<Finding> {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let is_at_least = |major: u32, minor: u32| facts.kernel >= (major, minor);
    let namespaces: Vec<&str> = ["net", "ipc", "uts", "pid", "mnt", "cgroup", "user"]
        .into_iter()
        .filter(|kind| Path::new(&format!("/proc/self/ns/{kind}")).exists())
        .collect();
    let has = |kind: &str| namespaces.contains(&kind);
    let overlay = overlay(Path::new("/"), &release);
    vec![
        Finding::needed(
            "kernel",
            is_at_least(5, 8),
            &release,
            "pinpod needs the mount API, pidfds and openat2 of Linux 5.8",
        ),
        Finding::needed(
            "namespaces",
            ["net", "ipc", "uts", "pid", "mnt"].into_iter().all(has),
            namespaces.join(" "),
            "a pod cannot be isolated without net, ipc, uts, pid and mnt",
        ),
        Finding::wanted(
            "user namespaces",
            has("user") && max_user_namespaces() > 0,
            format!("{} allowed", max_user_namespaces()),
            "pods with hostUsers: false are refused",
        ),
        Finding::wanted(
            "idmapped mounts",
            is_at_least(5, 19),
            format!("overlayfs: Linux 5.19, here {release}"),
            "pods with hostUsers: false get copies of their volumes' owners, or are refused",
        ),
        Finding::needed(
            "overlayfs",
            overlay.is_some(),
            overlay.unwrap_or("neither in /proc/filesystems nor a module of this kernel"),
            "containers have no root file system: load the module \"overlay\"",
        ),
        Finding::wanted(
            "overlayfs lowerdir+",
            is_at_least(6, 8),
            format!("Linux 6.8, here {release}"),
            "the layers of one image are limited by the length of their paths",
        ),
    ]
}

/// How overlayfs is there, if it is: the kernel loads a module of a file system by itself when the
/// first one is mounted, so it need not be loaded yet.
fn overlay(root: &Path, release: &str) -> Option<&'static str> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let known = read("proc/filesystems");
    if known.split_whitespace().any(|name| name == "overlay") {
        return Some("in /proc/filesystems");
    }
    // The kernel loads none any more, or has nothing to load it with.
    if read("proc/sys/kernel/modules_disabled").trim() == "1"
        || read("proc/sys/kernel/modprobe").trim().is_empty()
    {
        return None;
    }
    // A line is a module's path, a colon, and the modules it needs.
    let modules = read(&format!("lib/modules/{release}/modules.dep"));
    modules
        .lines()
        .filter_map(|line| line.split_once(':')?.0.rsplit('/').next())
        .any(|file| file.split_once('.').map_or(file, |(name, _)| name) == "overlay")
        .then_some("a module, loaded when it is needed")
}

fn max_user_namespaces() -> u64 {
    read("/proc/sys/user/max_user_namespaces")
        .trim()
        .parse()
        .unwrap_or(0)
}

fn rights(facts: &NodeFacts) -> Vec<Finding> {
    let has = |capability: Capability| facts.capabilities.contains(&capability);
    let needed = [
        (
            Capability::SysAdmin,
            "SYS_ADMIN",
            "pinpod can neither mount nor make namespaces",
        ),
        (Capability::NetAdmin, "NET_ADMIN", "pods get no network"),
        (
            Capability::SysChroot,
            "SYS_CHROOT",
            "containers cannot enter their root file system",
        ),
        (Capability::Mknod, "MKNOD", "containers get no devices"),
    ];
    let mut findings: Vec<Finding> = needed
        .into_iter()
        .map(|(capability, name, consequence)| {
            let found = if has(capability) { "held" } else { "not held" };
            Finding::needed(format!("CAP_{name}"), has(capability), found, consequence)
        })
        .collect();
    findings.push(Finding::wanted(
        "CAP_SYS_RESOURCE",
        has(Capability::SysResource),
        format!("oom_score_adj from {} up", facts.oom_score_adj_floor),
        "a lower oom_score_adj than pinpod's own is raised to it; privileged containers lack it too",
    ));
    findings
}

fn cgroups(config: &Config, facts: &NodeFacts) -> Vec<Finding> {
    let (mode, unified) = match facts.cgroup {
        CgroupMode::V2 => ("v2", true),
        CgroupMode::Hybrid => ("v1 with v2 beside it (hybrid)", false),
        CgroupMode::V1 => ("v1", false),
    };
    let controllers = if unified {
        read("/sys/fs/cgroup/cgroup.controllers")
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    } else {
        v1_controllers(&read("/proc/cgroups"))
    };
    let has = |name: &str| controllers.iter().any(|known| known == name);
    let systemd = Path::new("/run/systemd/system").exists();
    let driver = match config.runtime.cgroup_manager {
        CgroupDriver::Systemd => "systemd",
        CgroupDriver::Cgroupfs => "cgroupfs",
    };
    vec![
        Finding::wanted(
            "cgroups",
            unified,
            mode,
            "no PSI in statistics, no unified resources, OOM told by v1 events; crun may refuse it",
        ),
        Finding::needed(
            "cgroup controllers",
            has("memory") && has("cpu"),
            controllers.join(" "),
            "limits of memory or CPU cannot be set",
        ),
        Finding::wanted(
            "pids controller",
            has("pids"),
            if has("pids") { "there" } else { "not there" },
            "pids_limit is ignored",
        ),
        Finding::wanted(
            "swap limits",
            facts.swap,
            yes(facts.swap),
            "swap limits are ignored",
        ),
        Finding::needed(
            "cgroup_manager",
            driver == "cgroupfs" || systemd,
            format!(
                "{driver}, systemd {}",
                if systemd { "runs" } else { "does not run" }
            ),
            "set cgroup_manager = \"cgroupfs\": there is no systemd to make slices and scopes",
        ),
    ]
}

fn v1_controllers(table: &str) -> Vec<String> {
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| {
        let mut columns = line.split_whitespace();
        let name = columns.next()?;
        (columns.nth(2) == Some("1")).then(|| name.to_owned())
    })
    .collect()
}

fn security(facts: &NodeFacts) -> Vec<Finding> {
    vec![
        Finding::wanted(
            "seccomp",
            facts.seccomp,
            yes(facts.seccomp),
            "no system call is filtered, whatever the profile says",
        ),
        Finding::wanted(
            "AppArmor",
            facts.apparmor,
            yes(facts.apparmor),
            "containers that ask for an AppArmor profile are refused",
        ),
        Finding::wanted(
            "SELinux",
            facts.selinux,
            yes(facts.selinux),
            "SELinux options are ignored",
        ),
    ]
}

fn directories(config: &Config) -> Vec<Finding> {
    let root = file_system(&config.root);
    let runroot = file_system(&config.runroot);
    vec![
        Finding::needed(
            "root",
            root != Some(OVERLAY_MAGIC),
            config.root.display().to_string(),
            "is on overlayfs, which cannot hold the writable layers of containers",
        ),
        Finding::wanted(
            "runroot",
            runroot == Some(TMPFS_MAGIC),
            config.runroot.display().to_string(),
            "is not on a tmpfs: after a reboot, records of pods that are gone are cleaned up first",
        ),
    ]
}

/// Magic number of the file system that holds `path`, or the part of it that exists.
fn file_system(path: &Path) -> Option<i128> {
    let there = path.ancestors().find(|part| part.exists())?;
    rustix::fs::statfs(there)
        .ok()
        .map(|found| i128::from(found.f_type))
}

fn yes(is: bool) -> &'static str {
    if is { "on" } else { "off" }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enabled_controllers_are_read_from_the_fourth_column() {
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t2\t1\t1\nrdma\t0\t1\t0\n";
        assert_eq!(v1_controllers(table), ["cpu"]);
    }

    #[test]
    fn overlayfs_may_be_a_module_that_is_not_loaded_yet() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let found = || overlay(root.path(), "6.1.0-x");
        let dep = "lib/modules/6.1.0-x/modules.dep";
        let module = Some("a module, loaded when it is needed");
        write("proc/filesystems", "nodev\tproc\n\text4\n");
        write("proc/sys/kernel/modprobe", "/sbin/modprobe\n");
        write("proc/sys/kernel/modules_disabled", "0\n");
        assert_eq!(found(), None);
        // Another kernel's, and a module that only needs it.
        write(
            "lib/modules/6.1.0-y/modules.dep",
            "kernel/fs/overlayfs/overlay.ko:\n",
        );
        write(dep, "extra/my_overlay.ko: kernel/fs/overlayfs/overlay.ko\n");
        assert_eq!(found(), None);
        for name in ["overlay.ko", "overlay.ko.xz", "overlay.ko.zst"] {
            write(
                dep,
                &format!("kernel/a.ko: kernel/b.ko\nkernel/fs/overlayfs/{name}:\n"),
            );
            assert_eq!(found(), module, "{name}");
        }
        write("proc/sys/kernel/modules_disabled", "1\n");
        assert_eq!(found(), None);
        write("proc/sys/kernel/modules_disabled", "0\n");
        write("proc/sys/kernel/modprobe", "\n");
        assert_eq!(found(), None);
        write("proc/filesystems", "nodev\tproc\nnodev\toverlay\n");
        assert_eq!(found(), Some("in /proc/filesystems"));
    }
}
