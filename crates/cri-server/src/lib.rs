//! The gRPC border: `runtime.v1` in, `pinpod_model` out.
//!
//! - `convert` checks requests and shows snapshots; pure.
//! - `runtime_service` and `image_service` have a handler of a few lines for each RPC: convert,
//!   call the engine or the image service, convert back. `docs/cri.md` lists them all.
//! - `deadline` gives up what its caller no longer waits for, `message_size` gives a message that is
//!   too long its status.
//! - `status_code` is where an error becomes a gRPC status, and where it is logged.

mod convert;
mod deadline;
mod image_service;
mod message_size;
mod node_report;
mod runtime_service;
mod status_code;
mod stream;

use pinpod_cri_api::runtime::v1::image_service_server::ImageServiceServer;
use pinpod_cri_api::runtime::v1::runtime_service_server::RuntimeServiceServer;
use pinpod_image::Images;
use pinpod_network::Network;
use pinpod_pod::Engine;
use pinpod_stats::Meter;

pub use convert::{ConvertError, Problem};
pub use deadline::{Deadline, DeadlineLayer};
pub use image_service::ImageService;
pub use message_size::{MessageSize, MessageSizeLayer};
pub use node_report::{HandlerReport, NodeReport};
pub use runtime_service::RuntimeService;

/// What the services stand on.
#[derive(Debug)]
pub struct Parts {
    /// Pods and containers.
    pub engine: Engine,
    /// Images.
    pub images: Images,
    /// The pod network.
    pub network: Network,
    /// What is told of this node.
    pub node: NodeReport,
    /// Where streams are served.
    pub streaming: pinpod_streaming::Server,
    /// What pods and containers use.
    pub meter: Meter,
}

/// Both services of CRI, to be added to one server: clients expect them on one socket. The caller
/// sets their message limits; gRPC's own of 4 MiB is too small for some thousand containers.
#[must_use]
pub fn services(
    parts: Parts,
) -> (
    RuntimeServiceServer<RuntimeService>,
    ImageServiceServer<ImageService>,
) {
    let images = ImageService::new(parts.images.clone());
    let runtime = RuntimeService::new(parts);
    (
        RuntimeServiceServer::new(runtime),
        ImageServiceServer::new(images),
    )
}
