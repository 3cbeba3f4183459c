//! How plugins are called, and what happens when they fail: with shell scripts as plugins.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pinpod_model::{
    Classify, DnsConfig, ErrorClass, PodId, PodMetadata, PortMapping, PortProtocol,
};
use pinpod_network::{
    AttachError, AttachRequest, Attachment, Deadlines, DetachRequest, Network, NetworkConfig,
    NetworkStatus, PluginError,
};
use serde_json::{Value, json};

const PLUGINS: [&str; 10] = [
    "first", "second", "fail", "busy", "die", "garbage", "hang", "stray", "stubborn", "sick",
];

struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    /// A node with the plugins and no configuration directory yet.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for name in PLUGINS {
            let path = bin.join(name);
            fs::write(&path, include_str!("plugins/fake.sh")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_list(&self, version: &str, plugins: &Value) {
        let list = json!({"cniVersion": version, "name": "net", "plugins": plugins});
        fs::create_dir_all(self.path("net.d")).unwrap();
        fs::write(self.path("net.d/10-net.conflist"), list.to_string()).unwrap();
    }

    fn network(&self) -> Network {
        Network::new(NetworkConfig {
            conf_template: None,
            conf_dir: self.path("net.d"),
            plugin_dirs: vec![self.path("nowhere"), self.path("bin")],
            default_network: None,
            cache_dir: self.path("cache/attachments"),
            deadlines: Deadlines {
                add: Duration::from_millis(700),
                ..Deadlines::default()
            },
        })
    }

    fn with_types(version: &str, types: &[&str]) -> (Self, Network) {
        let node = Self::new();
        let plugins: Value = types.iter().map(|name| json!({"type": name})).collect();
        node.write_list(version, &plugins);
        let network = node.network();
        (node, network)
    }

    fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("bin/calls.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// The calls as `COMMAND plugin`.
    fn called(&self) -> Vec<String> {
        let words = |line: &String| {
            let mut words = line.split(' ');
            format!("{} {}", words.next().unwrap(), words.next().unwrap())
        };
        self.calls().iter().map(words).collect()
    }

    fn notes(&self) -> usize {
        fs::read_dir(self.path("cache/attachments")).map_or(0, Iterator::count)
    }
}

fn request() -> AttachRequest {
    AttachRequest {
        pod_id: PodId::generate().unwrap(),
        metadata: PodMetadata {
            name: "web".to_owned(),
            uid: "uid-1".to_owned(),
            namespace: "default".to_owned(),
            attempt: 0,
        },
        netns: PathBuf::from("/proc/self/ns/net"),
        port_mappings: vec![PortMapping {
            protocol: PortProtocol::Tcp,
            container_port: 80,
            host_port: 8080,
            host_ip: None,
        }],
        dns: Some(DnsConfig {
            servers: vec!["10.0.0.10".to_owned()],
            ..DnsConfig::default()
        }),
        annotations: [("kubernetes.io/ingress-bandwidth", "10M"), ("a", "b")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        cgroup_parent: "/kubepods/pod1".to_owned(),
    }
}

fn detach(attachment: &Attachment) -> DetachRequest {
    DetachRequest {
        pod_id: attachment.pod_id.clone(),
        netns: None,
    }
}

fn stdin(call: &str) -> Value {
    serde_json::from_str(call.split_once("stdin=").unwrap().1).unwrap()
}

async fn status_where(network: &Network, wanted: impl Fn(&NetworkStatus) -> bool) -> NetworkStatus {
    let search = async {
        let mut status = network.status();
        while !wanted(&status) {
            status = network.status_changed(&status).await;
        }
        status
    };
    match tokio::time::timeout(Duration::from_secs(10), search).await {
        Ok(status) => status,
        Err(_) => panic!("status stays {:?}", network.status()),
    }
}

#[tokio::test]
async fn plugins_get_what_the_specification_says() {
    let node = Node::new();
    node.write_list(
        "1.0.0",
        &json!([
            {"type": "first", "mtu": 9000, "capabilities": {"cgroupPath": true, "ipRanges": true}},
            {"type": "second", "capabilities": {
                "portMappings": true, "bandwidth": true, "dns": true,
                "io.kubernetes.cri.pod-annotations": true, "mac": true,
            }},
        ]),
    );
    let network = node.network();
    network
        .update_pod_cidr(vec!["10.1.0.0/16".to_owned()])
        .unwrap();
    assert!(network.status().ready);
    let request = request();
    let attachment = network.attach(&request).await.unwrap();
    let id = request.pod_id.as_str();
    assert_eq!(attachment.network, "net");
    assert_eq!(attachment.ifname, "eth0");
    assert_eq!(
        attachment.ips,
        ["10.1.0.5", "fd01::5"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
    );
    assert_eq!(attachment.result.as_ref().unwrap()["by"], "second");

    let calls = node.calls();
    assert_eq!(node.called(), ["ADD first", "ADD second"]);
    let path = format!(
        "path={}:{}",
        node.path("nowhere").display(),
        node.path("bin").display()
    );
    let args = format!(
        "args=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;\
         K8S_POD_INFRA_CONTAINER_ID={id};K8S_POD_UID=uid-1"
    );
    let netns = format!("netns={}", request.netns.display());
    for part in [&path, &args, &netns, &format!("id={id}"), "if=eth0"] {
        assert!(calls[0].contains(part), "{part} in {}", calls[0]);
    }
    assert_eq!(
        stdin(&calls[0]),
        json!({
            "name": "net", "cniVersion": "1.0.0", "type": "first", "mtu": 9000,
            "capabilities": {"cgroupPath": true, "ipRanges": true},
            "runtimeConfig": {
                "cgroupPath": "/kubepods/pod1",
                "ipRanges": [[{"subnet": "10.1.0.0/16"}]],
            },
        })
    );
    let second = stdin(&calls[1]);
    assert_eq!(second["prevResult"]["by"], "first");
    assert_eq!(
        second["runtimeConfig"],
        json!({
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
            "bandwidth": {"ingressRate": 10_000_000, "ingressBurst": i32::MAX},
            "dns": {"servers": ["10.0.0.10"], "searches": [], "options": []},
            "io.kubernetes.cri.pod-annotations":
                {"kubernetes.io/ingress-bandwidth": "10M", "a": "b"},
        })
    );
}

#[tokio::test]
async fn detach_uses_what_was_noted_even_by_another_daemon() {
    let (node, network) = Node::with_types("1.0.0", &["first", "second"]);
    let attachment = network.attach(&request()).await.unwrap();
    assert_eq!(node.notes(), 1);
    drop(network);

    // The list changed meanwhile, and the namespace is gone.
    node.write_list("1.0.0", &json!([{"type": "fail"}]));
    let network = node.network();
    let gone = DetachRequest {
        netns: Some(node.path("no-netns")),
        ..detach(&attachment)
    };
    network.detach(&gone).await.unwrap();
    assert_eq!(node.called()[2..], ["DEL second", "DEL first"]);
    let calls = node.calls();
    for call in &calls[2..] {
        assert!(call.contains(" netns= "), "{call}");
        assert_eq!(stdin(call)["prevResult"]["by"], "second");
        assert_eq!(stdin(call)["name"], "net");
    }
    assert!(calls[2].contains("K8S_POD_NAME=web"));
    assert_eq!(node.notes(), 0);

    network.detach(&gone).await.unwrap();
    assert_eq!(node.calls().len(), 4, "nothing is left to do");
}

#[tokio::test]
async fn before_0_4_0_del_gets_no_result() {
    let (node, network) = Node::with_types("0.3.1", &["first"]);
    let attachment = network.attach(&request()).await.unwrap();
    network.detach(&detach(&attachment)).await.unwrap();
    let calls = node.calls();
    assert_eq!(stdin(&calls[1])["cniVersion"], "0.3.1");
    assert!(stdin(&calls[1]).get("prevResult").is_none());
    // The namespace is there (it is the test's own), so its path is passed.
    assert!(calls[1].contains("netns=/proc/self/ns/net "));
}

#[tokio::test]
async fn a_failed_add_is_undone_and_says_why() {
    for (plugin, class, text) in [
        ("fail", ErrorClass::Internal, "no such bridge; br9 (code 7)"),
        ("busy", ErrorClass::Unavailable, "try later (code 11)"),
        ("die", ErrorClass::Internal, "panic: oops"),
        (
            "garbage",
            ErrorClass::Internal,
            "gave no valid result for ADD",
        ),
        ("absent", ErrorClass::Unavailable, "\"absent\" not found in"),
    ] {
        let (node, network) = Node::with_types("1.0.0", &["first", plugin, "second"]);
        let error = network.attach(&request()).await.unwrap_err();
        assert_eq!(error.class(), class, "{plugin}");
        let AttachError::Plugin { source, .. } = &error else {
            panic!("{plugin}: {error}");
        };
        assert!(source.to_string().contains(text), "{plugin}: {source}");
        let called = node.called();
        if plugin == "absent" {
            // Its DEL cannot be run either, so the note stays for the time when it is there.
            assert_eq!(called, ["ADD first", "DEL first", "DEL first"]);
            assert_eq!(node.notes(), 1);
        } else {
            assert_eq!(
                called,
                [
                    "ADD first",
                    &format!("ADD {plugin}"),
                    &format!("DEL {plugin}"),
                    "DEL first"
                ]
            );
            assert_eq!(stdin(&node.calls()[3])["prevResult"]["by"], "first");
            assert_eq!(node.notes(), 0, "{plugin}");
        }
    }
}

#[tokio::test]
async fn a_hanging_plugin_is_killed() {
    let (node, network) = Node::with_types("1.0.0", &["hang"]);
    let begin = Instant::now();
    let error = network.attach(&request()).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(error.class(), ErrorClass::DeadlineExceeded);
    let AttachError::Plugin { source, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(*source, PluginError::TimedOut { .. }), "{source}");
    assert_eq!(node.called(), ["ADD hang", "DEL hang"]);
}

#[tokio::test]
async fn an_abandoned_attach_is_undone_by_detach() {
    let (node, network) = Node::with_types("1.0.0", &["first", "hang"]);
    let request = request();
    let attach = network.attach(&request);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), attach)
            .await
            .is_err()
    );
    network
        .detach(&DetachRequest {
            pod_id: request.pod_id.clone(),
            netns: Some(request.netns.clone()),
        })
        .await
        .unwrap();
    assert_eq!(node.called()[2..], ["DEL hang", "DEL first"]);
    assert_eq!(node.notes(), 0);
}

