//! Every number in its field, and nothing where nothing is known.

use std::sync::Arc;

use pinpod_pod::{ContainerPhase, ContainerSnapshot, NamespaceFiles, PodSnapshot, PodState};
use pinpod_stats::Stats;

use super::*;
use crate::convert::{container_config, pod_sandbox_config};

fn container() -> Arc<ContainerSnapshot> {
    let config = cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: "main".into(),
            attempt: 2,
        }),
        image: Some(cri::ImageSpec {
            image: "busybox".into(),
            ..Default::default()
        }),
        labels: [("tier".to_owned(), "front".to_owned())].into(),
        ..Default::default()
    };
    Arc::new(ContainerSnapshot {
        id: "0b".repeat(32).parse().unwrap(),
        pod: "0a".repeat(32).parse().unwrap(),
        config: Arc::new(container_config(Some(config)).unwrap()),
        image: format!("sha256:{}", "cd".repeat(32)).parse().unwrap(),
        image_ref: String::new(),
        user: pinpod_model::ResolvedUser::default(),
        stop_signal: None,
        log_path: None,
        bundle: "/b".into(),
        cgroup: "/pods/b".parse().unwrap(),
        created_at: 1,
        phase: ContainerPhase::Creating,
    })
}

fn pressure(some: u64, full: u64) -> Pressure {
    let averages = |total_us| PressureAverages {
        avg10: 0.5,
        avg60: 0.25,
        avg300: 0.125,
        total_us,
    };
    Pressure {
        some: averages(some),
        full: averages(full),
    }
}

fn full_stats() -> Stats {
    Stats {
        cpu: Some(CpuStats {
            usage_ns: 10,
            pressure: Some(pressure(1, 2)),
        }),
        memory: Some(MemoryStats {
            usage: 20,
            limit: Some(100),
            working_set: 21,
            available: Some(22),
            rss: 23,
            page_faults: 24,
            major_page_faults: 25,
            swap_usage: Some(26),
            swap_available: Some(27),
            pressure: Some(pressure(3, 4)),
        }),
        io_pressure: Some(pressure(5, 6)),
    }
}

fn number(value: Option<cri::UInt64Value>) -> Option<u64> {
    value.map(|value| value.value)
}

#[test]
fn a_containers_numbers_are_in_their_fields() {
    let usage = ContainerUsage {
        container: container(),
        read_at: 7,
        stats: Some(full_stats()),
        cpu_rate: Some(11),
        layer: Some(LayerUsage {
            measured_at: 6,
            bytes: 4096,
            inodes: 2,
        }),
    };
    let stats = container_stats(&usage, "/var/lib/pinpod");
    let attributes = stats.attributes.unwrap();
    assert_eq!(attributes.metadata.unwrap().attempt, 2);
    assert_eq!(attributes.labels["tier"], "front");
    let cpu = stats.cpu.unwrap();
    assert_eq!(
        (cpu.timestamp, number(cpu.usage_core_nano_seconds)),
        (7, Some(10))
    );
    assert_eq!(number(cpu.usage_nano_cores), Some(11));
    let psi = cpu.psi.unwrap();
    assert_eq!((psi.some.unwrap().total, psi.full.unwrap().total), (1, 2));
    let memory = stats.memory.unwrap();
    let numbers = [
        memory.usage_bytes,
        memory.working_set_bytes,
        memory.available_bytes,
        memory.rss_bytes,
        memory.page_faults,
        memory.major_page_faults,
    ];
    assert_eq!(numbers.map(number), [20, 21, 22, 23, 24, 25].map(Some));
    assert_eq!(memory.psi.unwrap().some.unwrap().total, 3);
    let swap = stats.swap.unwrap();
    assert_eq!(number(swap.swap_usage_bytes), Some(26));
    assert_eq!(number(swap.swap_available_bytes), Some(27));
    assert_eq!(stats.io.unwrap().psi.unwrap().full.unwrap().total, 6);
    let layer = stats.writable_layer.unwrap();
    assert_eq!(layer.fs_id.unwrap().mountpoint, "/var/lib/pinpod");
    assert_eq!((layer.timestamp, number(layer.inodes_used)), (6, Some(2)));
}

