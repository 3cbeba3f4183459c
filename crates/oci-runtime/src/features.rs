//! What a runtime says about itself (`features`, OCI runtime spec, `features.md`).

use std::collections::BTreeMap;

use pinpod_command::RunError;
use pinpod_model::{Classify, ErrorClass};
use serde::Deserialize;

use crate::Runtime;

/// The parts of the runtime's features that pinpod decides on. Every field may be missing, and
/// values that this version does not know are no error: a newer runtime must not fail for them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Features {
    /// Oldest version of the OCI runtime spec that it takes.
    pub oci_version_min: String,
    /// Newest version of the OCI runtime spec that it takes.
    pub oci_version_max: String,
    /// Mount options that it knows, as `rro` and `ridmap`.
    pub mount_options: Vec<String>,
    /// What is of Linux.
    pub linux: LinuxFeatures,
    /// Its own notes, as version and commit.
    pub annotations: BTreeMap<String, String>,
}

/// `linux` of the features.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LinuxFeatures {
    /// Namespaces that it can make.
    pub namespaces: Vec<String>,
    /// Capabilities that it knows.
    pub capabilities: Vec<String>,
    /// Cgroup versions and drivers.
    pub cgroup: CgroupFeatures,
    /// Seccomp.
    pub seccomp: Enabled,
    /// AppArmor.
    pub apparmor: Enabled,
    /// SELinux.
    pub selinux: Enabled,
    /// Mounts beyond the spec's first version.
    pub mount_extensions: MountExtensions,
}

/// `linux.cgroup` of the features.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CgroupFeatures {
    /// Version 1.
    pub v1: Option<bool>,
    /// Version 2.
    pub v2: Option<bool>,
    /// The systemd driver.
    pub systemd: Option<bool>,
}

/// A feature that is there or not; `None` is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Enabled {
    /// Whether it is there.
    pub enabled: Option<bool>,
}

/// `linux.mountExtensions` of the features.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct MountExtensions {
    /// Idmapped mounts.
    pub idmap: Enabled,
}

impl Features {
    /// Recursive read-only mounts (`rro`).
    #[must_use]
    pub fn recursive_read_only_mounts(&self) -> bool {
        self.mount_options.iter().any(|option| option == "rro")
    }

    /// Idmapped mounts, which pods with user namespaces need.
    #[must_use]
    pub fn idmapped_mounts(&self) -> bool {
        self.linux.mount_extensions.idmap.enabled == Some(true)
            || self
                .mount_options
                .iter()
                .any(|option| option == "idmap" || option == "ridmap")
    }
}

/// A runtime whose features are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeaturesError {
    /// The runtime is older than the subcommand.
    #[error("runtime handler {name:?} has no `features` command: {message}")]
    Unsupported {
        /// The handler.
        name: String,
        /// What it said.
        message: String,
    },
    /// It did not run.
    #[error("cannot ask runtime handler {name:?} for its features")]
    Run {
        /// The handler.
        name: String,
        /// What happened.
        #[source]
        source: RunError,
    },
    /// It said what is not the JSON of features.
    #[error("runtime handler {name:?} says features that cannot be read")]
    Parse {
        /// The handler.
        name: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl Classify for FeaturesError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unsupported { .. } => ErrorClass::Unimplemented,
            Self::Run { source, .. } => source.class(),
            Self::Parse { .. } => ErrorClass::Internal,
        }
    }
}

impl Runtime {
    /// Asks the runtime for its features.
    ///
    /// # Errors
    /// [`FeaturesError::Unsupported`] for a runtime that does not know the command (crun before
    /// 1.8.6 is one).
    pub async fn features(&self) -> Result<Features, FeaturesError> {
        let name = || self.name.clone();
        let command = pinpod_command::Command::new(&self.path).arg("features");
        let output = command
            .run(self.deadline)
            .await
            .map_err(|source| FeaturesError::Run {
                name: name(),
                source,
            })?;
        if !output.status.success() {
            return Err(FeaturesError::Unsupported {
                name: name(),
                message: output.message(),
            });
        }
        serde_json::from_slice(&output.stdout).map_err(|source| FeaturesError::Parse {
            name: name(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_and_not_known_is_no_error() {
        let features: Features = serde_json::from_str(
            r#"{"ociVersionMin":"1.0.0","ociVersionMax":"1.3.0","new":{"a":1},
                "mountOptions":["rro","idmap"],
                "linux":{"seccomp":{"enabled":true,"archs":["SCMP_ARCH_FUTURE"]},
                         "cgroup":{"v1":true,"v2":true,"systemd":true,"rdma":false}}}"#,
        )
        .unwrap();
        assert!(features.recursive_read_only_mounts() && features.idmapped_mounts());
        assert_eq!(features.linux.cgroup.v2, Some(true));
        assert_eq!(
            serde_json::from_str::<Features>("{}").unwrap(),
            Features::default()
        );
    }
}
