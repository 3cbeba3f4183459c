//! What a container's mounts need before an OCI runtime can bind them: sources that exist, images
//! that are mounted, ids that are mapped.
//!
//! Images and mapped volumes are mounted in `mounts/` of the bundle, where the runtime finds plain
//! sources, and for as long as its `create` runs: by then the container's mount namespace has them.
//! A volume that stayed mounted there could not be detached from the node when the container has
//! ended, but when it is removed.
//!
//! `mounts/` is a private mount, and what is in it is a slave of where it was copied from. So
//! nobody else sees it, and to unmount it takes nothing from the node or from the container.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use pinpod_bundle::host;
use pinpod_kernel::mount::{self, TmpfsOptions};
use pinpod_kernel::namespace;
use pinpod_kernel::path::open_in_root;
use pinpod_model::{ContainerConfig, ImageId, Mount, MountPropagation};
use rustix::fs::OFlags;

use super::Context;
use crate::error::{CreateContainerError, FileError, UnstageError};
use crate::record::ContainerRecord;
use crate::sandbox::blocking;
use crate::settings::Parts;

/// Names the images of the mounts as they are now, for the record and for status: by identifier,
/// with the digest that they were pulled by.
pub(super) fn name_images(
    parts: &Parts,
    config: &mut ContainerConfig,
) -> Result<(), CreateContainerError> {
    for mount in &mut config.mounts {
        let Some(source) = &mut mount.image else {
            continue;
        };
        let image = parts.images.resolve(&source.image).ok_or_else(|| {
            CreateContainerError::NoMountImage {
                path: mount.container_path.clone(),
                image: source.image.clone(),
            }
        })?;
        let asked = std::mem::replace(&mut source.image, image.id.to_string());
        if source.user_specified.is_empty() {
            source.user_specified = asked;
        }
        source.image_ref = image.reference();
    }
    Ok(())
}

/// Holds the images of the mounts, so that nobody removes them before the container. False when
/// one of them is gone already.
pub(crate) fn hold_images(parts: &Parts, record: &ContainerRecord) -> bool {
    let sources = record
        .config
        .mounts
        .iter()
        .filter_map(|it| it.image.as_ref());
    let mut ids = sources.filter_map(|source| source.image.parse::<ImageId>().ok());
    ids.all(|id| parts.images.hold(&id, record.id.as_str()))
}

/// Makes everything that can be bound and returns the mounts with sources that can.
pub(super) async fn stage(
    context: &Context,
    record: &ContainerRecord,
    bundle: &Path,
) -> Result<Vec<Mount>, CreateContainerError> {
    let mounts = &record.config.mounts;
    host::create_missing_sources(mounts)
        .map_err(|(path, source)| CreateContainerError::MountSource { path, source })?;
    host::check_propagation(mounts)?;
    let needs_place = |mount: &Mount| mount.image.is_some() || !mount.uid_mappings.is_empty();
    if mounts.iter().any(needs_place) {
        let directory = bundle.join(DIRECTORY);
        blocking(move || make_private(&directory)).await?;
    }
    let mut staged = Vec::with_capacity(mounts.len());
    for (index, mount) in mounts.iter().enumerate() {
        let place = bundle.join(DIRECTORY).join(index.to_string());
        staged.push(if mount.image.is_some() {
            stage_image(context, mount, place).await?
        } else if mount.uid_mappings.is_empty() {
            mount.clone()
        } else {
            let (mount, pod) = (mount.clone(), context.clone());
            blocking(move || stage_mapped(&pod, mount, &place)).await?
        });
    }
    Ok(staged)
}

/// Takes away what [`stage`] mounted; what is not there is no failure.
pub(super) async fn unstage(bundle: &Path) -> Result<(), UnstageError> {
    let directory = bundle.join(DIRECTORY);
    blocking(move || mount::unmount(&directory).map_err(UnstageError)).await
}

/// A directory for something else to be mounted on, as long as the mounts are staged.
pub(super) async fn another_place(
    bundle: &Path,
    name: &'static str,
) -> Result<PathBuf, CreateContainerError> {
    let directory = bundle.join(DIRECTORY);
    blocking(move || {
        if !mount::is_mount_point(&directory).map_err(CreateContainerError::Stage)? {
            make_private(&directory)?;
        }
        let place = directory.join(name);
        make_place(&place, true)?;
        Ok(place)
    })
    .await
}

/// The place of all of them, which nothing propagates to or from.
fn make_private(directory: &Path) -> Result<(), CreateContainerError> {
    std::fs::create_dir_all(directory).map_err(|source| FileError {
        path: directory.to_owned(),
        source,
    })?;
    let options = TmpfsOptions {
        size_bytes: 1 << 20,
        mode: 0o755,
        noexec: true,
        owner: (0, 0),
    };
    mount::tmpfs(directory, options)
        .and_then(|()| mount::make_private(directory, false))
        .map_err(CreateContainerError::Stage)
}

