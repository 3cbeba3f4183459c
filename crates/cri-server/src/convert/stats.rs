//! What pods and containers use, as CRI's statistics show it.
//!
//! What the node does not count is absent, not zero: clients tell the two apart.

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_stats::{
    ContainerUsage, CpuStats, Descriptor, InterfaceUsage, LayerUsage, MemoryStats, Metric,
    MetricKind, NetworkUsage, PodMetrics, PodUsage, Pressure, PressureAverages,
};

use super::container_status::metadata as container_metadata;
use super::pod_status::metadata as pod_metadata;

/// What a container uses. `mountpoint` names the file system of its writable layer.
pub(crate) fn container_stats(usage: &ContainerUsage, mountpoint: &str) -> cri::ContainerStats {
    let container = &usage.container;
    let at = usage.read_at;
    let memory = usage.stats.and_then(|stats| stats.memory);
    let io_pressure = usage.stats.and_then(|stats| stats.io_pressure);
    cri::ContainerStats {
        attributes: Some(cri::ContainerAttributes {
            id: container.id.to_string(),
            metadata: Some(container_metadata(container)),
            labels: container.config.labels.clone(),
            annotations: container.config.annotations.clone(),
        }),
        cpu: usage
            .stats
            .and_then(|stats| stats.cpu)
            .map(|stats| cpu(at, &stats, usage.cpu_rate)),
        memory: memory.map(|stats| memory_usage(at, &stats)),
        writable_layer: usage.layer.map(|layer| writable_layer(&layer, mountpoint)),
        swap: memory.and_then(|stats| swap(at, &stats)),
        io: io_pressure.map(|pressure| io(at, &pressure)),
    }
}

/// What a pod uses.
pub(crate) fn pod_sandbox_stats(usage: &PodUsage, mountpoint: &str) -> cri::PodSandboxStats {
    let pod = &usage.pod;
    let at = usage.read_at;
    let stats = &usage.stats;
    let containers = usage.containers.iter();
    cri::PodSandboxStats {
        attributes: Some(cri::PodSandboxAttributes {
            id: pod.id.to_string(),
            metadata: Some(pod_metadata(pod)),
            labels: pod.config.labels.clone(),
            annotations: pod.config.annotations.clone(),
        }),
        // The kubelet reads this member without asking whether it is there.
        linux: Some(cri::LinuxPodSandboxStats {
            cpu: stats.cpu.map(|stats| cpu(at, &stats, usage.cpu_rate)),
            memory: stats.memory.map(|stats| memory_usage(at, &stats)),
            network: usage.network.as_ref().map(network),
            process: usage.tasks.map(|count| cri::ProcessUsage {
                timestamp: at,
                process_count: value(count),
            }),
            containers: containers
                .map(|usage| container_stats(usage, mountpoint))
                .collect(),
            io: stats.io_pressure.map(|pressure| io(at, &pressure)),
        }),
        windows: None,
    }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "messages hold it so, to tell 0 from absent"
)]
fn value(value: u64) -> Option<cri::UInt64Value> {
    Some(cri::UInt64Value { value })
}

fn cpu(timestamp: i64, stats: &CpuStats, rate: Option<u64>) -> cri::CpuUsage {
    cri::CpuUsage {
        timestamp,
        usage_core_nano_seconds: value(stats.usage_ns),
        usage_nano_cores: rate.and_then(value),
        psi: stats.pressure.as_ref().map(psi),
    }
}

fn memory_usage(timestamp: i64, stats: &MemoryStats) -> cri::MemoryUsage {
    cri::MemoryUsage {
        timestamp,
        working_set_bytes: value(stats.working_set),
        available_bytes: stats.available.and_then(value),
        usage_bytes: value(stats.usage),
        rss_bytes: value(stats.rss),
        page_faults: value(stats.page_faults),
        major_page_faults: value(stats.major_page_faults),
        psi: stats.pressure.as_ref().map(psi),
    }
}

fn swap(timestamp: i64, stats: &MemoryStats) -> Option<cri::SwapUsage> {
    let usage = stats.swap_usage?;
    Some(cri::SwapUsage {
        timestamp,
        swap_available_bytes: stats.swap_available.and_then(value),
        swap_usage_bytes: value(usage),
    })
}

fn io(timestamp: i64, pressure: &Pressure) -> cri::IoUsage {
    cri::IoUsage {
        timestamp,
        psi: Some(psi(pressure)),
    }
}

fn psi(pressure: &Pressure) -> cri::PsiStats {
    let data = |averages: &PressureAverages| cri::PsiData {
        // The contract calls it nanoseconds; the kubelet's own cAdvisor hands on the kernel's
        // microseconds, and both must read alike.
        total: averages.total_us,
        avg10: averages.avg10,
        avg60: averages.avg60,
        avg300: averages.avg300,
    };
    cri::PsiStats {
        full: Some(data(&pressure.full)),
        some: Some(data(&pressure.some)),
    }
}

fn writable_layer(layer: &LayerUsage, mountpoint: &str) -> cri::FilesystemUsage {
    cri::FilesystemUsage {
        timestamp: layer.measured_at,
        fs_id: Some(cri::FilesystemIdentifier {
            mountpoint: mountpoint.to_owned(),
        }),
        used_bytes: value(layer.bytes),
        inodes_used: value(layer.inodes),
    }
}

fn network(usage: &NetworkUsage) -> cri::NetworkUsage {
    cri::NetworkUsage {
        timestamp: usage.read_at,
        default_interface: Some(interface(&usage.default)),
        interfaces: usage.others.iter().map(interface).collect(),
    }
}

fn interface(usage: &InterfaceUsage) -> cri::NetworkInterfaceUsage {
    cri::NetworkInterfaceUsage {
        name: usage.name.clone(),
        rx_bytes: value(usage.rx_bytes),
        rx_errors: value(usage.rx_errors),
        tx_bytes: value(usage.tx_bytes),
        tx_errors: value(usage.tx_errors),
    }
}

/// Name and meaning of a metric.
pub(crate) fn metric_descriptor(descriptor: &Descriptor) -> cri::MetricDescriptor {
    let labels = descriptor.labels.iter();
    cri::MetricDescriptor {
        name: descriptor.name.to_owned(),
        help: descriptor.help.to_owned(),
        label_keys: labels.map(|label| (*label).to_owned()).collect(),
    }
}

/// The metrics of a pod and of its containers.
pub(crate) fn pod_sandbox_metrics(metrics: &PodMetrics) -> cri::PodSandboxMetrics {
    // 0 is what says "just now".
    let at = metrics.collected_at.unwrap_or_default();
    let shown = |metrics: &[Metric]| metrics.iter().map(|one| metric(one, at)).collect();
    let containers = metrics.containers.iter();
    cri::PodSandboxMetrics {
        pod_sandbox_id: metrics.pod.id.to_string(),
        metrics: shown(&metrics.metrics),
        container_metrics: containers
            .map(|(container, metrics)| cri::ContainerMetrics {
                container_id: container.id.to_string(),
                metrics: shown(metrics),
            })
            .collect(),
    }
}

fn metric(metric: &Metric, timestamp: i64) -> cri::Metric {
    let kind = match metric.kind {
        MetricKind::Counter => cri::MetricType::Counter,
        MetricKind::Gauge => cri::MetricType::Gauge,
    };
    let labels = metric.labels.iter();
    cri::Metric {
        name: metric.name.to_owned(),
        timestamp,
        metric_type: kind.into(),
        label_values: labels.map(|label| label.as_ref().to_owned()).collect(),
        value: value(metric.value),
    }
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
