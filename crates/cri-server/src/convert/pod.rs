//! What a pod sandbox is asked to be.

use std::collections::BTreeMap;
use std::net::IpAddr;

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_model::{
    DnsConfig, NamespaceMode, PodMetadata, PodSandboxConfig, PodSecurity, PortMapping, PortProtocol,
};

use super::error::{ConvertError, Problem, climbs, in_range, node_path, without_nul};
use super::resources::linux_resources;
use super::security::pod_security;
use super::size::check_entries;

/// Longest host name that the kernel keeps (`HOST_NAME_MAX`).
const HOSTNAME_MAX: usize = 64;

/// Checks the configuration of RunPodSandbox.
pub(crate) fn pod_sandbox_config(
    proto: Option<cri::PodSandboxConfig>,
    runtime_handler: String,
) -> Result<PodSandboxConfig, ConvertError> {
    let proto = proto.ok_or_else(|| ConvertError::missing("config"))?;
    config(proto, runtime_handler).map_err(|error| error.within("config"))
}

fn config(
    proto: cri::PodSandboxConfig,
    runtime_handler: String,
) -> Result<PodSandboxConfig, ConvertError> {
    let linux = linux(proto.linux.unwrap_or_default()).map_err(|error| error.within("linux"))?;
    let metadata = proto
        .metadata
        .ok_or_else(|| ConvertError::missing("metadata"))?;
    let metadata = metadata_of(metadata).map_err(|error| error.within("metadata"))?;
    check_entries("port_mappings", &proto.port_mappings)?;
    let own_hostname = linux.security.namespaces.network == NamespaceMode::Pod;
    let hostname = if own_hostname {
        hostname(proto.hostname)?
    } else {
        String::new()
    };
    let log_directory = match proto.log_directory {
        none if none.is_empty() => none,
        path => node_path("log_directory", path)?,
    };
    let dns = proto
        .dns_config
        .map(dns)
        .transpose()
        .map_err(|error| error.within("dns_config"))?;
    Ok(PodSandboxConfig {
        metadata,
        hostname,
        log_directory,
        dns: dns.flatten(),
        port_mappings: proto
            .port_mappings
            .into_iter()
            .enumerate()
            .map(|(index, mapping)| {
                port_mapping(mapping).map_err(|error| error.at("port_mappings", index))
            })
            .collect::<Result<_, _>>()?,
        labels: proto.labels,
        annotations: proto.annotations,
        cgroup_parent: linux.cgroup_parent,
        security: linux.security,
        sysctls: linux.sysctls,
        overhead: linux.overhead,
        resources: linux.resources,
        runtime_handler: Some(runtime_handler).filter(|name| !name.is_empty()),
    })
}

struct Linux {
    cgroup_parent: String,
    security: PodSecurity,
    sysctls: BTreeMap<String, String>,
    overhead: Option<pinpod_model::LinuxResources>,
    resources: Option<pinpod_model::LinuxResources>,
}

fn linux(proto: cri::LinuxPodSandboxConfig) -> Result<Linux, ConvertError> {
    let cgroup_parent = without_nul("cgroup_parent", proto.cgroup_parent)?;
    if climbs(&cgroup_parent) {
        return Err(ConvertError::form(
            "cgroup_parent",
            &cgroup_parent,
            "a path without `..`",
        ));
    }
    for (key, value) in &proto.sysctls {
        sysctl(key, value)?;
    }
    let security = pod_security(proto.security_context.unwrap_or_default())
        .map_err(|error| error.within("security_context"))?;
    let limits = |field: &str, proto: Option<cri::LinuxContainerResources>| {
        proto
            .map(linux_resources)
            .transpose()
            .map_err(|error| error.within(field))
    };
    Ok(Linux {
        cgroup_parent,
        security,
        sysctls: proto.sysctls,
        overhead: limits("overhead", proto.overhead)?,
        resources: limits("resources", proto.resources)?,
    })
}

