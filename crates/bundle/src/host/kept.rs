//! Options of the node's mounts that a user namespace must keep.

use std::path::Path;

use rustix::fs::StatVfsMountFlags;

use crate::input::KeptOptions;

/// The options of the mounts that these sources are on, where there are any. To make a bind mount
/// read-only is to state all its options anew, and in a user namespace the kernel refuses to leave
/// out one that the node's mount has (`mount_namespaces(7)`). Newer versions of runc add them by
/// themselves.
#[must_use]
pub fn kept_options<'a>(sources: impl IntoIterator<Item = &'a Path>) -> KeptOptions {
    let options = |path: &Path| {
        // What cannot be looked at is the OCI runtime's to complain about.
        let flags = rustix::fs::statvfs(path).ok()?.f_flag;
        let kept: Vec<&'static str> = [
            (StatVfsMountFlags::NOSUID, "nosuid"),
            (StatVfsMountFlags::NODEV, "nodev"),
            (StatVfsMountFlags::NOEXEC, "noexec"),
        ]
        .into_iter()
        .filter_map(|(flag, option)| flags.contains(flag).then_some(option))
        .collect();
        (!kept.is_empty()).then(|| (path.to_owned(), kept))
    };
    sources.into_iter().filter_map(options).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_those_that_the_kernel_lists() {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        for point in ["/", "/proc", "/sys", "/dev"] {
            // The last mount on a point is the one to be seen there.
            let Some(line) = mounts
                .lines()
                .rfind(|line| line.split(' ').nth(4) == Some(point))
            else {
                continue;
            };
            let listed: Vec<&str> = line.split(' ').nth(5).unwrap().split(',').collect();
            let kept = kept_options([Path::new(point)]);
            let kept = kept.get(Path::new(point)).cloned().unwrap_or_default();
            for option in ["nosuid", "nodev", "noexec"] {
                assert_eq!(kept.contains(&option), listed.contains(&option), "{line}");
            }
        }
    }

    #[test]
    fn what_is_not_there_has_no_options() {
        assert!(kept_options([Path::new("/nowhere")]).is_empty());
    }
}
