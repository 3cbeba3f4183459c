//! Limits between the three forms that they have: CRI's, NRI's and the OCI runtime's.

use pinpod_model::{HugepageLimit, LinuxResources as Asked};
use pinpod_nri::api;
use serde_json::{Value, json};

use super::json::{edit_list, list, member, object, signed, text, text_map, unsigned};
use crate::input::NodeFacts;

/// CRI's limits as plugins see them. What CRI leaves out is not set.
#[must_use]
pub fn from_limits(asked: &Asked) -> api::LinuxResources {
    let int = |value: i64| (value != 0).then_some(api::OptionalInt64 { value });
    let uint = |value: i64| {
        let value = u64::try_from(value).unwrap_or_default();
        (value != 0).then_some(api::OptionalUInt64 { value })
    };
    let pages = asked.hugepage_limits.iter();
    api::LinuxResources {
        memory: Some(api::LinuxMemory {
            limit: int(asked.memory_limit),
            swap: int(asked.memory_swap_limit),
            ..api::LinuxMemory::default()
        }),
        cpu: Some(api::LinuxCpu {
            shares: uint(asked.cpu_shares),
            quota: int(asked.cpu_quota),
            period: uint(asked.cpu_period),
            cpus: asked.cpuset_cpus.clone(),
            mems: asked.cpuset_mems.clone(),
            ..api::LinuxCpu::default()
        }),
        hugepage_limits: pages
            .map(|it| api::HugepageLimit {
                page_size: it.page_size.clone(),
                limit: it.limit,
            })
            .collect(),
        unified: asked.unified.clone(),
        ..api::LinuxResources::default()
    }
}

/// Puts CRI's limits over what plugins see of a container's.
pub fn overlay(under: &mut api::LinuxResources, over: &Asked) {
    pinpod_nri::overlay(under, &from_limits(over));
}

/// Plugins' limits as far as CRI can tell of them.
#[must_use]
pub fn to_limits(limits: &api::LinuxResources) -> Asked {
    let uint = |value: &Option<api::OptionalUInt64>| {
        let value = value.as_ref().map_or(0, |it| it.value);
        i64::try_from(value).unwrap_or(i64::MAX)
    };
    let int = |value: &Option<api::OptionalInt64>| value.as_ref().map_or(0, |it| it.value);
    let cpu = limits.cpu.clone().unwrap_or_default();
    let memory = limits.memory.unwrap_or_default();
    let pages = limits.hugepage_limits.iter();
    Asked {
        cpu_period: uint(&cpu.period),
        cpu_quota: int(&cpu.quota),
        cpu_shares: uint(&cpu.shares),
        memory_limit: int(&memory.limit),
        memory_swap_limit: int(&memory.swap),
        cpuset_cpus: cpu.cpus,
        cpuset_mems: cpu.mems,
        hugepage_limits: pages
            .map(|it| HugepageLimit {
                page_size: it.page_size.clone(),
                limit: it.limit,
            })
            .collect(),
        unified: limits.unified.clone(),
        oom_score_adj: 0,
    }
}

/// Plugins' limits as the document that the OCI runtime's `update` takes.
#[must_use]
pub fn update_document(limits: &api::LinuxResources, node: &NodeFacts) -> Value {
    let mut document = json!({});
    put(&mut document, limits, node);
    document
}

/// Puts limits into the spec's `linux.resources`.
pub(super) fn put(resources: &mut Value, limits: &api::LinuxResources, node: &NodeFacts) {
    if let Some(cpu) = &limits.cpu {
        put_cpu(resources, cpu);
    }
    if let Some(memory) = &limits.memory {
        put_memory(resources, memory, node);
    }
    edit_list(resources, "hugepageLimits", |known| {
        // The kubelet names each size of the node with 0, also those that cannot be limited.
        let can = |size: &String| node.hugepage_sizes.contains(size);
        let limits = limits.hugepage_limits.iter();
        for limit in limits.filter(|it| it.limit != 0 || can(&it.page_size)) {
            known.retain(|it| text(it, "pageSize") != limit.page_size);
            known.push(json!({"pageSize": limit.page_size, "limit": limit.limit}));
        }
    });
    for (key, value) in &limits.unified {
        *member(member(resources, "unified"), key) = json!(value);
    }
    match &limits.pids {
        Some(pids) if pids.limit >= 0 => *member(resources, "pids") = json!({"limit": pids.limit}),
        Some(_) => drop(object(resources).remove("pids")),
        None => {}
    }
    edit_list(resources, "devices", |rules| {
        rules.extend(limits.devices.iter().map(rule));
    });
}

