//! Namespaces, users and profiles.

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_model::{
    Capabilities, ContainerSecurity, IdMapping, NamespaceMode, NamespaceOptions, PidMode,
    PodSecurity, ProfileSource, SelinuxOptions, SupplementalGroupsPolicy, UserNamespace,
};

use super::error::{ConvertError, Problem, absolute_path, in_range, without_nul};
use super::mount::{id_mapping_to_cri, id_mappings};

/// Security context of a pod sandbox.
pub(super) fn pod_security(
    proto: cri::LinuxSandboxSecurityContext,
) -> Result<PodSecurity, ConvertError> {
    #[allow(deprecated, reason = "older clients send the older form only")]
    let seccomp_path = proto.seccomp_profile_path;
    let namespaces = proto.namespace_options.unwrap_or_default();
    let namespaces =
        pod_namespaces(namespaces).map_err(|error| error.within("namespace_options"))?;
    Ok(PodSecurity {
        namespaces,
        selinux: proto.selinux_options.and_then(selinux),
        // A group without a user is taken here, unlike for containers: the kubelet sends it so
        // when the pod's author does, and a sandbox has no process that would run with it.
        run_as_user: id("run_as_user", proto.run_as_user)?,
        run_as_group: id("run_as_group", proto.run_as_group)?,
        supplemental_groups: groups(proto.supplemental_groups)?,
        supplemental_groups_policy: groups_policy(proto.supplemental_groups_policy)?,
        readonly_rootfs: proto.readonly_rootfs,
        privileged: proto.privileged,
        seccomp: profile(
            "seccomp",
            proto.seccomp,
            "seccomp_profile_path",
            &seccomp_path,
        )?,
        apparmor: apparmor(proto.apparmor, "apparmor", "")?,
    })
}

/// Security context of a container.
pub(super) fn container_security(
    proto: cri::LinuxContainerSecurityContext,
) -> Result<ContainerSecurity, ConvertError> {
    #[allow(deprecated, reason = "older clients send the older forms only")]
    let (seccomp_path, apparmor_name) = (proto.seccomp_profile_path, proto.apparmor_profile);
    let run_as_user = id("run_as_user", proto.run_as_user)?;
    let run_as_group = id("run_as_group", proto.run_as_group)?;
    if run_as_group.is_some() && run_as_user.is_none() && proto.run_as_username.is_empty() {
        let what = "run_as_user or run_as_username";
        return Err(ConvertError::new("run_as_group", Problem::Needs { what }));
    }
    let namespaces = namespaces(proto.namespace_options.unwrap_or_default())
        .map_err(|error| error.within("namespace_options"))?;
    let capabilities = proto.capabilities.unwrap_or_default();
    let username = without_nul("run_as_username", proto.run_as_username)?;
    Ok(ContainerSecurity {
        capabilities: Capabilities {
            add: capabilities.add_capabilities,
            drop: capabilities.drop_capabilities,
            add_ambient: capabilities.add_ambient_capabilities,
        },
        privileged: proto.privileged,
        namespaces,
        selinux: proto.selinux_options.and_then(selinux),
        run_as_user,
        run_as_username: Some(username).filter(|name| !name.is_empty()),
        run_as_group,
        supplemental_groups: groups(proto.supplemental_groups)?,
        supplemental_groups_policy: groups_policy(proto.supplemental_groups_policy)?,
        readonly_rootfs: proto.readonly_rootfs,
        no_new_privs: proto.no_new_privs,
        seccomp: profile(
            "seccomp",
            proto.seccomp,
            "seccomp_profile_path",
            &seccomp_path,
        )?,
        apparmor: apparmor(proto.apparmor, "apparmor_profile", &apparmor_name)?,
        masked_paths: paths("masked_paths", proto.masked_paths)?,
        readonly_paths: paths("readonly_paths", proto.readonly_paths)?,
    })
}

/// Some clients write the newer field's name as the older text was.
fn apparmor(
    proto: Option<cri::SecurityProfile>,
    old_field: &str,
    old: &str,
) -> Result<Option<ProfileSource>, ConvertError> {
    let source = profile("apparmor", proto, old_field, old)?;
    Ok(source.map(|source| match source {
        ProfileSource::Localhost(name) => {
            let bare = name.strip_prefix("localhost/").map(str::to_owned);
            ProfileSource::Localhost(bare.unwrap_or(name))
        }
        source @ (ProfileSource::RuntimeDefault | ProfileSource::Unconfined) => source,
    }))
}

