//! The steps of CreateContainer, in order.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use pinpod_bundle::seccomp::Profile;
use pinpod_bundle::{
    ContainerInput, ImageDefaults, KeptOptions, NamespacePaths, PodFiles, PodInput, SpecInput,
    host, plugin, seccomp, user,
};
use pinpod_image::{Image, RootfsOptions, RootfsUserNamespace};
use pinpod_kernel::namespace::{self, NamespaceKind};
use pinpod_kernel::path::create_directories_in_root;
use pinpod_kernel::process::ProcessIdentity;
use pinpod_model::{
    ContainerConfig, ContainerId, IdMapping, Mount, PidMode, ResolvedUser, UserNamespace,
};
use pinpod_monitor_api::{ClientError, CreateContainer, OomFile};
use pinpod_oci_runtime::{CheckpointDirs, CreateArgs};

use super::{Context, mounts, restore, teardown};
use crate::error::{CreateContainerError, FileError, TeardownError};
use crate::record::{ContainerRecord, EXIT_FILE};
use crate::sandbox::blocking;
use crate::settings::Handler;
use crate::snapshot::ContainerPhase;

/// A creation that failed, and whether everything it had made is gone.
#[derive(Debug)]
pub(crate) struct FailedCreation {
    pub(crate) error: CreateContainerError,
    pub(crate) undone: Result<(), TeardownError>,
}

/// Makes the container of a record and returns the record as it is then. A failure is undone.
pub(crate) async fn create(
    context: &Context,
    mut record: ContainerRecord,
) -> Result<ContainerRecord, FailedCreation> {
    match steps(context, &mut record).await {
        Ok(()) => Ok(record),
        Err(error) => {
            let undone = teardown(context, &record).await;
            context.parts.plugins.create_failed(&record.id).await;
            Err(FailedCreation { error, undone })
        }
    }
}

async fn steps(
    context: &Context,
    record: &mut ContainerRecord,
) -> Result<(), CreateContainerError> {
    let handler = context
        .handler()
        .ok_or_else(|| CreateContainerError::NoHandler(context.handler.clone()))?;
    let image = context
        .parts
        .images
        .resolve(record.image.as_str())
        .ok_or_else(|| CreateContainerError::NoImage(record.config.image.image.clone()))?;
    let bundle = context.dirs.container(&record.id);
    make_bundle(context, &bundle)?;
    context.dirs.write_container(record)?;
    make_rootfs(context, record, &bundle).await?;
    if !mounts::hold_images(&context.parts, record) {
        return Err(CreateContainerError::MountImageGone);
    }
    let mounts = mounts::stage(context, record, &bundle).await?;
    if let Some(log) = &record.log_path
        && let Some(parent) = log.parent()
    {
        make_directory(parent, 0o755)?;
    }
    let pid_namespace = pid_namespace(context, record).await?;
    let prepared = Prepared {
        image: image_defaults(&image),
        mounts,
        pid_namespace,
    };
    let mut spec = build_spec(context, handler, record, prepared)?;
    ask_plugins(context, record, &bundle, &mut spec).await?;
    host::check_apparmor(&spec)?;
    write_spec(&bundle, &spec)?;
    context.dirs.write_container(record)?;
    record.phase = if let Some(checkpoint) = record.restore.clone() {
        restore::prepare(context, handler, record, &checkpoint).await?;
        ContainerPhase::Prepared
    } else {
        let process = run_runtime(context, handler, record, None).await?;
        mounts::unstage(&bundle).await?;
        ContainerPhase::Created { process }
    };
    context.dirs.write_container(record)?;
    let plugins = &context.parts.plugins;
    plugins.container_created(&record.id, &record.phase).await;
    Ok(())
}

fn make_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| FileError {
            path: path.to_owned(),
            source,
        })
}

