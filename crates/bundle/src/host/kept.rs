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
    fn proc_is_closed_and_what_is_not_there_has_nothing() {
        let kept = kept_options([Path::new("/proc"), Path::new("/nowhere")]);
        let proc = &kept[Path::new("/proc")];
        assert!(proc.contains(&"nosuid"), "{proc:?}");
        assert_eq!(kept.len(), 1);
    }
}
