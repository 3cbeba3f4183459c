//! `runtime.v1.ImageService`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_image::{Image, Images, Usage};
use serde_json::json;
use tonic::{Request, Response, Status};

use crate::convert;
use crate::status_code::{Refusal, answer};
use crate::stream::{Chunks, chunks};

/// The service for images.
#[derive(Debug)]
pub struct ImageService {
    images: Images,
}

#[tonic::async_trait]
impl cri::image_service_server::ImageService for ImageService {
    type StreamImagesStream = Chunks<cri::StreamImagesResponse>;

    async fn list_images(
        &self,
        request: Request<cri::ListImagesRequest>,
    ) -> Result<Response<cri::ListImagesResponse>, Status> {
        answer("ListImages", Ok(self.list(request.into_inner())))
    }

    async fn stream_images(
        &self,
        request: Request<cri::StreamImagesRequest>,
    ) -> Result<Response<Chunks<cri::StreamImagesResponse>>, Status> {
        answer("StreamImages", Ok(self.stream(request.into_inner())))
    }

    async fn image_status(
        &self,
        request: Request<cri::ImageStatusRequest>,
    ) -> Result<Response<cri::ImageStatusResponse>, Status> {
        answer("ImageStatus", self.status(request.into_inner()))
    }

    async fn pull_image(
        &self,
        request: Request<cri::PullImageRequest>,
    ) -> Result<Response<cri::PullImageResponse>, Status> {
        answer("PullImage", self.pull(request.into_inner()).await)
    }

    async fn remove_image(
        &self,
        request: Request<cri::RemoveImageRequest>,
    ) -> Result<Response<cri::RemoveImageResponse>, Status> {
        answer("RemoveImage", self.remove(request.into_inner()).await)
    }

    async fn image_fs_info(
        &self,
        _: Request<cri::ImageFsInfoRequest>,
    ) -> Result<Response<cri::ImageFsInfoResponse>, Status> {
        answer("ImageFsInfo", self.fs_info())
    }
}

impl ImageService {
    pub(crate) fn new(images: Images) -> Self {
        Self { images }
    }

    fn list(&self, request: cri::ListImagesRequest) -> cri::ListImagesResponse {
        cri::ListImagesResponse {
            images: self.matching(request.filter),
        }
    }

    fn stream(&self, request: cri::StreamImagesRequest) -> Chunks<cri::StreamImagesResponse> {
        let images = self.matching(request.filter);
        chunks(images, |images| cri::StreamImagesResponse { images })
    }

    /// A filter names one image, in any of the ways that a user may.
    fn matching(&self, filter: Option<cri::ImageFilter>) -> Vec<cri::Image> {
        let wanted = filter
            .and_then(|filter| filter.image)
            .unwrap_or_default()
            .image;
        if wanted.is_empty() {
            self.images
                .list()
                .iter()
                .map(|image| convert::image(image))
                .collect()
        } else {
            self.images
                .resolve(&wanted)
                .iter()
                .map(|image| convert::image(image))
                .collect()
        }
    }

    /// An image that is not there is an empty answer, not an error.
    fn status(
        &self,
        request: cri::ImageStatusRequest,
    ) -> Result<cri::ImageStatusResponse, Refusal> {
        let reference = convert::image_reference(request.image)?;
        let image = self.images.resolve(&reference);
        let info = match &image {
            Some(image) if request.verbose => verbose_info(image),
            _ => BTreeMap::new(),
        };
        let image = image.as_deref().map(convert::image);
        Ok(cri::ImageStatusResponse { image, info })
    }

    async fn pull(
        &self,
        request: cri::PullImageRequest,
    ) -> Result<cri::PullImageResponse, Refusal> {
        let reference = convert::image_reference(request.image)?;
        let credentials = convert::credentials(request.auth)?;
        let pulled = self.images.pull(&reference, credentials).await?;
        Ok(cri::PullImageResponse {
            image_ref: pulled.id.into(),
        })
    }

    async fn remove(
        &self,
        request: cri::RemoveImageRequest,
    ) -> Result<cri::RemoveImageResponse, Refusal> {
        let reference = convert::image_reference(request.image)?;
        self.images.remove(&reference).await?;
        Ok(cri::RemoveImageResponse {})
    }

    /// Images and writable layers are in one file system, so both are told with one identifier;
    /// the kubelet then counts it once.
    fn fs_info(&self) -> Result<cri::ImageFsInfoResponse, Refusal> {
        let info = self.images.fs_info().map_err(|error| {
            Refusal::internal("cannot ask the file system of the image store", &error)
        })?;
        Ok(cri::ImageFsInfoResponse {
            image_filesystems: vec![filesystem_usage(&info.mountpoint, info.images)],
            container_filesystems: vec![filesystem_usage(&info.mountpoint, Usage::default())],
        })
    }
}

fn verbose_info(image: &Image) -> BTreeMap<String, String> {
    let layers: Vec<&str> = image
        .config
        .rootfs
        .diff_ids
        .iter()
        .map(pinpod_model::Digest::as_str)
        .collect();
    let info = json!({ "imageSpec": image.config, "layers": layers });
    BTreeMap::from([("info".to_owned(), info.to_string())])
}

fn filesystem_usage(mountpoint: &Path, usage: Usage) -> cri::FilesystemUsage {
    cri::FilesystemUsage {
        timestamp: now(),
        fs_id: Some(cri::FilesystemIdentifier {
            mountpoint: mountpoint.to_string_lossy().into_owned(),
        }),
        // The kubelet reads both without asking whether they are there.
        used_bytes: Some(cri::UInt64Value { value: usage.bytes }),
        inodes_used: Some(cri::UInt64Value {
            value: usage.inodes,
        }),
    }
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
