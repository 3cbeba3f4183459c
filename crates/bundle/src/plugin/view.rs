//! A runtime spec as plugins see it.

use pinpod_nri::api;
use serde_json::Value;

use super::json::{list, signed, small, text, text_map, texts, unsigned};
use super::limits;

/// What of a container its spec tells; identity, state and times are put in by the caller.
#[must_use]
pub fn view(spec: &Value) -> api::Container {
    let empty = Value::Null;
    let process = spec.get("process").unwrap_or(&empty);
    let hooks = spec.get("hooks").unwrap_or(&empty);
    let user = process.get("user").unwrap_or(&empty);
    let groups = list(user, "additionalGids").iter();
    api::Container {
        annotations: text_map(spec, "annotations"),
        args: texts(process, "args"),
        env: texts(process, "env"),
        mounts: list(spec, "mounts").iter().map(mount).collect(),
        hooks: Some(api::Hooks {
            prestart: list(hooks, "prestart").iter().map(hook).collect(),
            create_runtime: list(hooks, "createRuntime").iter().map(hook).collect(),
            create_container: list(hooks, "createContainer").iter().map(hook).collect(),
            start_container: list(hooks, "startContainer").iter().map(hook).collect(),
            poststart: list(hooks, "poststart").iter().map(hook).collect(),
            poststop: list(hooks, "poststop").iter().map(hook).collect(),
        }),
        linux: Some(linux(spec.get("linux").unwrap_or(&empty), process)),
        rlimits: list(process, "rlimits").iter().map(rlimit).collect(),
        user: Some(api::User {
            uid: small(user, "uid").unwrap_or_default(),
            gid: small(user, "gid").unwrap_or_default(),
            additional_gids: groups
                .filter_map(|gid| gid.as_u64()?.try_into().ok())
                .collect(),
        }),
        ..api::Container::default()
    }
}

fn mount(mount: &Value) -> api::Mount {
    api::Mount {
        destination: text(mount, "destination"),
        r#type: text(mount, "type"),
        source: text(mount, "source"),
        options: texts(mount, "options"),
    }
}

fn hook(hook: &Value) -> api::Hook {
    api::Hook {
        path: text(hook, "path"),
        args: texts(hook, "args"),
        env: texts(hook, "env"),
        timeout: signed(hook, "timeout").map(|value| api::OptionalInt { value }),
    }
}

fn rlimit(limit: &Value) -> api::PosixRlimit {
    api::PosixRlimit {
        r#type: text(limit, "type"),
        hard: unsigned(limit, "hard").unwrap_or_default(),
        soft: unsigned(limit, "soft").unwrap_or_default(),
    }
}

fn linux(linux: &Value, process: &Value) -> api::LinuxContainer {
    let empty = Value::Null;
    let net_devices = linux.get("netDevices").and_then(Value::as_object);
    api::LinuxContainer {
        namespaces: list(linux, "namespaces")
            .iter()
            .map(|it| api::LinuxNamespace {
                r#type: text(it, "type"),
                path: text(it, "path"),
            })
            .collect(),
        devices: list(linux, "devices").iter().map(device).collect(),
        resources: Some(limits::view(linux.get("resources").unwrap_or(&empty))),
        oom_score_adj: signed(process, "oomScoreAdj").map(|value| api::OptionalInt { value }),
        cgroups_path: text(linux, "cgroupsPath"),
        seccomp_policy: linux.get("seccomp").map(seccomp),
        sysctl: text_map(linux, "sysctl"),
        net_devices: net_devices
            .into_iter()
            .flatten()
            .map(|(host, device)| {
                let name = text(device, "name");
                (host.clone(), api::LinuxNetDevice { name })
            })
            .collect(),
        ..api::LinuxContainer::default()
    }
}

fn device(device: &Value) -> api::LinuxDevice {
    let small = |key| small(device, key);
    api::LinuxDevice {
        path: text(device, "path"),
        r#type: text(device, "type"),
        major: signed(device, "major").unwrap_or_default(),
        minor: signed(device, "minor").unwrap_or_default(),
        file_mode: small("fileMode").map(|value| api::OptionalFileMode { value }),
        uid: small("uid").map(|value| api::OptionalUInt32 { value }),
        gid: small("gid").map(|value| api::OptionalUInt32 { value }),
    }
}

fn seccomp(filter: &Value) -> api::LinuxSeccomp {
    let number = |value: &Value, key| small(value, key).map(|value| api::OptionalUInt32 { value });
    let argument = |it: &Value| api::LinuxSeccompArg {
        index: small(it, "index").unwrap_or_default(),
        value: unsigned(it, "value").unwrap_or_default(),
        value_two: unsigned(it, "valueTwo").unwrap_or_default(),
        op: text(it, "op"),
    };
    api::LinuxSeccomp {
        default_action: text(filter, "defaultAction"),
        default_errno: number(filter, "defaultErrnoRet"),
        architectures: texts(filter, "architectures"),
        flags: texts(filter, "flags"),
        listener_path: text(filter, "listenerPath"),
        listener_metadata: text(filter, "listenerMetadata"),
        syscalls: list(filter, "syscalls")
            .iter()
            .map(|it| api::LinuxSyscall {
                names: texts(it, "names"),
                action: text(it, "action"),
                errno_ret: number(it, "errnoRet"),
                args: list(it, "args").iter().map(argument).collect(),
            })
            .collect(),
    }
}