/// The bundle, which holds secrets in `config.json`. Root of a user namespace must come through it:
/// an OCI runtime mounts the root file system as that.
fn make_bundle(context: &Context, bundle: &Path) -> Result<(), FileError> {
    make_directory(bundle, 0o700)?;
    make_directory(&bundle.join("rootfs"), 0o755)?;
    let Some(user) = &context.pod_config.security.namespaces.user else {
        return Ok(());
    };
    let (_, group) = user.root();
    std::os::unix::fs::chown(bundle, None, Some(group))
        .and_then(|()| std::fs::set_permissions(bundle, Permissions::from_mode(0o710)))
        .map_err(|source| FileError {
            path: bundle.to_owned(),
            source,
        })
}

async fn make_rootfs(
    context: &Context,
    record: &mut ContainerRecord,
    bundle: &Path,
) -> Result<(), CreateContainerError> {
    let images = &context.parts.images;
    let id = record.id.clone();
    let failed = |source| CreateContainerError::Rootfs {
        id: id.clone(),
        source,
    };
    let mapping = context.pod_config.security.namespaces.user.clone();
    let options = RootfsOptions {
        user_namespace: mapping
            .zip(context.namespaces.user.clone())
            .map(|(mapping, path)| RootfsUserNamespace { mapping, path }),
    };
    images
        .prepare_rootfs(&record.image, &record.id, options)
        .await
        .map_err(failed)?;
    images
        .mount_rootfs(&record.id, &bundle.join("rootfs"))
        .await
        .map_err(failed)
}

/// Where the PID namespace of another container is pinned for one that joins it.
pub(super) fn target_pid_file(context: &Context, id: &ContainerId) -> PathBuf {
    context
        .parts
        .settings
        .namespace_file("pid", &format!("pinpod-{id}"))
}

async fn pid_namespace(
    context: &Context,
    record: &ContainerRecord,
) -> Result<Option<PathBuf>, CreateContainerError> {
    match (&record.config.security.namespaces.pid, record.target) {
        (PidMode::Pod, _) => Ok(context.namespaces.pid.clone()),
        (PidMode::Target(_), Some(target)) => {
            let file = target_pid_file(context, &record.id);
            let pinned = file.clone();
            blocking(move || namespace::pin_process(&target, NamespaceKind::Pid, &pinned))
                .await
                .map_err(CreateContainerError::Pin)?;
            Ok(Some(file))
        }
        (PidMode::Target(_) | PidMode::Container | PidMode::Node, _) => Ok(None),
    }
}

/// What the spec is made of beside the record.
struct Prepared {
    image: ImageDefaults,
    mounts: Vec<Mount>,
    pid_namespace: Option<PathBuf>,
}

fn build_spec(
    context: &Context,
    handler: &Handler,
    record: &mut ContainerRecord,
    prepared: Prepared,
) -> Result<Spec, CreateContainerError> {
    let settings = &context.parts.settings;
    let bundle = context.dirs.container(&record.id);
    let rootfs = bundle.join("rootfs");
    let Prepared {
        image: defaults,
        mounts,
        pid_namespace,
    } = prepared;
    let config = ContainerConfig {
        mounts,
        ..record.config.clone()
    };
    let mapping = context.pod_config.security.namespaces.user.as_ref();
    let owner = mapping.map_or((0, 0), UserNamespace::root);
    make_volumes(&rootfs, &defaults.volumes, owner)?;
    record.user = user::resolve(&rootfs, &record.config.security, &defaults.user)?;
    check_mapped(mapping, &record.user)?;
    let localhost = localhost_profile(context, &record.config)?;
    let devices = host::container_devices(
        &record.config,
        &context.pod_config.annotations,
        &settings.spec_defaults,
        record.config.security.privileged && !handler.privileged_without_host_devices,
    )?;
    let namespaces = NamespacePaths {
        net: context.namespaces.net.clone(),
        ipc: context.namespaces.ipc.clone(),
        uts: context.namespaces.uts.clone(),
        pid: pid_namespace,
        user: context.namespaces.user.clone(),
    };
    let pod_dir = context.dirs.pod(&context.pod);
    let files = PodFiles {
        hostname: Some(pod_dir.join("hostname")),
        hosts: Some(pod_dir.join("hosts")),
        resolv_conf: Some(pod_dir.join("resolv.conf")),
        shm: context
            .namespaces
            .ipc
            .is_some()
            .then(|| pod_dir.join("shm")),
    };
    let kept = match mapping {
        Some(_) => kept_options(&files, &config.mounts),
        None => KeptOptions::new(),
    };
    let cgroups_path = pinpod_cgroup::driver::container_cgroups_path(
        settings.cgroup_driver,
        &context.pod_config.cgroup_parent,
        record.id.as_str(),
    )
    .map_err(CreateContainerError::Cgroup)?;
    Ok(pinpod_bundle::runtime_spec(&SpecInput {
        pod: PodInput {
            id: &context.pod,
            config: &context.pod_config,
            namespaces: &namespaces,
            files: &files,
        },
        container: ContainerInput {
            id: &record.id,
            config: &config,
            image: &defaults,
            user: &record.user,
            rootfs: &rootfs,
            cgroups_path: &cgroups_path,
            devices: &devices,
            kept: &kept,
            localhost_seccomp: localhost.as_ref(),
        },
        node: &context.parts.node,
        defaults: &settings.spec_defaults,
    })?)
}

