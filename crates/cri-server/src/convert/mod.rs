//! Pure conversions between `runtime.v1` and `pinpod_model`: requests in, checked; snapshots out.
//!
//! A request that breaks a rule is refused with a [`ConvertError`] that names the field as the
//! proto files do, from the message's top down: `linux.security_context.run_as_user`.

mod cidr;
mod container;
mod container_status;
mod error;
mod filter;
mod image;
mod mount;
mod pod;
mod pod_status;
mod resources;
mod security;
mod signal;
mod size;
mod stats;

pub(crate) use cidr::pod_cidrs;
pub(crate) use container::{checkpoint_location, container_config, exec_command, seconds};
pub(crate) use container_status::{container, container_status};
pub use error::{ConvertError, Problem};
pub(crate) use filter::{ContainerMatch, PodMatch};
pub(crate) use image::{credentials, image, image_reference};
pub(crate) use pod::pod_sandbox_config;
pub(crate) use pod_status::{pod_sandbox, pod_sandbox_status};
pub(crate) use resources::linux_resources;
pub(crate) use size::check_length;
pub(crate) use stats::{
    container_stats, metric_descriptor, pod_sandbox_metrics, pod_sandbox_stats,
};
