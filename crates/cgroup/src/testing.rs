//! For tests as root: a cgroup of this process's own, removed at the end.

use pinpod_kernel::process::{self, ProcessIdentity};

use crate::{CgroupPath, Hierarchy};

pub(crate) struct Scratch {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) path: CgroupPath,
}

impl Scratch {
    /// The name of a cgroup that is not made yet.
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("pinpod-test-{name}-{}", std::process::id());
        Self {
            hierarchy: Hierarchy::detect().unwrap(),
            path: CgroupPath::root().child(&name).unwrap(),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.hierarchy.kill_all(&self.path).unwrap();
        self.hierarchy.remove(&self.path).unwrap();
    }
}

#[allow(clippy::disallowed_methods, reason = "a child to put into cgroups")]
pub(crate) fn sleeper() -> ProcessIdentity {
    let child = std::process::Command::new("sleep").arg("60").spawn();
    process::identify(child.unwrap().id()).unwrap().unwrap()
}
