//! The mounts: what every container has, the pod's files, and the request's.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};
use pinpod_model::{Mount as Asked, MountPropagation, NamespaceMode, PidMode};

use crate::SpecError;
use crate::input::{KeptOptions, SpecInput};
use crate::namespaces::id_mappings;

/// Group of the terminals below `/dev/pts` (`tty` in every distribution).
const TTY_GROUP: u32 = 5;

/// The mounts in the order in which they are made: by depth, so that none hides a deeper one. One
/// of the request takes the place of a standard one.
pub(crate) fn mounts(input: &SpecInput<'_>) -> Result<Vec<Mount>, SpecError> {
    let mut all = standard(input)?;
    all.extend(pod_files(input)?);
    for asked in &input.container.config.mounts {
        let mount = requested(asked, input.container.kept)?;
        all.retain(|earlier| earlier.destination() != mount.destination());
        all.push(mount);
    }
    all.sort_by_key(|mount| mount.destination().components().count());
    Ok(all)
}

/// The propagation of the root file system: at least as open as its most open mount, else events
/// would stop there.
pub(crate) fn rootfs_propagation(mounts: &[Asked]) -> Option<&'static str> {
    let any = |wanted| mounts.iter().any(|mount| mount.propagation == wanted);
    if any(MountPropagation::Bidirectional) {
        Some("rshared")
    } else if any(MountPropagation::HostToContainer) {
        Some("rslave")
    } else {
        None
    }
}

fn mount(
    destination: impl Into<PathBuf>,
    kind: &str,
    source: impl Into<PathBuf>,
    options: &[&str],
) -> Result<Mount, SpecError> {
    Ok(MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(
            options
                .iter()
                .map(|option| (*option).to_owned())
                .collect::<Vec<_>>(),
        )
        .build()?)
}

fn standard(input: &SpecInput<'_>) -> Result<Vec<Mount>, SpecError> {
    let privileged = input.container.config.security.privileged;
    let pod = &input.pod.config.security.namespaces;
    let access = if privileged { "rw" } else { "ro" };
    let hidden = ["nosuid", "noexec", "nodev"];
    let mut pts = vec![
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    let tty_group = format!("gid={TTY_GROUP}");
    // A user namespace that does not map the group would refuse the option.
    let mapped = |length| TTY_GROUP < length;
    if pod.user.as_ref().is_none_or(|user| mapped(user.gid.length)) {
        pts.push(&tty_group);
    }
    let sys = if pod.user.is_some() && pod.network == NamespaceMode::Node {
        // sysfs belongs to the owner of the network namespace, which is not the container.
        mount(
            "/sys",
            "bind",
            "/sys",
            &[&hidden[..], &["rbind", "rprivate", access]].concat(),
        )?
    } else {
        mount("/sys", "sysfs", "sysfs", &[&hidden[..], &[access]].concat())?
    };
    let node = |path: &str| {
        mount(
            path,
            "bind",
            path,
            &[&hidden[..], &["rbind", "rprivate"]].concat(),
        )
    };
    let container = &input.container.config.security.namespaces;
    // Private: crun's mounts below these would reach the node. As with sysfs: the owner of the node's processes and queues may mount them, and nobody else.
    let proc = if pod.user.is_some() && container.pid == PidMode::Node {
        node("/proc")?
    } else {
        mount("/proc", "proc", "proc", &hidden)?
    };
    let mqueue = if pod.user.is_some() && pod.ipc == NamespaceMode::Node {
        node("/dev/mqueue")?
    } else {
        mount("/dev/mqueue", "mqueue", "mqueue", &hidden)?
    };
    Ok(vec![
        proc,
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
        mount("/dev/pts", "devpts", "devpts", &pts)?,
        mqueue,
        sys,
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &[&hidden[..], &["relatime", access]].concat(),
        )?,
        shm(input)?,
    ])
}

fn shm(input: &SpecInput<'_>) -> Result<Mount, SpecError> {
    let bind = ["rbind", "rprivate", "rw"];
    match (
        &input.pod.files.shm,
        input.pod.config.security.namespaces.ipc,
    ) {
        (Some(shm), _) => mount("/dev/shm", "bind", shm, &bind),
        (None, NamespaceMode::Node) => mount("/dev/shm", "bind", "/dev/shm", &bind),
        (None, NamespaceMode::Pod) => {
            let options = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];
            mount("/dev/shm", "tmpfs", "shm", &options)
        }
    }
}