#[tokio::test]
async fn a_plugin_that_runs_on_ends_before_del() {
    let (node, network) = Node::with_types("1.0.0", &["stray"]);
    let request = request();
    let id = request.pod_id.as_str();
    let attach = network.attach(&request);
    let strays = || {
        let commands = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
        commands.filter(|command| command.contains(id)).count()
    };
    tokio::time::timeout(Duration::from_millis(300), attach)
        .await
        .expect_err("it hangs");
    assert_eq!(strays(), 1, "the group was killed, the stray was not");
    network
        .detach(&DetachRequest {
            pod_id: request.pod_id.clone(),
            netns: None,
        })
        .await
        .unwrap();
    assert_eq!(strays(), 0);
    assert_eq!(node.called(), ["ADD stray", "DEL stray"]);
}

#[tokio::test]
async fn a_failed_del_goes_on_and_is_tried_again() {
    let (node, network) = Node::with_types("1.0.0", &["first", "stubborn"]);
    let attachment = network.attach(&request()).await.unwrap();
    let error = network.detach(&detach(&attachment)).await.unwrap_err();
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("will not")
    );
    assert_eq!(node.called()[2..], ["DEL stubborn", "DEL first"]);
    assert_eq!(node.notes(), 1);
    fs::write(node.path("bin/relent"), "").unwrap();
    network.detach(&detach(&attachment)).await.unwrap();
    assert_eq!(node.notes(), 0);
}