/// Namespaces of a pod, where there is no container yet that could be a target.
fn pod_namespaces(proto: cri::NamespaceOption) -> Result<NamespaceOptions, ConvertError> {
    if proto.pid == i32::from(cri::NamespaceMode::Target) {
        return Err(choice(
            "pid",
            proto.pid,
            "POD, CONTAINER, NODE for a pod sandbox",
        ));
    }
    namespaces(proto)
}

fn namespaces(proto: cri::NamespaceOption) -> Result<NamespaceOptions, ConvertError> {
    let pid = match cri::NamespaceMode::try_from(proto.pid) {
        Ok(cri::NamespaceMode::Pod) => PidMode::Pod,
        Ok(cri::NamespaceMode::Container) => PidMode::Container,
        Ok(cri::NamespaceMode::Node) => PidMode::Node,
        Ok(cri::NamespaceMode::Target) => {
            PidMode::Target(proto.target_id.parse().map_err(|_| {
                ConvertError::form(
                    "target_id",
                    &proto.target_id,
                    "the identifier of a container",
                )
            })?)
        }
        Err(_) => return Err(choice("pid", proto.pid, "POD, CONTAINER, NODE, TARGET")),
    };
    let asks_for_user = proto.userns_options.is_some();
    let user = match proto.userns_options {
        Some(user) => user_namespace(user).map_err(|error| error.within("userns_options"))?,
        None => None,
    };
    Ok(NamespaceOptions {
        network: mode("network", proto.network)?,
        pid,
        ipc: mode("ipc", proto.ipc)?,
        asks_for_nodes_user: asks_for_user && user.is_none(),
        user,
    })
}

/// Namespaces as status shows them.
pub(super) fn namespaces_to_cri(options: &NamespaceOptions) -> cri::NamespaceOption {
    let mode = |mode| match mode {
        NamespaceMode::Pod => cri::NamespaceMode::Pod,
        NamespaceMode::Node => cri::NamespaceMode::Node,
    };
    let (pid, target_id) = match &options.pid {
        PidMode::Pod => (cri::NamespaceMode::Pod, String::new()),
        PidMode::Container => (cri::NamespaceMode::Container, String::new()),
        PidMode::Node => (cri::NamespaceMode::Node, String::new()),
        PidMode::Target(id) => (cri::NamespaceMode::Target, id.to_string()),
    };
    cri::NamespaceOption {
        network: mode(options.network).into(),
        pid: pid.into(),
        ipc: mode(options.ipc).into(),
        target_id,
        userns_options: options.user.as_ref().map(|user| cri::UserNamespace {
            mode: cri::NamespaceMode::Pod.into(),
            uids: vec![id_mapping_to_cri(&user.uid)],
            gids: vec![id_mapping_to_cri(&user.gid)],
        }),
    }
}

fn mode(field: &str, number: i32) -> Result<NamespaceMode, ConvertError> {
    match cri::NamespaceMode::try_from(number) {
        Ok(cri::NamespaceMode::Pod) => Ok(NamespaceMode::Pod),
        Ok(cri::NamespaceMode::Node) => Ok(NamespaceMode::Node),
        _ => Err(choice(field, number, "POD, NODE")),
    }
}

fn user_namespace(proto: cri::UserNamespace) -> Result<Option<UserNamespace>, ConvertError> {
    match cri::NamespaceMode::try_from(proto.mode) {
        Ok(cri::NamespaceMode::Node) => {
            for (field, list) in [("uids", &proto.uids), ("gids", &proto.gids)] {
                if !list.is_empty() {
                    let problem = Problem::Excluded { with: "mode NODE" };
                    return Err(ConvertError::new(field, problem));
                }
            }
            Ok(None)
        }
        Ok(cri::NamespaceMode::Pod) => Ok(Some(UserNamespace {
            uid: whole_mapping("uids", proto.uids)?,
            gid: whole_mapping("gids", proto.gids)?,
        })),
        _ => Err(choice("mode", proto.mode, "POD, NODE")),
    }
}

/// The one mapping that a pod's user namespace has; root must be in it.
fn whole_mapping(field: &str, protos: Vec<cri::IdMapping>) -> Result<IdMapping, ConvertError> {
    let mappings = id_mappings(field, protos)?;
    let [mapping] = mappings[..] else {
        let problem = Problem::Count {
            count: mappings.len(),
            expected: "one",
        };
        return Err(ConvertError::new(field, problem));
    };
    let first = i64::from(mapping.container_id);
    in_range("container_id", first, 0, 0).map_err(|error| error.at(field, 0))?;
    Ok(mapping)
}

