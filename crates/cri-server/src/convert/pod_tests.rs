//! Tests of the conversion of a pod sandbox's configuration.

use pinpod_model::{LinuxResources, PidMode};

use super::*;

fn good() -> cri::PodSandboxConfig {
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: "web-0".into(),
            uid: "5d9f".into(),
            namespace: "default".into(),
            attempt: 2,
        }),
        hostname: "web-0".into(),
        log_directory: "/var/log/pods/default_web-0_5d9f".into(),
        dns_config: Some(cri::DnsConfig {
            servers: vec!["10.96.0.10".into()],
            searches: vec!["default.svc.cluster.local".into()],
            options: vec!["ndots:5".into()],
        }),
        port_mappings: vec![cri::PortMapping {
            protocol: 1,
            container_port: 53,
            host_port: 5353,
            host_ip: "127.0.0.1".into(),
        }],
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: "/kubepods/burstable/pod5d9f".into(),
            security_context: Some(cri::LinuxSandboxSecurityContext::default()),
            sysctls: [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into(),
            overhead: Some(cri::LinuxContainerResources::default()),
            resources: None,
        }),
        ..cri::PodSandboxConfig::default()
    }
}

#[test]
fn a_whole_one() {
    let config = pod_sandbox_config(Some(good()), "runc".into()).unwrap();
    assert_eq!(
        config.metadata.to_string(),
        "default/web-0 (uid 5d9f, attempt 2)"
    );
    assert_eq!(config.hostname, "web-0");
    assert_eq!(config.runtime_handler.as_deref(), Some("runc"));
    assert_eq!(config.port_mappings[0].protocol, PortProtocol::Udp);
    assert_eq!(
        config.port_mappings[0].host_ip,
        Some(IpAddr::from([127, 0, 0, 1]))
    );
    assert_eq!(config.security.namespaces.pid, PidMode::Pod);
    assert_eq!(config.overhead, Some(LinuxResources::default()));
    assert_eq!(config.dns.unwrap().options, ["ndots:5"]);
}

#[test]
fn the_least_there_can_be() {
    let proto = cri::PodSandboxConfig {
        metadata: good().metadata,
        ..Default::default()
    };
    let config = pod_sandbox_config(Some(proto), String::new()).unwrap();
    assert_eq!((config.runtime_handler, config.dns), (None, None));
    assert_eq!(config.security, PodSecurity::default());
}

#[test]
fn no_hostname_on_the_nodes_network_and_no_dns_when_all_is_empty() {
    let mut proto = good();
    let linux = proto.linux.as_mut().unwrap();
    linux.security_context.as_mut().unwrap().namespace_options = Some(cri::NamespaceOption {
        network: 2,
        ..Default::default()
    });
    proto.dns_config = Some(cri::DnsConfig::default());
    let config = pod_sandbox_config(Some(proto), String::new()).unwrap();
    assert_eq!((config.hostname.as_str(), config.dns), ("", None));
}

type Change = fn(&mut cri::PodSandboxConfig);

fn linux(proto: &mut cri::PodSandboxConfig) -> &mut cri::LinuxPodSandboxConfig {
    proto.linux.as_mut().unwrap()
}

fn meta(proto: &mut cri::PodSandboxConfig) -> &mut cri::PodSandboxMetadata {
    proto.metadata.as_mut().unwrap()
}

fn refused(cases: &[(Change, &str)]) {
    for (change, text) in cases {
        let mut proto = good();
        change(&mut proto);
        let error = pod_sandbox_config(Some(proto), String::new()).unwrap_err();
        assert_eq!(error.to_string(), *text);
    }
}