#[tokio::test]
async fn a_torn_note_is_undone_with_todays_network() {
    let (node, network) = Node::with_types("1.0.0", &["first"]);
    let attachment = network.attach(&request()).await.unwrap();
    let note = node.path(&format!("cache/attachments/{}.json", attachment.pod_id));
    fs::write(&note, "{\"pod_id\":").unwrap();
    network.detach(&detach(&attachment)).await.unwrap();
    assert_eq!(node.called(), ["ADD first", "DEL first"]);
    assert!(node.calls()[1].contains(attachment.pod_id.as_str()));
    assert_eq!(node.notes(), 0);
}

#[tokio::test]
async fn gc_undoes_pods_that_are_gone_and_tells_new_plugins() {
    let (node, network) = Node::with_types("1.1.0", &["first"]);
    let kept = network.attach(&request()).await.unwrap();
    let lost = network.attach(&request()).await.unwrap();
    let errors = network.gc(std::slice::from_ref(&kept.pod_id)).await;
    assert!(errors.is_empty(), "{errors:?}");
    let calls: Vec<String> = node
        .calls()
        .into_iter()
        .filter(|call| call.starts_with("DEL") || call.starts_with("GC"))
        .collect();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls[0].contains(&format!("id={}", lost.pod_id)));
    let valid = json!([{"containerID": kept.pod_id.as_str(), "ifname": "eth0"}]);
    assert_eq!(stdin(&calls[1])["cni.dev/valid-attachments"], valid);
    assert_eq!(node.notes(), 1);

    // Older networks know no GC.
    let (node, network) = Node::with_types("1.0.0", &["first"]);
    assert!(network.gc(&[]).await.is_empty());
    assert!(node.calls().is_empty());
}