fn rule(rule: &api::LinuxDeviceCgroup) -> Value {
    let mut document = json!({"allow": rule.allow, "access": rule.access});
    if !rule.r#type.is_empty() {
        *member(&mut document, "type") = json!(rule.r#type);
    }
    for (key, number) in [("major", &rule.major), ("minor", &rule.minor)] {
        if let Some(number) = number {
            *member(&mut document, key) = json!(number.value);
        }
    }
    document
}

macro_rules! put_each {
    ($into:expr, $from:expr, $($part:ident: $key:literal),*) => {$(
        if let Some(value) = &$from.$part {
            *member($into, $key) = json!(value.value);
        }
    )*};
}

fn put_cpu(resources: &mut Value, cpu: &api::LinuxCpu) {
    let mut document = object(resources).remove("cpu").unwrap_or_default();
    let into = &mut document;
    put_each!(into, cpu, shares: "shares", quota: "quota", period: "period");
    put_each!(into, cpu, realtime_runtime: "realtimeRuntime", realtime_period: "realtimePeriod");
    for (key, value) in [("cpus", &cpu.cpus), ("mems", &cpu.mems)] {
        if !value.is_empty() {
            *member(into, key) = json!(value);
        }
    }
    if !document.is_null() {
        *member(resources, "cpu") = document;
    }
}

/// A limit on memory alone means no swap, as in CRI, where the node can limit swap.
fn put_memory(resources: &mut Value, memory: &api::LinuxMemory, node: &NodeFacts) {
    let mut document = object(resources).remove("memory").unwrap_or_default();
    let into = &mut document;
    put_each!(into, memory, limit: "limit", reservation: "reservation", kernel: "kernel");
    put_each!(into, memory, kernel_tcp: "kernelTCP", swappiness: "swappiness");
    put_each!(into, memory, disable_oom_killer: "disableOOMKiller", use_hierarchy: "useHierarchy");
    if node.swap {
        match (&memory.swap, &memory.limit) {
            (Some(swap), _) => *member(into, "swap") = json!(swap.value),
            (None, Some(limit)) => *member(into, "swap") = json!(limit.value),
            (None, None) => {}
        }
    }
    if !document.is_null() {
        *member(resources, "memory") = document;
    }
}

/// The spec's `linux.resources` as plugins see it.
pub(super) fn view(resources: &Value) -> api::LinuxResources {
    let empty = Value::Null;
    let part = |key| resources.get(key).unwrap_or(&empty);
    let (memory, cpu) = (part("memory"), part("cpu"));
    let int = |value: &Value, key| signed(value, key).map(|value| api::OptionalInt64 { value });
    let uint = |value: &Value, key| unsigned(value, key).map(|value| api::OptionalUInt64 { value });
    let flag = |value: &Value, key: &str| {
        let value = value.get(key)?.as_bool()?;
        Some(api::OptionalBool { value })
    };
    let pages = list(resources, "hugepageLimits").iter();
    let rules = list(resources, "devices").iter();
    api::LinuxResources {
        memory: Some(api::LinuxMemory {
            limit: int(memory, "limit"),
            reservation: int(memory, "reservation"),
            swap: int(memory, "swap"),
            kernel: int(memory, "kernel"),
            kernel_tcp: int(memory, "kernelTCP"),
            swappiness: uint(memory, "swappiness"),
            disable_oom_killer: flag(memory, "disableOOMKiller"),
            use_hierarchy: flag(memory, "useHierarchy"),
        }),
        cpu: Some(api::LinuxCpu {
            shares: uint(cpu, "shares"),
            quota: int(cpu, "quota"),
            period: uint(cpu, "period"),
            realtime_runtime: int(cpu, "realtimeRuntime"),
            realtime_period: uint(cpu, "realtimePeriod"),
            cpus: text(cpu, "cpus"),
            mems: text(cpu, "mems"),
        }),
        hugepage_limits: pages
            .map(|it| api::HugepageLimit {
                page_size: text(it, "pageSize"),
                limit: unsigned(it, "limit").unwrap_or_default(),
            })
            .collect(),
        unified: text_map(resources, "unified"),
        devices: rules
            .map(|it| api::LinuxDeviceCgroup {
                allow: it.get("allow").and_then(Value::as_bool).unwrap_or_default(),
                r#type: text(it, "type"),
                major: int(it, "major"),
                minor: int(it, "minor"),
                access: text(it, "access"),
            })
            .collect(),
        pids: signed(part("pids"), "limit").map(|limit| api::LinuxPids { limit }),
        ..api::LinuxResources::default()
    }
}