#[test]
fn what_is_bad_is_named() {
    refused(&[
        (|c| c.metadata = None, "config.metadata is required"),
        (|c| meta(c).name.clear(), "config.metadata.name is required"),
        (
            |c| meta(c).namespace.clear(),
            "config.metadata.namespace is required",
        ),
        (|c| meta(c).uid.clear(), "config.metadata.uid is required"),
        (
            |c| meta(c).name = "a;K8S_POD_UID=b".into(),
            "config.metadata.name is \"a;K8S_POD_UID=b\", not free of `/`, `;`, `=` and control",
        ),
        (
            |c| c.hostname = "a b".into(),
            "config.hostname is \"a b\", not a host name of at most 64 bytes",
        ),
        (
            |c| c.log_directory = "logs".into(),
            "config.log_directory is \"logs\", not an absolute path",
        ),
        (
            |c| {
                c.dns_config
                    .as_mut()
                    .unwrap()
                    .servers
                    .push("1.1.1.1\nx".into())
            },
            "config.dns_config.servers[1] is \"1.1.1.1\\nx\", not one word of resolv.conf",
        ),
        (
            |c| c.port_mappings[0].container_port = 65_536,
            "config.port_mappings[0].container_port is 65536, outside 1 to 65535",
        ),
        (
            |c| c.port_mappings[0].container_port = 0,
            "config.port_mappings[0].container_port is 0, outside 1 to 65535",
        ),
        (
            |c| c.port_mappings[0].host_port = -1,
            "config.port_mappings[0].host_port is -1, outside 0 to 65535",
        ),
        (
            |c| c.port_mappings[0].host_ip = "localhost".into(),
            "config.port_mappings[0].host_ip is \"localhost\", not an IPv4 or IPv6 address",
        ),
        (
            |c| c.port_mappings[0].protocol = 9,
            "config.port_mappings[0].protocol is 9, which is not one of TCP, UDP, SCTP",
        ),
    ]);
    let none = pod_sandbox_config(None, String::new()).unwrap_err();
    assert_eq!(none.to_string(), "config is required");
}

#[test]
fn what_is_bad_for_linux_is_named() {
    refused(&[
        (
            |c| linux(c).cgroup_parent = "/a/../..".into(),
            "config.linux.cgroup_parent is \"/a/../..\", not a path without `..`",
        ),
        (
            |c| drop(linux(c).sysctls.insert("../x".into(), "1".into())),
            "config.linux.sysctls is \"../x\", not the name of a kernel parameter",
        ),
        (
            |c| drop(linux(c).sysctls.insert(String::new(), "1".into())),
            "config.linux.sysctls is \"\", not the name of a kernel parameter",
        ),
        (
            |c| drop(linux(c).sysctls.insert("kernel.sem".into(), "1\n2".into())),
            "config.linux.sysctls[\"kernel.sem\"] is \"1\\n2\", not one line",
        ),
        (
            |c| linux(c).overhead.as_mut().unwrap().cpu_shares = 1,
            "config.linux.overhead.cpu_shares is 1, outside 2 to 262144",
        ),
        (
            |c| {
                linux(c).resources = Some(cri::LinuxContainerResources {
                    oom_score_adj: 2000,
                    ..Default::default()
                })
            },
            "config.linux.resources.oom_score_adj is 2000, outside -1000 to 1000",
        ),
        (
            |c| {
                linux(c).security_context.as_mut().unwrap().run_as_user =
                    Some(cri::Int64Value { value: -1 });
            },
            "config.linux.security_context.run_as_user is -1, outside 0 to 4294967294",
        ),
        (
            |c| {
                linux(c)
                    .security_context
                    .as_mut()
                    .unwrap()
                    .namespace_options = Some(cri::NamespaceOption {
                    userns_options: Some(cri::UserNamespace::default()),
                    ..Default::default()
                });
            },
            "config.linux.security_context.namespace_options.userns_options.uids has 0 entries, not one",
        ),
        (
            |c| {
                #[allow(deprecated, reason = "the older form is what is tested")]
                let field = &mut linux(c)
                    .security_context
                    .as_mut()
                    .unwrap()
                    .seccomp_profile_path;
                *field = "nothing".into();
            },
            "config.linux.security_context.seccomp_profile_path is \"nothing\", not runtime/default, unconfined or localhost/<profile>",
        ),
    ]);
}