#[tokio::test]
async fn status_follows_the_directory() {
    let node = Node::new();
    let network = node.network();
    let status = network.status();
    assert!(!status.ready);
    assert!(
        status.message.contains("net.d does not exist"),
        "{}",
        status.message
    );
    let error = network.attach(&request()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable);

    fs::create_dir(node.path("net.d")).unwrap();
    status_where(&network, |s| {
        s.message.contains("no CNI configuration file")
    })
    .await;

    fs::write(node.path("net.d/10-net.conflist"), "{").unwrap();
    status_where(&network, |s| {
        s.message.contains("10-net.conflist: not valid JSON")
    })
    .await;

    node.write_list("1.0.0", &json!([{"type": "absent"}]));
    status_where(&network, |s| s.message.contains("\"absent\" not found")).await;

    node.write_list("1.0.0", &json!([{"type": "first"}]));
    status_where(&network, |s| s.ready).await;
    network.attach(&request()).await.unwrap();

    fs::remove_dir_all(node.path("net.d")).unwrap();
    status_where(&network, |s| s.message.contains("does not exist")).await;
    node.write_list("1.0.0", &json!([{"type": "first"}]));
    status_where(&network, |s| s.ready).await;
}

#[tokio::test]
async fn deep_directories_may_come_later() {
    let node = Node::new();
    let network = Network::new(NetworkConfig {
        conf_template: None,
        conf_dir: node.path("etc/cni/net.d"),
        plugin_dirs: vec![node.path("bin")],
        default_network: None,
        cache_dir: node.path("cache"),
        deadlines: Deadlines::default(),
    });
    assert!(!network.status().ready);
    fs::create_dir_all(node.path("etc/cni/net.d")).unwrap();
    let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "first"}]});
    fs::write(node.path("etc/cni/net.d/a.conflist"), list.to_string()).unwrap();
    status_where(&network, |s| s.ready).await;
}

#[tokio::test]
async fn status_of_new_networks_is_the_plugins_own() {
    let (node, network) = Node::with_types("1.1.0", &["first", "sick"]);
    let status = status_where(&network, |s| s.message.contains("agent is down")).await;
    assert_eq!(status.reason, "NetworkPluginNotReady");
    fs::write(node.path("bin/cured"), "").unwrap();
    // A probe is made when a status is asked for and the last one is old.
    let cured = async {
        while !network.status().ready {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), cured)
        .await
        .unwrap();
}
