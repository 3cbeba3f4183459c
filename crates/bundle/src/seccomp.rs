//! Seccomp profiles: rules with conditions on capabilities, architecture and kernel, and the filter
//! that they come to for one container (OCI runtime spec, `linux.seccomp`).

mod builtin;
mod format;
mod syscalls;

use std::path::PathBuf;

use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg,
    LinuxSeccompBuilder, LinuxSeccompFilterFlag, LinuxSyscall, LinuxSyscallBuilder,
};
use pinpod_model::{ContainerSecurity, ProfileSource};

use crate::{NodeFacts, SpecError};

pub use format::ProfileError;

/// A profile, read from a file or pinpod's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    default_action: LinuxSeccompAction,
    default_errno: Option<u32>,
    architectures: Vec<Arch>,
    flags: Vec<LinuxSeccompFilterFlag>,
    listener_path: Option<PathBuf>,
    listener_metadata: Option<String>,
    rules: Vec<Rule>,
}

impl Default for Profile {
    fn default() -> Self {
        Self::builtin()
    }
}

/// One group of system calls that share an action.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno: Option<u32>,
    args: Vec<LinuxSeccompArg>,
    includes: Condition,
    excludes: Condition,
}

/// When a rule counts. Empty parts say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Condition {
    capabilities: Vec<Capability>,
    /// Go names of architectures, as the profile format has them.
    architectures: Vec<String>,
    min_kernel: Option<(u32, u32)>,
}

/// Go's name of this machine's architecture and libseccomp's names of those whose programs run on
/// it. x32 is left out: kernels of today are built without it, and with it the OCI runtime spends
/// 10.0 ms of CPU on each container's filter instead of 4.3 ms (libseccomp 2.5.4).
const NATIVE: (&str, &[Arch]) = if cfg!(target_arch = "aarch64") {
    ("arm64", &[Arch::ScmpArchAarch64, Arch::ScmpArchArm])
} else {
    ("amd64", &[Arch::ScmpArchX86_64, Arch::ScmpArchX86])
};

impl Profile {
    /// The profile that pinpod carries: system calls that ordinary programs use are allowed, each
    /// that a capability stands for only with that capability, all others fail with EPERM.
    #[must_use]
    pub fn builtin() -> Self {
        builtin::profile()
    }

    /// Reads a profile file: the OCI form, or the one of Docker and Podman with conditions.
    ///
    /// # Errors
    /// Not JSON, or a name that nobody knows.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        format::parse(text)
    }

    /// The filter for a process with these capabilities on this kernel.
    ///
    /// # Errors
    /// [`SpecError::Build`].
    pub fn filter(
        &self,
        capabilities: &Capabilities,
        kernel: (u32, u32),
    ) -> Result<LinuxSeccomp, SpecError> {
        let syscalls = self
            .rules
            .iter()
            .filter(|rule| rule.holds(capabilities, kernel))
            .map(Rule::syscall)
            .collect::<Result<Vec<_>, _>>()?;
        let mut filter = LinuxSeccompBuilder::default()
            .default_action(self.default_action)
            .architectures(self.architectures.clone())
            .syscalls(syscalls);
        if let Some(errno) = self.default_errno {
            filter = filter.default_errno_ret(errno);
        }
        if !self.flags.is_empty() {
            filter = filter.flags(self.flags.clone());
        }
        if let Some(path) = &self.listener_path {
            filter = filter.listener_path(path.clone());
        }
        if let Some(metadata) = &self.listener_metadata {
            filter = filter.listener_metadata(metadata.clone());
        }
        Ok(filter.build()?)
    }
}

impl Rule {
    fn holds(&self, capabilities: &Capabilities, kernel: (u32, u32)) -> bool {
        let has = |capability: &Capability| capabilities.contains(capability);
        let here = |architecture: &String| architecture == NATIVE.0;
        let Condition {
            capabilities: needed,
            architectures,
            min_kernel,
        } = &self.includes;
        let included = needed.iter().all(has)
            && (architectures.is_empty() || architectures.iter().any(here))
            && min_kernel.is_none_or(|least| kernel >= least);
        let Condition {
            capabilities: forbidden,
            architectures,
            min_kernel,
        } = &self.excludes;
        let excluded = forbidden.iter().any(has)
            || architectures.iter().any(here)
            || min_kernel.is_some_and(|least| kernel >= least);
        included && !excluded
    }

    fn syscall(&self) -> Result<LinuxSyscall, SpecError> {
        let mut syscall = LinuxSyscallBuilder::default()
            .names(self.names.clone())
            .action(self.action);
        if let Some(errno) = self.errno {
            syscall = syscall.errno_ret(errno);
        }
        if !self.args.is_empty() {
            syscall = syscall.args(self.args.clone());
        }
        Ok(syscall.build()?)
    }
}

/// The file that the caller must read for a container with this security context, if any. A
/// privileged container has none: Kubernetes runs it unconfined, whatever profile it names.
#[must_use]
pub fn localhost_file(security: &ContainerSecurity) -> Option<&str> {
    match &security.seccomp {
        Some(ProfileSource::Localhost(path)) if !security.privileged => Some(path),
        Some(_) | None => None,
    }
}

/// The filter of a container.
pub(crate) fn container_filter(
    security: &ContainerSecurity,
    (runtime_default, localhost): (&Profile, Option<&Profile>),
    capabilities: &Capabilities,
    node: &NodeFacts,
) -> Result<Option<LinuxSeccomp>, SpecError> {
    if security.privileged {
        return Ok(None);
    }
    let profile = match &security.seccomp {
        None | Some(ProfileSource::Unconfined) => return Ok(None),
        // A kernel without filters can still run what asked for no particular one.
        Some(ProfileSource::RuntimeDefault) if !node.seccomp => return Ok(None),
        Some(ProfileSource::RuntimeDefault) => runtime_default,
        Some(ProfileSource::Localhost(_)) if !node.seccomp => return Err(SpecError::SeccompOff),
        Some(ProfileSource::Localhost(path)) => {
            localhost.ok_or_else(|| SpecError::SeccompNotLoaded(path.clone()))?
        }
    };
    profile.filter(capabilities, node.kernel).map(Some)
}
