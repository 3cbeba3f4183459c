//! What a container is asked to be.

use std::path::PathBuf;
use std::time::Duration;

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_model::{ContainerConfig, ContainerMetadata, EnvVar};

use super::error::{ConvertError, absolute_path, node_path, relative_path, without_nul};
use super::image::image_source;
use super::mount::{device, mount};
use super::resources::linux_resources;
use super::security::container_security;
use super::signal::signal;
use super::size::check_entries;

/// Checks the configuration of CreateContainer.
pub(crate) fn container_config(
    proto: Option<cri::ContainerConfig>,
) -> Result<ContainerConfig, ConvertError> {
    let proto = proto.ok_or_else(|| ConvertError::missing("config"))?;
    config(proto).map_err(|error| error.within("config"))
}

fn config(proto: cri::ContainerConfig) -> Result<ContainerConfig, ConvertError> {
    let metadata = proto
        .metadata
        .ok_or_else(|| ConvertError::missing("metadata"))?;
    let image = proto.image.ok_or_else(|| ConvertError::missing("image"))?;
    let linux = proto.linux.unwrap_or_default();
    let resources = linux_resources(linux.resources.unwrap_or_default())
        .map_err(|error| error.within("linux.resources"))?;
    let security = container_security(linux.security_context.unwrap_or_default())
        .map_err(|error| error.within("linux.security_context"))?;
    let working_dir = match proto.working_dir {
        none if none.is_empty() => none,
        path => absolute_path("working_dir", path)?,
    };
    check_entries("mounts", &proto.mounts)?;
    check_entries("devices", &proto.devices)?;
    let cdi_device = |(index, device): (usize, cri::CdiDevice)| match device.name {
        none if none.is_empty() => Err(ConvertError::missing(format!("CDI_devices[{index}].name"))),
        name => Ok(name),
    };
    Ok(ContainerConfig {
        metadata: metadata_of(metadata).map_err(|error| error.within("metadata"))?,
        image: image_source(image).map_err(|error| error.within("image"))?,
        command: words("command", proto.command)?,
        args: words("args", proto.args)?,
        working_dir,
        env: each("envs", proto.envs, env)?,
        mounts: each("mounts", proto.mounts, mount)?,
        devices: each("devices", proto.devices, device)?,
        cdi_devices: proto
            .cdi_devices
            .into_iter()
            .enumerate()
            .map(cdi_device)
            .collect::<Result<_, _>>()?,
        labels: proto.labels,
        annotations: proto.annotations,
        log_path: relative_path("log_path", proto.log_path)?,
        stdin: proto.stdin,
        stdin_once: proto.stdin_once,
        tty: proto.tty,
        resources,
        security,
        stop_signal: signal("stop_signal", proto.stop_signal)?,
    })
}

/// The command of an exec.
pub(crate) fn exec_command(cmd: Vec<String>) -> Result<Vec<String>, ConvertError> {
    if cmd.is_empty() {
        return Err(ConvertError::missing("cmd"));
    }
    words("cmd", cmd)
}

/// A number of seconds; `None` for zero and less, which CRI takes as "no limit".
pub(crate) fn seconds(value: i64) -> Option<Duration> {
    u64::try_from(value)
        .ok()
        .filter(|&seconds| seconds > 0)
        .map(Duration::from_secs)
}

/// The file of the node that CheckpointContainer writes.
pub(crate) fn checkpoint_location(location: &str) -> Result<PathBuf, ConvertError> {
    node_path("location", location.to_owned()).map(PathBuf::from)
}

fn metadata_of(proto: cri::ContainerMetadata) -> Result<ContainerMetadata, ConvertError> {
    if proto.name.is_empty() {
        return Err(ConvertError::missing("name"));
    }
    if proto.name.contains(|c: char| c == '/' || c.is_control()) {
        return Err(ConvertError::form(
            "name",
            &proto.name,
            "free of `/` and control",
        ));
    }
    Ok(ContainerMetadata {
        name: proto.name,
        attempt: proto.attempt,
    })
}

/// CRI carries any bytes; the OCI spec is JSON, and NUL would end the variable.
fn env(proto: cri::KeyValue) -> Result<EnvVar, ConvertError> {
    if proto.key.is_empty() {
        return Err(ConvertError::missing("key"));
    }
    if proto.key.contains(['=', '\0']) {
        return Err(ConvertError::form("key", &proto.key, "free of `=` and NUL"));
    }
    // The value may be a secret, so the errors show the name alone.
    let field = format!("value (of {})", proto.key);
    let value = String::from_utf8(proto.value)
        .map_err(|_| ConvertError::form(field.clone(), "<hidden>", "UTF-8"))?;
    if value.contains('\0') {
        return Err(ConvertError::form(field, "<hidden>", "free of NUL"));
    }
    Ok(EnvVar {
        name: proto.key,
        value,
    })
}

fn words(field: &str, values: Vec<String>) -> Result<Vec<String>, ConvertError> {
    let word = |(index, value)| without_nul(format!("{field}[{index}]"), value);
    values.into_iter().enumerate().map(word).collect()
}

