//! The process: what runs, as whom, with which environment and limits.

use std::path::PathBuf;

use oci_spec::runtime::{
    PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder, UserBuilder,
};
use pinpod_config::Ulimit;
use pinpod_model::{ContainerSecurity, ProfileSource};

use crate::SpecError;
use crate::capabilities::{Granted, linux_capabilities};
use crate::input::{ContainerInput, ImageDefaults, NodeFacts, SpecInput};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Puts the process together.
pub(crate) fn process(
    input: &SpecInput<'_>,
    granted: &Granted,
    selinux_label: Option<String>,
) -> Result<Process, SpecError> {
    let config = input.container.config;
    let user = input.container.user;
    let mut process = ProcessBuilder::default()
        .terminal(config.tty)
        .user(
            UserBuilder::default()
                .uid(user.uid)
                .gid(user.gid)
                .additional_gids(user.additional_gids.clone())
                .build()?,
        )
        .args(arguments(&input.container)?)
        .env(environment(input))
        .cwd(working_dir(&input.container)?)
        .capabilities(linux_capabilities(granted)?)
        .rlimits(input.defaults.rlimits.clone())
        .no_new_privileges(config.security.no_new_privs)
        .oom_score_adj(oom_score_adj(config.resources.oom_score_adj, input.node)?);
    if let Some(profile) = apparmor_profile(
        &config.security,
        &input.defaults.apparmor_profile,
        input.node.apparmor,
    )? {
        process = process.apparmor_profile(profile);
    }
    if let Some(label) = selinux_label {
        process = process.selinux_label(label);
    }
    Ok(process.build()?)
}

/// `command` replaces the image's entrypoint and its cmd; `args` replaces the cmd (CRI
/// `ContainerConfig`).
fn arguments(container: &ContainerInput<'_>) -> Result<Vec<String>, SpecError> {
    let (config, image) = (container.config, container.image);
    let all: Vec<String> = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => config.command.iter().chain(&config.args).cloned().collect(),
        (true, false) => image
            .entrypoint
            .iter()
            .chain(&config.args)
            .cloned()
            .collect(),
        (true, true) => image.entrypoint.iter().chain(&image.cmd).cloned().collect(),
    };
    if all.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand {
            container: config.metadata.name.clone(),
            image: config.image.user_specified.clone(),
        });
    }
    Ok(all)
}

/// The environment: what every container has, then the image's, then the request's, a later value
/// in the place of the earlier one.
fn environment(input: &SpecInput<'_>) -> Vec<String> {
    let config = input.container.config;
    let user = input.container.user;
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut put = |name: &str, value: &str| match pairs.iter_mut().find(|pair| pair.0 == name) {
        Some(pair) => value.clone_into(&mut pair.1),
        None => pairs.push((name.to_owned(), value.to_owned())),
    };
    put("PATH", DEFAULT_PATH);
    if config.tty {
        put("TERM", "xterm");
    }
    let pod_name = input.pod.config.hostname.as_str();
    let own_name = input.pod.namespaces.uts.is_some() && !pod_name.is_empty();
    put(
        "HOSTNAME",
        if own_name {
            pod_name
        } else {
            &input.node.hostname
        },
    );
    put(
        "HOME",
        if user.home.is_empty() {
            "/"
        } else {
            &user.home
        },
    );
    for (name, value) in &input.defaults.env {
        put(name, value);
    }
    for entry in &input.container.image.env {
        // An image may say `NAME` alone; such a variable is empty.
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        put(name, value);
    }
    for variable in &config.env {
        put(&variable.name, &variable.value);
    }
    pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn working_dir(container: &ContainerInput<'_>) -> Result<PathBuf, SpecError> {
    let ImageDefaults { working_dir, .. } = container.image;
    let asked = &container.config.working_dir;
    let chosen = [asked, working_dir]
        .into_iter()
        .find(|dir| !dir.is_empty())
        .map_or("/", String::as_str);
    if chosen.starts_with('/') {
        Ok(PathBuf::from(chosen))
    } else {
        Err(SpecError::WorkingDir(chosen.to_owned()))
    }
}

/// The value asked for, or the lowest that the daemon may give: below it the OCI runtime's write
/// fails, and the create with it.
fn oom_score_adj(asked: i64, node: &NodeFacts) -> Result<i32, SpecError> {
    let error = SpecError::OutOfRange {
        field: "oom_score_adj",
        value: asked,
    };
    if !(-1000..=1000).contains(&asked) {
        return Err(error);
    }
    let value = i32::try_from(asked).map_err(|_| error)?;
    Ok(value.max(node.oom_score_adj_floor))
}

/// The AppArmor profile. A privileged container is confined only by a profile that the request
/// names; a node without AppArmor refuses a named one and passes over the default.
fn apparmor_profile(
    security: &ContainerSecurity,
    default: &str,
    enabled: bool,
) -> Result<Option<String>, SpecError> {
    match &security.apparmor {
        Some(ProfileSource::Localhost(name)) if enabled => Ok(Some(name.clone())),
        Some(ProfileSource::Localhost(name)) => Err(SpecError::AppArmorOff(name.clone())),
        Some(ProfileSource::Unconfined) => Ok(None),
        Some(ProfileSource::RuntimeDefault) | None => {
            let applies = enabled && !security.privileged && !default.is_empty();
            Ok(applies.then(|| default.to_owned()))
        }
    }
}

/// A limit of the configuration in the form of the spec.
pub(crate) fn rlimit(limit: &Ulimit) -> Result<PosixRlimit, SpecError> {
    let name = format!("RLIMIT_{}", limit.name.to_ascii_uppercase());
    let kind: PosixRlimitType = name
        .parse()
        .map_err(|_| SpecError::UnknownLimit(limit.name.clone()))?;
    Ok(PosixRlimitBuilder::default()
        .typ(kind)
        .soft(limit.soft)
        .hard(limit.hard)
        .build()?)
}