/// The key of a pod. Its parts end up in CNI arguments (`K8S_POD_NAME=…;…`) and log lines.
fn metadata_of(proto: cri::PodSandboxMetadata) -> Result<PodMetadata, ConvertError> {
    let part = |field: &str, value: String| {
        let bad = |c: char| c == '/' || c == ';' || c == '=' || c.is_control();
        if value.is_empty() {
            return Err(ConvertError::missing(field));
        }
        if value.contains(bad) {
            return Err(ConvertError::form(
                field,
                &value,
                "free of `/`, `;`, `=` and control",
            ));
        }
        Ok(value)
    };
    Ok(PodMetadata {
        name: part("name", proto.name)?,
        uid: part("uid", proto.uid)?,
        namespace: part("namespace", proto.namespace)?,
        attempt: proto.attempt,
    })
}

fn hostname(name: String) -> Result<String, ConvertError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if name.len() > HOSTNAME_MAX || name.contains(bad) {
        return Err(ConvertError::form(
            "hostname",
            &name,
            "a host name of at most 64 bytes",
        ));
    }
    Ok(name)
}

/// `None` where all is empty, which means the node's own file.
fn dns(proto: cri::DnsConfig) -> Result<Option<DnsConfig>, ConvertError> {
    let lists = [
        ("servers", &proto.servers),
        ("searches", &proto.searches),
        ("options", &proto.options),
    ];
    for (field, list) in lists {
        for (index, word) in list.iter().enumerate() {
            if word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control()) {
                let field = format!("{field}[{index}]");
                return Err(ConvertError::form(field, word, "one word of resolv.conf"));
            }
        }
    }
    if lists.iter().all(|(_, list)| list.is_empty()) {
        return Ok(None);
    }
    Ok(Some(DnsConfig {
        servers: proto.servers,
        searches: proto.searches,
        options: proto.options,
    }))
}

fn port_mapping(proto: cri::PortMapping) -> Result<PortMapping, ConvertError> {
    let protocol = match cri::Protocol::try_from(proto.protocol) {
        Ok(cri::Protocol::Tcp) => PortProtocol::Tcp,
        Ok(cri::Protocol::Udp) => PortProtocol::Udp,
        Ok(cri::Protocol::Sctp) => PortProtocol::Sctp,
        Err(_) => {
            let value = proto.protocol.to_string();
            let problem = Problem::Choice {
                value,
                allowed: "TCP, UDP, SCTP",
            };
            return Err(ConvertError::new("protocol", problem));
        }
    };
    let host_port = port("host_port", proto.host_port, 0)?;
    let container_port = port(
        "container_port",
        proto.container_port,
        i64::from(host_port.min(1)),
    )?;
    let host_ip = match proto.host_ip.as_str() {
        "" => None,
        text => Some(
            text.parse::<IpAddr>()
                .map_err(|_| ConvertError::form("host_ip", text, "an IPv4 or IPv6 address"))?,
        ),
    };
    Ok(PortMapping {
        protocol,
        container_port,
        host_port,
        host_ip,
    })
}

fn port(field: &str, value: i32, min: i64) -> Result<u16, ConvertError> {
    let value = i64::from(value);
    let max = i64::from(u16::MAX);
    in_range(field, value, min, max)?;
    u16::try_from(value).map_err(|_| ConvertError::new(field, Problem::Range { value, min, max }))
}

/// A name in either notation, `net.ipv4.x` or `net/ipv4/x`, that stays below `/proc/sys`.
fn sysctl(key: &str, value: &str) -> Result<(), ConvertError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
    let empty_part = key.split(['.', '/']).any(str::is_empty);
    if !key.bytes().all(good) || empty_part {
        return Err(ConvertError::form(
            "sysctls",
            key,
            "the name of a kernel parameter",
        ));
    }
    if value.contains(['\0', '\n']) {
        return Err(ConvertError::form(
            format!("sysctls[{key:?}]"),
            value,
            "one line",
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
