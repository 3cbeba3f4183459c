//! What plugins want of the Linux side of a container.

use pinpod_nri::api;
use serde_json::{Value, json};

use super::AdjustError;
use super::json::{edit_list, edit_list_if, map, member, object, text};
use super::limits;
use crate::input::NodeFacts;

/// Puts in what is particular to Linux.
pub(super) fn put(
    spec: &mut Value,
    wanted: &api::LinuxContainerAdjustment,
    node: &NodeFacts,
) -> Result<(), AdjustError> {
    if let Some(score) = &wanted.oom_score_adj {
        let score = score
            .value
            .clamp(-1000, 1000)
            .max(node.oom_score_adj_floor.into());
        *member(member(spec, "process"), "oomScoreAdj") = json!(score);
    }
    if let Some(priority) = &wanted.io_priority {
        io_priority(member(spec, "process"), priority)?;
    }
    if let Some(wanted) = &wanted.scheduler {
        *member(member(spec, "process"), "scheduler") = scheduler(wanted)?;
    }
    let linux = member(spec, "linux");
    for device in &wanted.devices {
        put_device(linux, device);
    }
    if let Some(limits) = &wanted.resources {
        for (name, class) in [
            ("blockio_class", &limits.blockio_class),
            ("rdt_class", &limits.rdt_class),
        ] {
            if let Some(class) = class.as_ref().filter(|class| !class.value.is_empty()) {
                return Err(AdjustError::Class(name, class.value.clone()));
            }
        }
        limits::put(member(linux, "resources"), limits, node);
    }
    if !wanted.cgroups_path.is_empty() {
        *member(linux, "cgroupsPath") = json!(wanted.cgroups_path);
    }
    if let Some(filter) = &wanted.seccomp_policy {
        *member(linux, "seccomp") = seccomp(filter);
    }
    edit_list_if(
        &wanted.namespaces,
        linux,
        "namespaces",
        |known, namespace| {
            let gone = namespace.r#type.strip_prefix('-');
            let kind = gone.unwrap_or(&namespace.r#type);
            known.retain(|it| text(it, "type") != kind);
            if gone.is_none() {
                let mut document = json!({"type": kind});
                if !namespace.path.is_empty() {
                    *member(&mut document, "path") = json!(namespace.path);
                }
                known.push(document);
            }
        },
    );
    map(linux, "sysctl", &wanted.sysctl, |value| json!(value));
    map(
        linux,
        "netDevices",
        &wanted.net_devices,
        |device| json!({"name": device.name}),
    );
    if let Some(policy) = &wanted.memory_policy {
        *member(linux, "memoryPolicy") = memory_policy(policy)?;
    }
    if let Some(wanted) = &wanted.rdt {
        rdt(linux, wanted);
    }
    Ok(())
}

fn put_device(linux: &mut Value, device: &api::LinuxDevice) {
    let gone = device.path.strip_prefix('-');
    let path = gone.unwrap_or(&device.path);
    edit_list(linux, "devices", |known| {
        known.retain(|it| text(it, "path") != path);
        if gone.is_none() {
            let mut document = json!({
                "path": path, "type": device.r#type, "major": device.major, "minor": device.minor,
            });
            if let Some(mode) = &device.file_mode {
                *member(&mut document, "fileMode") = json!(mode.value);
            }
            for (key, id) in [("uid", &device.uid), ("gid", &device.gid)] {
                if let Some(id) = id {
                    *member(&mut document, key) = json!(id.value);
                }
            }
            known.push(document);
        }
    });
    if gone.is_none() {
        let access = if device.r#type == "b" { "rwm" } else { "rw" };
        edit_list(member(linux, "resources"), "devices", |rules| {
            rules.push(json!({
                "allow": true, "type": device.r#type, "major": device.major, "minor": device.minor,
                "access": access,
            }));
        });
    }
}

fn io_priority(process: &mut Value, wanted: &api::LinuxIoPriority) -> Result<(), AdjustError> {
    let class = api::IoPrioClass::try_from(wanted.class)
        .map_err(|_| AdjustError::Value("the I/O priority class", wanted.class))?;
    if class == api::IoPrioClass::IoprioClassNone {
        object(process).remove("ioPriority");
    } else {
        *member(process, "ioPriority") =
            json!({"class": class.as_str_name(), "priority": wanted.priority});
    }
    Ok(())
}

fn scheduler(wanted: &api::LinuxScheduler) -> Result<Value, AdjustError> {
    let policy = api::LinuxSchedulerPolicy::try_from(wanted.policy)
        .map_err(|_| AdjustError::Value("the scheduler policy", wanted.policy))?;
    let mut document = json!({
        "policy": policy.as_str_name(), "nice": wanted.nice, "priority": wanted.priority,
    });
    let mut flags = Vec::new();
    for flag in &wanted.flags {
        let known = api::LinuxSchedulerFlag::try_from(*flag);
        let known = known.map_err(|_| AdjustError::Value("a scheduler flag", *flag))?;
        flags.push(known.as_str_name());
    }
    if !flags.is_empty() {
        *member(&mut document, "flags") = json!(flags);
    }
    for (key, time) in [
        ("runtime", wanted.runtime),
        ("deadline", wanted.deadline),
        ("period", wanted.period),
    ] {
        if time != 0 {
            *member(&mut document, key) = json!(time);
        }
    }
    Ok(document)
}

fn memory_policy(wanted: &api::LinuxMemoryPolicy) -> Result<Value, AdjustError> {
    let mode = api::MpolMode::try_from(wanted.mode)
        .map_err(|_| AdjustError::Value("the memory policy", wanted.mode))?;
    let mut flags = Vec::new();
    for flag in &wanted.flags {
        let known = api::MpolFlag::try_from(*flag);
        let known = known.map_err(|_| AdjustError::Value("a memory policy flag", *flag))?;
        flags.push(known.as_str_name());
    }
    Ok(json!({"mode": mode.as_str_name(), "nodes": wanted.nodes, "flags": flags}))
}

fn rdt(linux: &mut Value, wanted: &api::LinuxRdt) {
    if wanted.remove {
        object(linux).remove("intelRdt");
    }
    if let Some(id) = &wanted.clos_id {
        *member(member(linux, "intelRdt"), "closID") = json!(id.value);
    }
    if let Some(schemata) = &wanted.schemata {
        *member(member(linux, "intelRdt"), "schemata") = json!(schemata.value);
    }
    if let Some(flag) = &wanted.enable_monitoring {
        *member(member(linux, "intelRdt"), "enableMonitoring") = json!(flag.value);
    }
}

fn seccomp(filter: &api::LinuxSeccomp) -> Value {
    let mut document = json!({"defaultAction": filter.default_action});
    let texts = [
        ("architectures", &filter.architectures),
        ("flags", &filter.flags),
    ];
    for (key, texts) in texts.iter().filter(|(_, texts)| !texts.is_empty()) {
        *member(&mut document, key) = json!(texts);
    }
    for (key, text) in [
        ("listenerPath", &filter.listener_path),
        ("listenerMetadata", &filter.listener_metadata),
    ] {
        if !text.is_empty() {
            *member(&mut document, key) = json!(text);
        }
    }
    if let Some(errno) = &filter.default_errno {
        *member(&mut document, "defaultErrnoRet") = json!(errno.value);
    }
    let syscalls: Vec<_> = filter.syscalls.iter().map(syscall).collect();
    *member(&mut document, "syscalls") = json!(syscalls);
    document
}

fn syscall(syscall: &api::LinuxSyscall) -> Value {
    let arguments = syscall.args.iter().map(
        |it| json!({"index": it.index, "value": it.value, "valueTwo": it.value_two, "op": it.op}),
    );
    let arguments: Vec<_> = arguments.collect();
    let mut document = json!({"names": syscall.names, "action": syscall.action});
    if let Some(errno) = &syscall.errno_ret {
        *member(&mut document, "errnoRet") = json!(errno.value);
    }
    if !arguments.is_empty() {
        *member(&mut document, "args") = json!(arguments);
    }
    document
}
