//! The steps of RunPodSandbox, in order.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pinpod_bundle::files;
use pinpod_cgroup::CgroupPath;
use pinpod_kernel::mount::{self, TmpfsOptions};
use pinpod_kernel::namespace::{self, NamespaceKind, PinRequest, UserPin};
use pinpod_kernel::spawn::{PodInitRequest, spawn_pod_init};
use pinpod_model::{CgroupDriver, UserNamespace};
use pinpod_network::AttachRequest;

use super::{hostname, teardown};
use crate::error::{FileError, RunPodError, TeardownError};
use crate::record::{PodPhase, PodRecord, RecordDirs};
use crate::scope;
use crate::settings::Parts;

/// How soon an undo that failed is tried again, and how seldom in the end.
const UNDO_AGAIN_FIRST: Duration = Duration::from_secs(5);
const UNDO_AGAIN_LAST: Duration = Duration::from_secs(300);

/// Makes the sandbox of a record. The record comes back as it is then: `Ready`, or as far as it
/// came, with everything undone.
pub(crate) async fn run(
    parts: &Arc<Parts>,
    mut record: PodRecord,
) -> (PodRecord, Result<(), RunPodError>) {
    let result = steps(parts, &mut record).await;
    if result.is_err() {
        abandon(parts, &record).await;
    }
    (record, result)
}

async fn steps(parts: &Parts, record: &mut PodRecord) -> Result<(), RunPodError> {
    let dirs = RecordDirs::new(parts.settings.runroot());
    make_directory(&dirs.pod(&record.id))?;
    dirs.write_pod(record)?;
    make_namespaces(parts, record).await?;
    make_shm(parts, record, &dirs)?;
    attach_network(parts, record).await?;
    start_init(parts, record).await?;
    write_files(record, &dirs)?;
    let told = parts.plugins.pod_ran(record).await;
    told.map_err(|source| RunPodError::Plugin {
        metadata: Box::new(record.config.metadata.clone()),
        source,
    })?;
    record.phase = PodPhase::Ready;
    dirs.write_pod(record)?;
    Ok(())
}

/// Undoes a run that failed, or that a crash broke off. What cannot be undone now (a CNI plugin that fails its DEL, say) is tried
/// again later, in the background: the record stays on disk until then, so that a restart of the
/// daemon goes on with it too.
pub(crate) async fn abandon(parts: &Arc<Parts>, record: &PodRecord) {
    if let Err(error) = undo_once(parts, record).await {
        tracing::error!(pod = %record.id, %error, "cannot undo a failed pod sandbox; trying later");
        let (parts, record) = (Arc::clone(parts), record.clone());
        tokio::spawn(async move {
            let mut wait = UNDO_AGAIN_FIRST;
            loop {
                tokio::time::sleep(wait).await;
                match undo_once(&parts, &record).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(pod = %record.id, %error, "still not undone"),
                }
                wait = (wait * 2).min(UNDO_AGAIN_LAST);
            }
        });
    }
}

async fn undo_once(parts: &Parts, record: &PodRecord) -> Result<(), TeardownError> {
    parts.plugins.pod_stops(&record.id).await;
    teardown(parts, record).await?;
    super::remove_directory(&RecordDirs::new(parts.settings.runroot()), &record.id).await?;
    parts.plugins.pod_removed(&record.id).await;
    Ok(())
}

fn make_directory(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
        .map_err(|source| FileError {
            path: path.to_owned(),
            source,
        })
}

async fn make_namespaces(parts: &Parts, record: &PodRecord) -> Result<(), RunPodError> {
    let files = &record.namespaces;
    let mapping = record.config.security.namespaces.user.clone();
    let request = PinRequest {
        net: files.net.clone(),
        ipc: files.ipc.clone(),
        uts: files.uts.clone(),
        user: mapping
            .zip(files.user.clone())
            .map(|(mapping, target)| UserPin { target, mapping }),
        hostname: hostname(record),
        sysctls: sysctls(parts, record),
    };
    let one = [&request.net, &request.ipc, &request.uts]
        .iter()
        .any(|file| file.is_some());
    if !one && request.user.is_none() {
        return Ok(());
    }
    let pinned = blocking(move || namespace::pin(&request)).await;
    pinned.map_err(|source| RunPodError::Pin {
        metadata: Box::new(record.config.metadata.clone()),
        source,
    })
}

/// The daemon's defaults where the pod has a namespace for them, then the pod's own.
fn sysctls(parts: &Parts, record: &PodRecord) -> Vec<(String, String)> {
    let own = |kind| match kind {
        NamespaceKind::Net => record.namespaces.net.is_some(),
        NamespaceKind::Ipc => record.namespaces.ipc.is_some(),
        NamespaceKind::Uts | NamespaceKind::Pid | NamespaceKind::User => false,
    };
    let defaults = parts
        .settings
        .default_sysctls
        .iter()
        .filter(|(name, _)| namespace::sysctl_namespace(name).is_some_and(own))
        .cloned();
    let asked = record
        .config
        .sysctls
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    defaults.chain(asked).collect()
}

