//! SELinux labels of the process and of its mounts.

use pinpod_model::{ContainerSecurity, SelinuxOptions};

/// The labels of a process and of the files it may use: `user:role:type:level`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) process: String,
    pub(crate) mount: String,
}

/// The labels that the request, or else the pod, asks for; empty parts are those of the common
/// container policy. `None` without a request, for a privileged container (which is not confined),
/// and on a node without SELinux.
pub(crate) fn labels(
    security: &ContainerSecurity,
    pod: Option<&SelinuxOptions>,
    enabled: bool,
) -> Option<Labels> {
    if !enabled || security.privileged {
        return None;
    }
    let options = security.selinux.as_ref().or(pod)?;
    let part = |given: &str, default: &str| -> String {
        if given.is_empty() { default } else { given }.to_owned()
    };
    let user = part(&options.user, "system_u");
    let level = part(&options.level, "s0");
    Some(Labels {
        process: format!(
            "{user}:{}:{}:{level}",
            part(&options.role, "system_r"),
            part(&options.type_, "container_t")
        ),
        mount: format!("{user}:object_r:container_file_t:{level}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_filled_in() {
        let security = ContainerSecurity {
            selinux: Some(SelinuxOptions {
                level: "s0:c1,c2".into(),
                ..SelinuxOptions::default()
            }),
            ..ContainerSecurity::default()
        };
        let found = labels(&security, None, true).unwrap();
        assert_eq!(found.process, "system_u:system_r:container_t:s0:c1,c2");
        assert_eq!(found.mount, "system_u:object_r:container_file_t:s0:c1,c2");
        assert_eq!(labels(&security, None, false), None);
        assert_eq!(labels(&ContainerSecurity::default(), None, true), None);
    }
}