/// The bundle's `config.json`.
fn write_spec(bundle: &Path, spec: &Spec) -> Result<(), FileError> {
    let path = bundle.join("config.json");
    let text = serde_json::to_vec(spec).map_err(io::Error::from);
    text.and_then(|text| std::fs::write(&path, text))
        .map_err(|source| FileError { path, source })
}

/// Lets NRI plugins have their say. Where one moves the container to another cgroup, the record
/// follows.
async fn ask_plugins(
    context: &Context,
    record: &mut ContainerRecord,
    bundle: &Path,
    spec: &mut Spec,
) -> Result<(), CreateContainerError> {
    let parts = &context.parts;
    if !parts.plugins.possible() {
        return Ok(());
    }
    let name = || record.config.metadata.name.clone();
    let refused = |source| CreateContainerError::Plugin {
        name: name(),
        source,
    };
    let wanted = parts.plugins.create_container(record, bundle, spec).await;
    let Some(wanted) = wanted.map_err(refused)? else {
        return Ok(());
    };
    *spec = plugin::adjusted(spec, &wanted, &parts.node).map_err(|source| {
        CreateContainerError::Adjust {
            name: name(),
            source,
        }
    })?;
    if let Some(path) = wanted.linux.map(|linux| linux.cgroups_path)
        && !path.is_empty()
    {
        record.cgroup = pinpod_cgroup::driver::cgroup_of(parts.settings.cgroup_driver, &path)
            .map_err(CreateContainerError::Cgroup)?;
    }
    Ok(())
}

fn kept_options(files: &PodFiles, mounts: &[Mount]) -> KeptOptions {
    let files = [&files.hostname, &files.hosts, &files.resolv_conf];
    let files = files.into_iter().flatten().map(PathBuf::as_path);
    let sources = mounts.iter().map(|mount| Path::new(&mount.host_path));
    host::kept_options(files.chain(sources))
}

/// Directories that the image declares as volumes exist, as CRI-O's `image_volumes = "mkdir"` makes
/// them: in the writable layer, and gone with the container.
fn make_volumes(rootfs: &Path, volumes: &[String], owner: (u32, u32)) -> Result<(), FileError> {
    if volumes.is_empty() {
        return Ok(());
    }
    let failed = |source: io::Error| FileError {
        path: rootfs.to_owned(),
        source,
    };
    let root = std::fs::File::open(rootfs).map_err(failed)?;
    for volume in volumes {
        create_directories_in_root(&root, Path::new(volume), owner).map_err(|source| {
            FileError {
                path: rootfs.join(volume.trim_start_matches('/')),
                source,
            }
        })?;
    }
    Ok(())
}