fn make_shm(parts: &Parts, record: &PodRecord, dirs: &RecordDirs) -> Result<(), RunPodError> {
    if record.namespaces.ipc.is_none() {
        return Ok(());
    }
    let path = dirs.pod(&record.id).join("shm");
    make_directory(&path)?;
    let options = TmpfsOptions {
        size_bytes: parts.settings.shm_size,
        mode: 0o1777,
        noexec: true,
        owner: owner(record),
    };
    mount::tmpfs(&path, options).map_err(RunPodError::Shm)
}

async fn attach_network(parts: &Parts, record: &mut PodRecord) -> Result<(), RunPodError> {
    let Some(netns) = record.namespaces.net.clone() else {
        return Ok(());
    };
    let config = &record.config;
    let request = AttachRequest {
        pod_id: record.id.clone(),
        metadata: config.metadata.clone(),
        netns,
        port_mappings: config.port_mappings.clone(),
        dns: config.dns.clone(),
        annotations: config.annotations.clone(),
        cgroup_parent: config.cgroup_parent.clone(),
    };
    let attached = parts.network.attach(&request).await;
    let attachment = attached.map_err(|source| RunPodError::Network {
        metadata: Box::new(config.metadata.clone()),
        source: Box::new(source),
    })?;
    record.attachment = Some(attachment);
    Ok(())
}

/// The cgroup that a pod's PID 1 lives in, found again from the record alone.
pub(super) fn init_cgroup(parts: &Parts, record: &PodRecord) -> Option<CgroupPath> {
    record.namespaces.pid.as_ref()?;
    let driver = parts.settings.cgroup_driver;
    let parent = pinpod_cgroup::driver::pod_cgroup(driver, &record.config.cgroup_parent).ok()?;
    let name = pinpod_cgroup::driver::init_name(driver, record.id.as_str());
    parent.child(&name).ok()
}

async fn start_init(parts: &Parts, record: &mut PodRecord) -> Result<(), RunPodError> {
    let (Some(target), Some(cgroup)) = (record.namespaces.pid.clone(), init_cgroup(parts, record))
    else {
        return Ok(());
    };
    let by_systemd = parts.settings.cgroup_driver == CgroupDriver::Systemd;
    if !by_systemd {
        parts.cgroups.create(&cgroup).map_err(RunPodError::Cgroup)?;
    }
    let files = &record.namespaces;
    let request = PodInitRequest {
        binary: parts.settings.init_binary.clone(),
        netns: files.net.clone(),
        ipcns: files.ipc.clone(),
        utsns: files.uts.clone(),
        userns: files.user.clone(),
        // A scope of systemd is made of processes that are there.
        cgroup_procs: if by_systemd {
            Vec::new()
        } else {
            parts.cgroups.procs_files(&cgroup)
        },
    };
    let metadata = Box::new(record.config.metadata.clone());
    let init = blocking(move || spawn_pod_init(&request)).await;
    let identity = match init {
        Ok(init) => init.identity,
        Err(source) => return Err(RunPodError::Init { metadata, source }),
    };
    record.init = Some(identity);
    if let Some(scope) = scope::of_init(&parts.settings, record, identity.pid) {
        // Until then no cgroup tells that the process is the pod's.
        RecordDirs::new(parts.settings.runroot()).write_pod(record)?;
        pinpod_systemd::start_scope(&scope)
            .await
            .map_err(RunPodError::Scope)?;
    }
    let pinned = blocking(move || namespace::pin_process(&identity, NamespaceKind::Pid, &target));
    pinned
        .await
        .map_err(|source| RunPodError::Pin { metadata, source })
}

/// `hostname`, `hosts` and `resolv.conf`, which containers see as files of `/etc`.
fn write_files(record: &PodRecord, dirs: &RecordDirs) -> Result<(), RunPodError> {
    let dir = dirs.pod(&record.id);
    let node_name = || {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    };
    let name = hostname(record).unwrap_or_else(node_name);
    let owner = owner(record);
    write(&dir.join("hostname"), &files::hostname(&name), owner)?;
    let resolv_conf =
        files::resolv_conf(record.config.dns.as_ref(), &node_file("/etc/resolv.conf"))?;
    write(&dir.join("resolv.conf"), &resolv_conf, owner)?;
    let hosts = match &record.attachment {
        Some(attachment) => files::hosts(&name, &attachment.ips),
        None if record.namespaces.net.is_none() => node_file("/etc/hosts"),
        None => files::hosts(&name, &[]),
    };
    write(&dir.join("hosts"), &hosts, owner)?;
    Ok(())
}

/// The user and group of the node that are root in the pod.
fn owner(record: &PodRecord) -> (u32, u32) {
    let user = record.config.security.namespaces.user.as_ref();
    user.map_or((0, 0), UserNamespace::root)
}

/// A node may lack the file; then pods get an empty one.
fn node_file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn write(path: &Path, text: &str, owner: (u32, u32)) -> Result<(), FileError> {
    use std::os::unix::fs::{PermissionsExt, chown};
    let done = std::fs::write(path, text)
        .and_then(|()| chown(path, Some(owner.0), Some(owner.1)))
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)));
    done.map_err(|source| FileError {
        path: path.to_owned(),
        source,
    })
}

/// Runs a short blocking call off the reactor.
pub(crate) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(call).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
