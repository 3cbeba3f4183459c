//! What plugins want of a container, put into its runtime spec.

use oci_spec::runtime::Spec;
use pinpod_model::{Classify, ErrorClass};
use pinpod_nri::api;
use serde_json::{Value, json};

use super::json::{edit_list, edit_list_if, map, member, text};
use super::linux;
use crate::input::NodeFacts;

/// What plugins want and this node cannot do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdjustError {
    /// CDI devices are not resolved for plugins.
    #[error("an NRI plugin adds the CDI device {0:?}: CDI devices of plugins are not built yet")]
    Cdi(String),
    /// A class that nobody here can look up.
    #[error("an NRI plugin sets {0} to {1:?}: this node has no such classes")]
    Class(&'static str, String),
    /// A mount that cannot be one.
    #[error("an NRI plugin mounts {0:?}, which is not an absolute path")]
    Mount(String),
    /// What comes out is no spec any more.
    #[error("what NRI plugins set makes no valid runtime spec: {0}")]
    Spec(String),
    /// A value that the protocol does not have.
    #[error("an NRI plugin sets {0} to the unknown value {1}")]
    Value(&'static str, i32),
}

impl Classify for AdjustError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Cdi(_) => ErrorClass::Unimplemented,
            Self::Class(..) | Self::Mount(_) | Self::Spec(_) | Self::Value(..) => {
                ErrorClass::FailedPrecondition
            }
        }
    }
}

/// The spec with what plugins want in it.
///
/// # Errors
/// [`AdjustError`].
pub fn adjusted(
    spec: &Spec,
    wanted: &api::ContainerAdjustment,
    node: &NodeFacts,
) -> Result<Spec, AdjustError> {
    let no_spec = |error: serde_json::Error| AdjustError::Spec(error.to_string());
    let mut document = serde_json::to_value(spec).map_err(no_spec)?;
    adjust(&mut document, wanted, node)?;
    serde_json::from_value(document).map_err(no_spec)
}

/// Puts `wanted` into `spec`, the content of a `config.json`.
pub(super) fn adjust(
    spec: &mut Value,
    wanted: &api::ContainerAdjustment,
    node: &NodeFacts,
) -> Result<(), AdjustError> {
    if let Some(device) = wanted.cdi_devices.first() {
        return Err(AdjustError::Cdi(device.name.clone()));
    }
    map(spec, "annotations", &wanted.annotations, |value| {
        json!(value)
    });
    process(spec, wanted);
    if let Some(hooks) = &wanted.hooks {
        add_hooks(spec, hooks);
    }
    if let Some(wanted) = &wanted.linux {
        linux::put(spec, wanted, node)?;
    }
    mounts(spec, &wanted.mounts)
}

fn process(spec: &mut Value, wanted: &api::ContainerAdjustment) {
    if !wanted.args.is_empty() {
        *member(member(spec, "process"), "args") = json!(wanted.args);
    }
    for variable in &wanted.env {
        let name = variable.key.strip_prefix('-');
        let is_it = |pair: &Value| {
            let key = pair.as_str().and_then(|pair| pair.split_once('='));
            key.is_some_and(|(key, _)| key == name.unwrap_or(&variable.key))
        };
        edit_list(member(spec, "process"), "env", |env| {
            let value = json!(format!("{}={}", variable.key, variable.value));
            match (name, env.iter_mut().find(|pair| is_it(pair))) {
                (Some(_), _) => env.retain(|pair| !is_it(pair)),
                (None, Some(known)) => *known = value,
                (None, None) => env.push(value),
            }
        });
    }
    edit_list_if(
        &wanted.rlimits,
        member(spec, "process"),
        "rlimits",
        |known, limit| {
            known.retain(|it| text(it, "type") != limit.r#type);
            known.push(json!({"type": limit.r#type, "hard": limit.hard, "soft": limit.soft}));
        },
    );
}

fn add_hooks(spec: &mut Value, hooks: &api::Hooks) {
    for (key, wanted) in [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ] {
        if wanted.is_empty() {
            continue;
        }
        edit_list(member(spec, "hooks"), key, |known| {
            known.extend(wanted.iter().map(|hook| {
                let mut document = json!({"path": hook.path});
                for (key, texts) in [("args", &hook.args), ("env", &hook.env)] {
                    if !texts.is_empty() {
                        *member(&mut document, key) = json!(texts);
                    }
                }
                if let Some(timeout) = &hook.timeout {
                    *member(&mut document, "timeout") = json!(timeout.value);
                }
                document
            }));
        });
    }
}

/// Mounts by their destination. What is mounted deeper comes later, so that nothing is hidden.
fn mounts(spec: &mut Value, wanted: &[api::Mount]) -> Result<(), AdjustError> {
    if wanted.is_empty() {
        return Ok(());
    }
    for mount in wanted {
        let gone = mount.destination.strip_prefix('-');
        let destination = gone.unwrap_or(&mount.destination);
        if !destination.starts_with('/') {
            return Err(AdjustError::Mount(destination.to_owned()));
        }
        edit_list(spec, "mounts", |known| {
            known.retain(|it| text(it, "destination") != destination);
            if gone.is_none() {
                known.push(json!({
                    "destination": destination, "type": mount.r#type, "source": mount.source,
                    "options": mount.options,
                }));
            }
        });
        propagate(spec, mount);
    }
    let depth = |mount: &Value| {
        let parts = text(mount, "destination");
        parts.split('/').filter(|part| !part.is_empty()).count()
    };
    edit_list(spec, "mounts", |known| known.sort_by_key(depth));
    Ok(())
}

/// A mount that propagates needs a root that does.
fn propagate(spec: &mut Value, mount: &api::Mount) {
    let has = |option: &str| mount.options.iter().any(|it| it == option);
    let now = spec.get("linux").map(|it| text(it, "rootfsPropagation"));
    let now = now.unwrap_or_default();
    let wanted = if has("rshared") {
        "rshared"
    } else if has("rslave") && !now.ends_with("shared") {
        "rslave"
    } else {
        return;
    };
    *member(member(spec, "linux"), "rootfsPropagation") = json!(wanted);
}