#[test]
fn what_is_not_counted_is_absent() {
    let mut counted = full_stats();
    counted.io_pressure = None;
    counted.cpu.as_mut().unwrap().pressure = None;
    let memory = counted.memory.as_mut().unwrap();
    (memory.pressure, memory.available, memory.swap_usage) = (None, None, None);
    let mut usage = ContainerUsage {
        container: container(),
        read_at: 7,
        stats: Some(counted),
        cpu_rate: None,
        layer: None,
    };
    let stats = container_stats(&usage, "/");
    assert_eq!(
        (stats.swap, stats.io, stats.writable_layer),
        (None, None, None)
    );
    let cpu = stats.cpu.unwrap();
    assert_eq!((cpu.usage_nano_cores, cpu.psi), (None, None));
    let memory = stats.memory.unwrap();
    assert_eq!((memory.available_bytes, memory.psi), (None, None));

    usage.stats = None;
    let ended = container_stats(&usage, "/");
    assert_eq!((ended.cpu, ended.memory), (None, None));
    assert!(ended.attributes.is_some());
}

fn pod() -> Arc<PodSnapshot> {
    let config = cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: "p".into(),
            uid: "u".into(),
            namespace: "default".into(),
            attempt: 1,
        }),
        ..Default::default()
    };
    Arc::new(PodSnapshot {
        id: "0a".repeat(32).parse().unwrap(),
        config: Arc::new(pod_sandbox_config(Some(config), String::new()).unwrap()),
        runtime_handler: "runc".into(),
        state: PodState::NotReady,
        created_at: 1,
        ips: Vec::new(),
        namespaces: NamespaceFiles::default(),
        init: None,
        monitor: None,
        containers: Vec::new(),
    })
}

#[test]
fn a_pods_numbers_are_in_their_fields() {
    let interface = |name: &str, bytes| InterfaceUsage {
        name: name.into(),
        rx_bytes: bytes,
        rx_errors: bytes + 1,
        tx_bytes: bytes + 2,
        tx_errors: bytes + 3,
        ..InterfaceUsage::default()
    };
    let mut usage = PodUsage {
        pod: pod(),
        read_at: 7,
        stats: full_stats(),
        cpu_rate: Some(11),
        tasks: Some(5),
        network: Some(NetworkUsage {
            read_at: 8,
            default: interface("eth0", 100),
            others: vec![interface("net1", 200)],
        }),
        containers: Vec::new(),
    };
    let stats = pod_sandbox_stats(&usage, "/");
    let metadata = stats.attributes.unwrap().metadata.unwrap();
    assert_eq!(
        (metadata.namespace.as_str(), metadata.attempt),
        ("default", 1)
    );
    let linux = stats.linux.unwrap();
    assert_eq!(number(linux.cpu.unwrap().usage_nano_cores), Some(11));
    assert_eq!(number(linux.memory.unwrap().rss_bytes), Some(23));
    assert_eq!(number(linux.process.unwrap().process_count), Some(5));
    assert!(linux.io.is_some());
    let network = linux.network.unwrap();
    assert_eq!((network.timestamp, network.interfaces.len()), (8, 1));
    let eth0 = network.default_interface.unwrap();
    let counters = [eth0.rx_bytes, eth0.rx_errors, eth0.tx_bytes, eth0.tx_errors];
    assert_eq!(counters.map(number), [100, 101, 102, 103].map(Some));

    usage.stats = Stats::default();
    (usage.tasks, usage.network) = (None, None);
    let linux = pod_sandbox_stats(&usage, "/").linux.unwrap();
    assert_eq!((linux.cpu, linux.memory, linux.network), (None, None, None));
    assert_eq!((linux.process, linux.io), (None, None));
}
