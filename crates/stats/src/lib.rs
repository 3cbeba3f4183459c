//! What pods and containers use: the numbers of CRI's statistics and of its metrics.
//!
//! A [`Meter`] reads published snapshots and kernel files, nothing else. It asks no driver, so a
//! slow stop holds nothing up; it holds no lock while it reads; and it walks no files of an image.
//!
//! | number | from |
//! |---|---|
//! | CPU, memory, swap, stalls, tasks | the cgroup of the container; of the pod where it has one of its own, else the sum (`read`, `pod`) |
//! | CPU rate | two samples of CPU time (`cpu_rate`) |
//! | network | `/proc/thread-self/net/dev` inside of the pinned network namespace (`network`) |
//! | writable layer | its upper directory, walked in the background (`layers`) |
//! | metrics | all of these, and some files more (`metrics`) |

mod collected;
mod cpu_rate;
mod layers;
mod meter;
mod metrics;
mod network;
mod pod;
mod read;
mod usage;

pub use meter::{Meter, Parts, Settings};
pub use metrics::{Descriptor, Metric, MetricGroup, MetricKind, PodMetrics};
pub use pinpod_cgroup::{CpuStats, MemoryStats, Pressure, PressureAverages, Stats};
pub use usage::{ContainerUsage, InterfaceUsage, LayerUsage, NetworkUsage, PodUsage};