/// Directory of the bundle that holds them, each by the number of its mount.
const DIRECTORY: &str = "mounts";

async fn stage_image(
    context: &Context,
    mount: &Mount,
    place: PathBuf,
) -> Result<Mount, CreateContainerError> {
    let path = || mount.container_path.clone();
    let name = mount.image.as_ref().map_or("", |source| &source.image);
    let image: ImageId = name
        .parse()
        .map_err(|_| CreateContainerError::NoMountImage {
            path: path(),
            image: name.to_owned(),
        })?;
    make_place(&place, true)?;
    let user = context.namespaces.user.as_deref();
    let mounted = context.parts.images.mount_image(&image, &place, user).await;
    mounted.map_err(|source| CreateContainerError::MountImage {
        path: path(),
        source,
    })?;
    let source = if mount.image_sub_path.is_empty() {
        place
    } else {
        let mount = mount.clone();
        blocking(move || stage_sub_path(&mount, &place)).await?
    };
    Ok(Mount {
        host_path: source.display().to_string(),
        // Nothing is ever mounted below an image.
        propagation: MountPropagation::Private,
        image: None,
        image_sub_path: String::new(),
        uid_mappings: Vec::new(),
        gid_mappings: Vec::new(),
        ..mount.clone()
    })
}

/// Shows a part of a mounted image at a place of its own. Whatever the image's links say, it is a
/// part of the image.
fn stage_sub_path(mount: &Mount, image: &Path) -> Result<PathBuf, CreateContainerError> {
    let refused = |source| CreateContainerError::ImageSubPath {
        path: mount.container_path.clone(),
        sub_path: mount.image_sub_path.clone(),
        source,
    };
    let root = File::open(image).map_err(refused)?;
    let part = open_in_root(&root, Path::new(&mount.image_sub_path), OFlags::PATH);
    let part = File::from(part.map_err(refused)?);
    let kind = part.metadata().map_err(refused)?.file_type();
    if !kind.is_dir() && !kind.is_file() {
        let text = "neither a directory nor a regular file";
        return Err(refused(io::Error::other(text)));
    }
    let mut place = image.to_owned().into_os_string();
    place.push("-part");
    let place = PathBuf::from(place);
    make_place(&place, kind.is_dir())?;
    let attached =
        mount::clone_tree_of(&part, false, &place).and_then(|tree| mount::attach(&tree, &place));
    attached.map_err(|source| CreateContainerError::StageMount {
        path: mount.container_path.clone(),
        source,
    })?;
    Ok(place)
}

/// Shows a source with the ids of the mount. What is mounted below the source keeps its own ids, as
/// with an OCI runtime that maps (`idmap`, not `ridmap`).
fn stage_mapped(
    context: &Context,
    mount: Mount,
    place: &Path,
) -> Result<Mount, CreateContainerError> {
    let path = || mount.container_path.clone();
    let source = Path::new(&mount.host_path);
    let metadata = std::fs::metadata(source).map_err(|error| FileError {
        path: source.to_owned(),
        source: error,
    })?;
    make_place(place, metadata.is_dir())?;
    let namespace =
        mapping(context, &mount).map_err(|source| CreateContainerError::MountMapping {
            path: path(),
            source,
        })?;
    let tree = mount::clone_tree(source, true).and_then(|tree| {
        mount::make_tree_slave(&tree, source)?;
        Ok(tree)
    });
    let tree = tree.map_err(|source| {
        let path = path();
        CreateContainerError::StageMount { path, source }
    })?;
    mount::idmap(&tree, &namespace, false, source).map_err(|source| {
        let path = path();
        CreateContainerError::MountIds { path, source }
    })?;
    mount::attach(&tree, place).map_err(|source| {
        let path = path();
        CreateContainerError::StageMount { path, source }
    })?;
    Ok(Mount {
        host_path: place.display().to_string(),
        uid_mappings: Vec::new(),
        gid_mappings: Vec::new(),
        ..mount
    })
}

/// A user namespace with the ids of a mount: most often it is the pod's own.
fn mapping(context: &Context, mount: &Mount) -> io::Result<OwnedFd> {
    let (uids, gids) = (&mount.uid_mappings, &mount.gid_mappings);
    let pod = context.pod_config.security.namespaces.user.as_ref();
    match (pod, &context.namespaces.user) {
        (Some(user), Some(file)) if *uids == [user.uid] && *gids == [user.gid] => {
            Ok(File::open(file)?.into())
        }
        _ => namespace::user_namespace(uids, gids),
    }
}

/// What a mount can be attached to: a directory, or a file for everything else.
fn make_place(place: &Path, directory: bool) -> Result<(), FileError> {
    let make = || {
        if directory {
            return std::fs::create_dir_all(place);
        }
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        File::create(place).map(drop)
    };
    make().map_err(|source| FileError {
        path: place.to_owned(),
        source,
    })
}