/// `hostname`, `hosts` and `resolv.conf`, read-only where the root file system is.
fn pod_files(input: &SpecInput<'_>) -> Result<Vec<Mount>, SpecError> {
    let files = input.pod.files;
    let readonly = input.container.config.security.readonly_rootfs;
    let access = if readonly { "ro" } else { "rw" };
    let options = ["rbind", "rprivate", access];
    [
        ("/etc/hostname", &files.hostname),
        ("/etc/hosts", &files.hosts),
        ("/etc/resolv.conf", &files.resolv_conf),
    ]
    .into_iter()
    .filter_map(|(path, source)| source.as_ref().map(|source| (path, source)))
    .map(|(path, source)| {
        let kept = kept_of(input.container.kept, access, source);
        mount(path, "bind", source, &[&options[..], kept].concat())
    })
    .collect()
}

/// What a read-only bind mount of this source must state beside `ro`. The recursive `rro` changes
/// one attribute and states none.
fn kept_of<'a>(
    kept: &'a KeptOptions,
    access: &str,
    source: impl AsRef<Path>,
) -> &'a [&'static str] {
    match kept.get(source.as_ref()) {
        Some(options) if access == "ro" => options,
        _ => &[],
    }
}

fn requested(asked: &Asked, kept: &KeptOptions) -> Result<Mount, SpecError> {
    let name = || asked.container_path.clone();
    if asked.host_path.is_empty() {
        return Err(SpecError::MountSource(name()));
    }
    let private = asked.propagation == MountPropagation::Private;
    if asked.recursive_read_only && !(asked.readonly && private) {
        return Err(SpecError::RecursiveReadOnly(name()));
    }
    if asked.uid_mappings.is_empty() != asked.gid_mappings.is_empty() {
        return Err(SpecError::MountMapping(name()));
    }
    let propagation = match asked.propagation {
        MountPropagation::Private => "rprivate",
        MountPropagation::HostToContainer => "rslave",
        MountPropagation::Bidirectional => "rshared",
    };
    // `ro` alone is about the topmost mount; `rro` asks mount_setattr(2) for those below as well.
    let access = match (asked.recursive_read_only, asked.readonly) {
        (true, _) => "rro",
        (false, true) => "ro",
        (false, false) => "rw",
    };
    let mut built = MountBuilder::default()
        .destination(destination(&asked.container_path)?)
        .typ("bind")
        .source(&asked.host_path)
        .options(
            [
                &["rbind", propagation, access],
                kept_of(kept, access, &asked.host_path),
            ]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>(),
        );
    if !asked.uid_mappings.is_empty() {
        built = built
            .uid_mappings(id_mappings(&asked.uid_mappings)?)
            .gid_mappings(id_mappings(&asked.gid_mappings)?);
    }
    Ok(built.build()?)
}

/// The destination without `.`, `..` and double slashes. Symlinks in the image are the OCI
/// runtime's to resolve, below the root. A relative path counts from the root, as CRI-O has it.
fn destination(path: &str) -> Result<PathBuf, SpecError> {
    let mut clean = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if clean == Path::new("/") {
        return Err(SpecError::MountDestination(path.to_owned()));
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn destinations() {
        for (path, clean) in [
            ("/etc/hosts", "/etc/hosts"),
            ("//etc///hosts/", "/etc/hosts"),
            ("/etc/../etc/./hosts", "/etc/hosts"),
            ("/../../a", "/a"),
            ("data", "/data"),
        ] {
            assert_eq!(destination(path).unwrap(), Path::new(clean));
        }
        for bad in ["", "/", "/..", "."] {
            assert!(destination(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_destination_is_absolute_and_plain(path in "[a-z./]{0,40}") {
            if let Ok(clean) = destination(&path) {
                prop_assert!(clean.is_absolute());
                prop_assert!(clean.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_))));
            }
        }
    }
}
