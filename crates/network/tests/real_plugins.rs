//! The distribution's bridge, host-local and portmap on real namespaces, as root, within a mount
//! and network namespace of the test's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the test runs ip, iptables-save and itself"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use pinpod_model::{PodId, PodMetadata, PortMapping, PortProtocol};
use pinpod_network::{AttachRequest, Deadlines, DetachRequest, Network, NetworkConfig};
use rustix::mount::{MountFlags, mount};
use serde_json::{Value, json};

const MARK: &str = "PINPOD_NETWORK_TEST_ISOLATED";

/// Runs the test again, alone, in namespaces of its own; true there.
fn isolated(name: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).unwrap();
        std::fs::create_dir("/run/netns").unwrap();
        run("ip", &["link", "set", "lo", "up"]);
        return true;
    }
    let status = Command::new("unshare")
        .args(["--mount", "--net", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(MARK, "1")
        .status()
        .expect("unshare (util-linux) runs; this test needs root");
    assert!(status.success(), "{name} failed in its namespaces");
    false
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn list(leases: &Path) -> Value {
    let mut list: Value = serde_json::from_str(pinpod_network::BUNDLED_CONFLIST).unwrap();
    list["plugins"][0]["ipam"]["dataDir"] = leases.to_str().unwrap().into();
    list
}

/// What a network leaves on a node.
fn traces(leases: &Path, id: &str) -> BTreeSet<String> {
    let mut traces = BTreeSet::new();
    if let Ok(entries) = std::fs::read_dir(leases.join("pinpod")) {
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !name.starts_with("last_reserved_ip") && name != "lock" {
                traces.insert(format!("lease {name}"));
            }
        }
    }
    for line in run("ip", &["-o", "link"]).lines() {
        let name = line.split(':').nth(1).unwrap().trim().to_owned();
        if name.starts_with("veth") {
            traces.insert(format!("link {name}"));
        }
    }
    for save in ["iptables-save", "ip6tables-save"] {
        let rules = run(save, &[]);
        for line in rules
            .lines()
            .filter(|line| line.contains(id) || line.contains("CNI-DN-"))
        {
            traces.insert(format!("{save} {line}"));
        }
    }
    traces
}

fn request(netns: &str) -> AttachRequest {
    run("ip", &["netns", "add", netns]);
    AttachRequest {
        pod_id: PodId::generate().unwrap(),
        metadata: PodMetadata {
            name: "web".to_owned(),
            uid: "uid-1".to_owned(),
            namespace: "default".to_owned(),
            attempt: 0,
        },
        netns: PathBuf::from("/run/netns").join(netns),
        port_mappings: vec![PortMapping {
            protocol: PortProtocol::Tcp,
            container_port: 80,
            host_port: 18080,
            host_ip: None,
        }],
        dns: None,
        annotations: [].into(),
        cgroup_parent: String::new(),
    }
}

fn network(dir: &Path, list: &Value) -> Network {
    let conf_dir = dir.join("net.d");
    std::fs::create_dir_all(&conf_dir).unwrap();
    std::fs::write(conf_dir.join("10.conflist"), list.to_string()).unwrap();
    Network::new(NetworkConfig {
        conf_template: None,
        conf_dir,
        plugin_dirs: vec![PathBuf::from("/usr/lib/cni")],
        default_network: None,
        cache_dir: dir.join("cache"),
        deadlines: Deadlines::default(),
    })
}

#[tokio::test]
async fn a_pod_comes_and_goes_without_a_trace() {
    if !isolated("a_pod_comes_and_goes_without_a_trace") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let leases = dir.path().join("leases");
    let network = network(dir.path(), &list(&leases));
    let status = network.status();
    assert!(status.ready, "{}", status.message);

    let request = request("pod-a");
    let id = request.pod_id.as_str();
    let attachment = network.attach(&request).await.unwrap();
    assert_eq!(attachment.ips.len(), 2, "{:?}", attachment.ips);
    assert!(attachment.ips[0].is_ipv4() && attachment.ips[1].is_ipv6());
    let inside = run("ip", &["-n", "pod-a", "-o", "addr", "show", "dev", "eth0"]);
    for ip in &attachment.ips {
        assert!(inside.contains(&format!(" {ip}/")), "{ip} in {inside}");
        assert!(leases.join("pinpod").join(ip.to_string()).exists(), "{ip}");
    }
    let made = traces(&leases, id);
    assert!(
        made.iter().any(|trace| trace.contains("--dports 18080")),
        "{made:?}"
    );

    let detach = DetachRequest {
        pod_id: request.pod_id.clone(),
        netns: Some(request.netns.clone()),
    };
    network.detach(&detach).await.unwrap();
    assert_eq!(traces(&leases, id), BTreeSet::new());
    network.detach(&detach).await.unwrap();
}

#[tokio::test]
async fn a_failing_chain_leaves_nothing() {
    if !isolated("a_failing_chain_leaves_nothing") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let leases = dir.path().join("leases");
    let mut list = list(&leases);
    // The tuning plugin refuses a sysctl that does not exist, after the others did their part.
    let plugins = list["plugins"].as_array_mut().unwrap();
    plugins.push(json!({"type": "tuning", "sysctl": {"net.ipv4.no_such_key": "1"}}));
    let network = network(dir.path(), &list);
    let request = request("pod-b");
    let error = network.attach(&request).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("tuning") && source.contains("no_such_key"),
        "{source}"
    );
    assert_eq!(traces(&leases, request.pod_id.as_str()), BTreeSet::new());
    let inside = run("ip", &["-n", "pod-b", "-o", "link"]);
    assert!(!inside.contains("eth0"), "{inside}");
    assert_eq!(
        std::fs::read_dir(dir.path().join("cache")).unwrap().count(),
        0
    );
}

#[tokio::test]
async fn a_namespace_that_is_gone_gives_its_addresses_back() {
    if !isolated("a_namespace_that_is_gone_gives_its_addresses_back") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let leases = dir.path().join("leases");
    let mut list = list(&leases);
    // Without masquerading, whose rules the bridge plugin only removes by the live interface.
    list["plugins"][0]["ipMasq"] = false.into();
    let first = network(dir.path(), &list);
    let request = request("pod-c");
    first.attach(&request).await.unwrap();
    run("ip", &["netns", "delete", "pod-c"]);
    std::fs::write(&request.netns, "").unwrap();

    // What a daemon does after a restart.
    let second = network(dir.path(), &list);
    let errors = second.gc(&[]).await;
    assert!(errors.is_empty(), "{errors:?}");
    let left = traces(&leases, request.pod_id.as_str());
    let left: Vec<_> = left
        .iter()
        .filter(|trace| !trace.starts_with("link"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