fn each<P, M>(
    field: &str,
    protos: Vec<P>,
    convert: fn(P) -> Result<M, ConvertError>,
) -> Result<Vec<M>, ConvertError> {
    let one = |(index, proto)| convert(proto).map_err(|error| error.at(field, index));
    protos.into_iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> cri::ContainerConfig {
        cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata {
                name: "web".into(),
                attempt: 1,
            }),
            image: Some(cri::ImageSpec {
                image: "busybox".into(),
                ..Default::default()
            }),
            command: vec!["sh".into()],
            args: vec!["-c".into(), "true".into()],
            working_dir: "/srv".into(),
            envs: vec![cri::KeyValue {
                key: "A".into(),
                value: "=ä\n".as_bytes().to_vec(),
            }],
            mounts: vec![cri::Mount {
                container_path: "/data".into(),
                host_path: "/srv/data".into(),
                ..Default::default()
            }],
            devices: vec![cri::Device {
                container_path: "/dev/a".into(),
                host_path: "/dev/b".into(),
                permissions: "rw".into(),
            }],
            cdi_devices: vec![cri::CdiDevice {
                name: "vendor.com/gpu=0".into(),
            }],
            log_path: "web/1.log".into(),
            stop_signal: cri::Signal::Sigusr1.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_whole_one() {
        let config = container_config(Some(good())).unwrap();
        assert_eq!(config.env[0].value, "=ä\n");
        assert_eq!(config.cdi_devices, ["vendor.com/gpu=0"]);
        assert_eq!(config.stop_signal.map(|signal| signal.number()), Some(10));
        assert_eq!((config.mounts.len(), config.devices.len()), (1, 1));
    }

    #[test]
    fn what_is_bad_is_named() {
        type Change = fn(&mut cri::ContainerConfig);
        let cases: [(Change, &str); 18] = [
            (|c| c.metadata = None, "config.metadata is required"),
            (
                |c| c.metadata = Some(Default::default()),
                "config.metadata.name is required",
            ),
            (
                |c| c.metadata.as_mut().unwrap().name = "a/b".into(),
                "config.metadata.name is \"a/b\", not free of `/` and control",
            ),
            (|c| c.image = None, "config.image is required"),
            (
                |c| c.image = Some(Default::default()),
                "config.image.image is required",
            ),
            (
                |c| c.command.push("\0".into()),
                "config.command[1] is \"\\0\", not free of NUL",
            ),
            (
                |c| c.args[1] = "\0".into(),
                "config.args[1] is \"\\0\", not free of NUL",
            ),
            (
                |c| c.working_dir = "srv".into(),
                "config.working_dir is \"srv\", not an absolute path",
            ),
            (|c| c.envs[0].key.clear(), "config.envs[0].key is required"),
            (
                |c| c.envs[0].key = "A=".into(),
                "config.envs[0].key is \"A=\", not free of `=` and NUL",
            ),
            (
                |c| c.envs[0].value = vec![0xff],
                "config.envs[0].value (of A) is \"<hidden>\", not UTF-8",
            ),
            (
                |c| c.envs[0].value = vec![b'a', 0],
                "config.envs[0].value (of A) is \"<hidden>\", not free of NUL",
            ),
            (
                |c| c.mounts[0].host_path.clear(),
                "config.mounts[0].host_path is \"\", not an absolute path",
            ),
            (
                |c| c.devices[0].permissions = "x".into(),
                "config.devices[0].permissions is \"x\", not letters of \"rwm\"",
            ),
            (
                |c| c.cdi_devices[0].name.clear(),
                "config.CDI_devices[0].name is required",
            ),
            (
                |c| c.log_path = "../../x.log".into(),
                "config.log_path is \"../../x.log\", not a relative path without `..`",
            ),
            (
                |c| c.stop_signal = 66,
                "config.stop_signal is 66, which is not one of the signals of CRI",
            ),
            (
                |c| {
                    c.linux = Some(cri::LinuxContainerConfig {
                        resources: Some(cri::LinuxContainerResources {
                            oom_score_adj: 1001,
                            ..Default::default()
                        }),
                        security_context: None,
                    });
                },
                "config.linux.resources.oom_score_adj is 1001, outside -1000 to 1000",
            ),
        ];
        for (change, text) in cases {
            let mut proto = good();
            change(&mut proto);
            assert_eq!(container_config(Some(proto)).unwrap_err().to_string(), text);
        }
        assert_eq!(
            container_config(None).unwrap_err().to_string(),
            "config is required"
        );
    }

    #[test]
    fn exec_commands_and_times() {
        assert_eq!(
            exec_command(Vec::new()).unwrap_err().to_string(),
            "cmd is required"
        );
        assert_eq!(
            exec_command(vec!["a\0".into()]).unwrap_err().field(),
            "cmd[0]"
        );
        assert_eq!(seconds(0), None);
        assert_eq!(seconds(-1), None);
        assert_eq!(seconds(3), Some(Duration::from_secs(3)));
    }
}