/// No process can have an id that its user namespace does not map.
fn check_mapped(
    mapping: Option<&UserNamespace>,
    user: &ResolvedUser,
) -> Result<(), CreateContainerError> {
    let Some(mapping) = mapping else {
        return Ok(());
    };
    let check = |what, map: &IdMapping, id| match map.to_host(id) {
        Some(_) => Ok(()),
        None => Err(CreateContainerError::UnmappedId {
            what,
            id,
            last: map.length.saturating_sub(1),
        }),
    };
    check("user", &mapping.uid, user.uid)?;
    check("group", &mapping.gid, user.gid)?;
    let mut more = user.additional_gids.iter();
    more.try_for_each(|id| check("supplemental group", &mapping.gid, *id))
}

fn image_defaults(image: &Image) -> ImageDefaults {
    let config = &image.config.config;
    ImageDefaults {
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        working_dir: config.working_dir.clone(),
        user: config.user.clone(),
        stop_signal: config.stop_signal.clone(),
        labels: config.labels.clone(),
        volumes: config.volumes.iter().cloned().collect(),
    }
}

/// The profile file that the request names; a relative name starts at the kubelet's directory.
fn localhost_profile(
    context: &Context,
    config: &ContainerConfig,
) -> Result<Option<Profile>, CreateContainerError> {
    let Some(name) = seccomp::localhost_file(&config.security) else {
        return Ok(None);
    };
    let path = context.parts.settings.seccomp_dir.join(name);
    match std::fs::read_to_string(&path).map(|text| Profile::parse(&text)) {
        Ok(Ok(profile)) => Ok(Some(profile)),
        Ok(Err(source)) => Err(CreateContainerError::SeccompProfile { path, source }),
        Err(source) => Err(CreateContainerError::SeccompFile { path, source }),
    }
}

/// Has the pod's monitor run the command that makes the container's first process, or brings it back
/// from a checkpoint.
pub(super) async fn run_runtime(
    context: &Context,
    handler: &Handler,
    record: &ContainerRecord,
    restore: Option<CheckpointDirs<'_>>,
) -> Result<ProcessIdentity, CreateContainerError> {
    let unreachable = |source| CreateContainerError::Monitor {
        pod: context.pod.clone(),
        source,
    };
    let bundle = &context.dirs.container(&record.id);
    let pid_file = bundle.join("pid");
    let runtime_log = bundle.join("runtime.log");
    // A socket's path may have 107 bytes, so it lies in the pod's directory under a short name.
    let console = record.config.tty.then(|| {
        context
            .dirs
            .pod(&context.pod)
            .join(format!("tty-{}", record.id.short()))
    });
    let args = CreateArgs {
        id: &record.id,
        bundle,
        pid_file: &pid_file,
        log: &runtime_log,
        console_socket: console.as_deref(),
        no_pivot: false,
    };
    let argv = match restore {
        Some(dirs) => handler.runtime.restore_argv(&args, dirs),
        None => handler.runtime.create_argv(&args),
    };
    let oom = context.parts.cgroups.oom_source(&record.cgroup);
    let request = CreateContainer {
        id: record.id.clone(),
        argv,
        bundle: bundle.to_owned(),
        pid_file,
        console_socket: console,
        stdin: record.config.stdin,
        stdin_once: record.config.stdin_once,
        log_path: record.log_path.clone(),
        exit_file: bundle.join(EXIT_FILE),
        oom: oom.map(|source| OomFile {
            path: source.file,
            key: source.key,
        }),
        runtime_log,
        timeout_ms: u64::try_from(handler.create_timeout.as_millis()).unwrap_or(u64::MAX),
    };
    let client = context.monitor.ensure().await.map_err(unreachable)?;
    match client.create_container(request).await {
        Ok((pid, start_time)) => Ok(ProcessIdentity {
            pid: pid.unsigned_abs(),
            start_time,
        }),
        Err(ClientError::Runtime { message }) => Err(CreateContainerError::Runtime {
            handler: handler.name.clone(),
            name: record.config.metadata.name.clone(),
            message,
        }),
        Err(ClientError::RuntimeTimedOut { message }) => {
            Err(CreateContainerError::RuntimeTimeout {
                handler: handler.name.clone(),
                name: record.config.metadata.name.clone(),
                seconds: handler.create_timeout.as_secs(),
                message,
            })
        }
        Err(error) => Err(unreachable(error.into())),
    }
}
