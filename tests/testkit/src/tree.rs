//! The file tree of a test: the machine's, through an overlay, so that nothing written reaches it.
//!
//! ```text
//! /                  overlay: the machine's root below, a tmpfs above
//! /proc /sys         new, of the test's namespaces; /sys/fs/cgroup is the machine's
//! /dev               the machine's; /dev/shm is new
//! /run /tmp /etc/cni /etc/containers /etc/pinpod
//! /var/lib/cni /var/lib/pinpod /var/log/pods       tmpfs, empty
//! /etc/kubernetes /var/lib/kubelet /var/log/containers   tmpfs, empty, for a kubelet
//! /opt/pinpod-test   the programs under test, read-only
//! /run/testkit/written                             all that was written to the overlay
//! ```

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, mount_remount, unmount,
};

use crate::Result;

/// The programs under test.
pub(crate) const PROGRAMS: &str = "/opt/pinpod-test";

/// Everything that the test changed in the machine's tree.
pub(crate) const WRITTEN: &str = "/run/testkit/written";

/// Directories that start empty.
const FRESH: [&str; 11] = [
    "/run",
    "/tmp",
    "/etc/cni",
    "/etc/containers",
    "/etc/kubernetes",
    "/etc/pinpod",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/lib/pinpod",
    "/var/log/containers",
    "/var/log/pods",
];

/// Where the machine's tree is until it is let go.
const OLD: &str = "run/old";

/// Makes the tree and moves the whole mount namespace into it. With `hide_unified`, the cgroup v2
/// mount of a hybrid layout is not there (crun refuses it).
pub(crate) fn enter(programs: &Path, hide_unified: bool) -> Result {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("private mounts")?;
    let root = overlay()?;
    kernel_trees(&root)?;
    for fresh in FRESH {
        let target = root.join(fresh.trim_start_matches('/'));
        std::fs::create_dir_all(&target)?;
        tmpfs(&target)?;
    }
    read_only(programs, &root.join(PROGRAMS.trim_start_matches('/')))?;
    submounts(&root)?;
    let written = root.join(WRITTEN.trim_start_matches('/'));
    std::fs::create_dir_all(&written)?;
    mount_bind("/tmp/upper", &written).context("binding the overlay's upper layer")?;

    let old = root.join(OLD);
    std::fs::create_dir(&old)?;
    rustix::process::pivot_root(&root, &old).context("pivot_root")?;
    std::env::set_current_dir("/")?;
    let old = Path::new("/").join(OLD);
    unmount(&old, UnmountFlags::DETACH).context("letting the machine's tree go")?;
    std::fs::remove_dir(&old)?;
    if hide_unified && Path::new("/sys/fs/cgroup/unified").exists() {
        unmount("/sys/fs/cgroup/unified", UnmountFlags::DETACH)?;
    }
    // As systemd leaves it on a node; mount propagation is tested with it.
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    mount_change("/", shared).context("shared mounts")
}

fn tmpfs(target: &Path) -> Result {
    mount(
        "tmpfs",
        target,
        "tmpfs",
        MountFlags::empty(),
        Some(c"mode=0755"),
    )
    .with_context(|| format!("tmpfs on {}", target.display()))
}

fn overlay() -> Result<PathBuf> {
    tmpfs(Path::new("/tmp"))?;
    for name in ["upper", "work", "root"] {
        std::fs::create_dir(Path::new("/tmp").join(name))?;
    }
    let root = PathBuf::from("/tmp/root");
    let options = c"lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work";
    mount(
        "overlay",
        &root,
        "overlay",
        MountFlags::empty(),
        Some(options),
    )
    .context("overlay of the machine's root")?;
    Ok(root)
}

fn kernel_trees(root: &Path) -> Result {
    let none = MountFlags::empty();
    mount("proc", root.join("proc"), "proc", none, None).context("proc")?;
    mount("sysfs", root.join("sys"), "sysfs", none, None).context("sysfs")?;
    mount_bind_recursive("/sys/fs/cgroup", root.join("sys/fs/cgroup")).context("cgroups")?;
    mount_bind_recursive("/dev", root.join("dev")).context("/dev")?;
    let open = Some(c"mode=1777");
    mount("shm", root.join("dev/shm"), "tmpfs", none, open).context("/dev/shm")
}

fn read_only(source: &Path, target: &Path) -> Result {
    std::fs::create_dir_all(target)?;
    mount_bind(source, target).with_context(|| format!("binding {}", source.display()))?;
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    mount_remount(target, flags, c"").with_context(|| format!("read-only {}", target.display()))
}

/// Shows what else is mounted on the machine, read-only. The overlay shows the root file system
/// alone.
fn submounts(root: &Path) -> Result {
    let hidden = ["/proc", "/sys", "/dev", "/run", "/tmp"];
    for point in mount_points()? {
        if point == Path::new("/") || hidden.iter().any(|top| point.starts_with(top)) {
            continue;
        }
        let target = root.join(point.strip_prefix("/")?);
        // A file, or one that another mount hides, is not worth a failure.
        if !point.is_dir() || !target.is_dir() {
            continue;
        }
        match read_only(&point, &target) {
            Err(error) if error.downcast_ref::<Errno>() == Some(&Errno::NOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Mount points in the order of mounting, as often as something is mounted there.
pub(crate) fn mount_points() -> Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let point = |line: &str| {
        line.split(' ')
            .nth(4)
            .map(|path| PathBuf::from(unescape(path)))
    };
    Ok(table.lines().filter_map(point).collect())
}

/// Undoes the kernel's `\040` for a space, and the like.
fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (code, character) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        plain = plain.replace(code, character);
    }
    plain
}