fn choice(field: &str, number: i32, allowed: &'static str) -> ConvertError {
    let value = cri::NamespaceMode::try_from(number)
        .map_or_else(|_| number.to_string(), |mode| mode.as_str_name().to_owned());
    ConvertError::new(field, Problem::Choice { value, allowed })
}

fn id(field: &str, value: Option<cri::Int64Value>) -> Result<Option<u32>, ConvertError> {
    value.map(|value| one_id(field, value.value)).transpose()
}

/// The last number of 32 bits is how the kernel says "no id".
fn one_id(field: &str, value: i64) -> Result<u32, ConvertError> {
    let max = i64::from(u32::MAX) - 1;
    let problem = Problem::Range { value, min: 0, max };
    match u32::try_from(value) {
        Ok(id) if i64::from(id) <= max => Ok(id),
        _ => Err(ConvertError::new(field, problem)),
    }
}

fn groups(values: Vec<i64>) -> Result<Vec<u32>, ConvertError> {
    let group = |(index, value)| one_id(&format!("supplemental_groups[{index}]"), value);
    values.into_iter().enumerate().map(group).collect()
}

fn groups_policy(number: i32) -> Result<SupplementalGroupsPolicy, ConvertError> {
    match cri::SupplementalGroupsPolicy::try_from(number) {
        Ok(cri::SupplementalGroupsPolicy::Merge) => Ok(SupplementalGroupsPolicy::Merge),
        Ok(cri::SupplementalGroupsPolicy::Strict) => Ok(SupplementalGroupsPolicy::Strict),
        Err(_) => Err(ConvertError::new(
            "supplemental_groups_policy",
            Problem::Choice {
                value: number.to_string(),
                allowed: "Merge, Strict",
            },
        )),
    }
}

fn selinux(proto: cri::SeLinuxOption) -> Option<SelinuxOptions> {
    let options = SelinuxOptions {
        user: proto.user,
        role: proto.role,
        type_: proto.r#type,
        level: proto.level,
    };
    (options != SelinuxOptions::default()).then_some(options)
}

/// The newer field where it is set, else the older text.
fn profile(
    field: &str,
    proto: Option<cri::SecurityProfile>,
    old_field: &str,
    old: &str,
) -> Result<Option<ProfileSource>, ConvertError> {
    let Some(proto) = proto else {
        return old_profile(old_field, old);
    };
    use cri::security_profile::ProfileType;
    match ProfileType::try_from(proto.profile_type) {
        Ok(ProfileType::RuntimeDefault) => Ok(Some(ProfileSource::RuntimeDefault)),
        Ok(ProfileType::Unconfined) => Ok(Some(ProfileSource::Unconfined)),
        Ok(ProfileType::Localhost) if proto.localhost_ref.is_empty() => {
            Err(ConvertError::missing(format!("{field}.localhost_ref")))
        }
        Ok(ProfileType::Localhost) => {
            let name = without_nul(format!("{field}.localhost_ref"), proto.localhost_ref)?;
            Ok(Some(ProfileSource::Localhost(name)))
        }
        Err(_) => Err(ConvertError::new(
            format!("{field}.profile_type"),
            Problem::Choice {
                value: proto.profile_type.to_string(),
                allowed: "RuntimeDefault, Unconfined, Localhost",
            },
        )),
    }
}

fn old_profile(field: &str, text: &str) -> Result<Option<ProfileSource>, ConvertError> {
    match text {
        "" => Ok(None),
        "runtime/default" | "docker/default" => Ok(Some(ProfileSource::RuntimeDefault)),
        "unconfined" => Ok(Some(ProfileSource::Unconfined)),
        _ => match text.strip_prefix("localhost/") {
            Some(name) if !name.is_empty() => {
                let name = without_nul(field, name.to_owned())?;
                Ok(Some(ProfileSource::Localhost(name)))
            }
            _ => Err(ConvertError::form(
                field,
                text,
                "runtime/default, unconfined or localhost/<profile>",
            )),
        },
    }
}

fn paths(field: &str, values: Vec<String>) -> Result<Vec<String>, ConvertError> {
    let path = |(index, value)| absolute_path(&format!("{field}[{index}]"), value);
    values.into_iter().enumerate().map(path).collect()
}

#[cfg(test)]
#[path = "security_tests.rs"]
mod tests;
