//! The private service beside CRI on the daemon's socket: what the command line needs of a daemon
//! that holds the image store.

/// Generated from `proto/pinpod/v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    reason = "generated; the proto file has the comments"
)]
mod v1 {
    tonic::include_proto!("pinpod.v1");
}

use std::path::Path;

use pinpod_image::{Images, ImportError};
use pinpod_model::{Classify as _, ErrorClass};
use tonic::{Code, Request, Response, Status};

pub(crate) use v1::admin_client::AdminClient;
pub(crate) use v1::admin_server::AdminServer;
pub(crate) use v1::{ImportImageRequest, ImportImageResponse, ImportedImage};

/// Serves [`v1::admin_server::Admin`].
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) images: Images,
}

#[tonic::async_trait]
impl v1::admin_server::Admin for Admin {
    async fn import_image(
        &self,
        request: Request<ImportImageRequest>,
    ) -> Result<Response<ImportImageResponse>, Status> {
        let ImportImageRequest { path, tag } = request.into_inner();
        if !path.starts_with('/') {
            return Err(Status::invalid_argument(format!(
                "path {path:?} is not absolute"
            )));
        }
        let tag = (!tag.is_empty()).then_some(tag);
        let imported = self
            .images
            .import(Path::new(&path), tag.as_deref())
            .await
            .map_err(|error| status(&error))?;
        let images = imported.into_iter().map(|image| ImportedImage {
            id: image.id.to_string(),
            repo_tags: image.repo_tags,
        });
        Ok(Response::new(ImportImageResponse {
            images: images.collect(),
        }))
    }
}

fn status(error: &ImportError) -> Status {
    let code = match error.class() {
        ErrorClass::InvalidArgument => Code::InvalidArgument,
        ErrorClass::NotFound => Code::NotFound,
        ErrorClass::ResourceExhausted => Code::ResourceExhausted,
        _ => Code::Internal,
    };
    Status::new(code, crate::chain(error))
}
