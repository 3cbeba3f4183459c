//! What the scopes of systemd are called that a pod has beside its containers' own.

use pinpod_cgroup::driver;
use pinpod_model::{CgroupDriver, PodId};
use pinpod_systemd::Scope;

use crate::record::PodRecord;
use crate::settings::Settings;

/// The monitors are the node's, not their pods': what they take is not charged to a pod, a pod that
/// runs out of memory does not lose its monitor, and a kubelet that ends what is left in a pod's slice
/// does not end it either.
const MONITOR_SLICE: &str = "system.slice";

/// The scope of a pod's PID 1, in the pod's slice; `None` with cgroupfs.
pub(crate) fn of_init(settings: &Settings, record: &PodRecord, pid: u32) -> Option<Scope> {
    let parent = &record.config.cgroup_parent;
    Some(Scope {
        name: driver::init_name(settings.cgroup_driver, record.id.as_str()),
        slice: driver::pod_slice(settings.cgroup_driver, parent)?.to_owned(),
        description: format!("process 1 of pod {}", record.config.metadata),
        pid,
    })
}

/// The scope of a pod's monitor; `None` with cgroupfs, where it stays beside the daemon.
pub(crate) fn of_monitor(settings: &Settings, pod: &PodId, pid: u32) -> Option<Scope> {
    (settings.cgroup_driver == CgroupDriver::Systemd).then(|| Scope {
        name: format!("pinpod-monitor-{pod}.scope"),
        slice: MONITOR_SLICE.to_owned(),
        description: format!("pinpod-monitor of pod {pod}"),
        pid,
    })
}
