//! `pinpod image`: images without a registry.
//!
//! The image store has one user at a time. When a daemon runs it is asked, over its socket;
//! otherwise the store is opened here; it takes its own lock, as it does for a daemon.

use std::path::Path;

use anyhow::Context as _;
use pinpod_config::Config;
use pinpod_cri_api::runtime::v1::ListImagesRequest;
use pinpod_cri_api::runtime::v1::image_service_client::ImageServiceClient;
use tonic::transport::Channel;

use crate::admin::{AdminClient, ImportImageRequest};
use crate::cli::ImageCommand;
use crate::{client, serve};

/// An image as both ways tell of it.
#[derive(Debug)]
struct Line {
    id: String,
    tags: Vec<String>,
    size: Option<u64>,
}

/// Does what the command says.
///
/// # Errors
/// What the store or the daemon answers.
pub(crate) async fn run(config: &Config, command: ImageCommand) -> anyhow::Result<()> {
    let daemon = client::connect(&config.api.listen).await?;
    let lines = match (command, daemon) {
        (ImageCommand::Import { path, tag }, Some(daemon)) => import(daemon, &path, tag).await?,
        (ImageCommand::List, Some(daemon)) => list(daemon).await?,
        (ImageCommand::Import { path, tag }, None) => {
            let images = serve::open_images(config).await?;
            let imported = images.import(&path, tag.as_deref()).await?;
            let lines = imported.into_iter();
            lines
                .map(|i| Line {
                    id: i.id.to_string(),
                    tags: i.repo_tags,
                    size: None,
                })
                .collect()
        }
        (ImageCommand::List, None) => {
            let images = serve::open_images(config).await?;
            let lines = images.list().into_iter().map(|image| Line {
                id: image.id.to_string(),
                tags: image.repo_tags.clone(),
                size: Some(image.size),
            });
            lines.collect()
        }
    };
    for Line { id, tags, size } in lines {
        let tags = if tags.is_empty() {
            "<none>".to_owned()
        } else {
            tags.join(" ")
        };
        let size = size.map_or_else(String::new, |size| format!("  {size:>12} bytes"));
        crate::say(&format!("{id}{size}  {tags}"));
    }
    Ok(())
}

async fn import(daemon: Channel, path: &Path, tag: Option<String>) -> anyhow::Result<Vec<Line>> {
    let images = import_into(daemon, path, tag).await?.images.into_iter();
    Ok(images
        .map(|image| Line {
            id: image.id,
            tags: image.repo_tags,
            size: None,
        })
        .collect())
}

/// Asks a daemon to import a file of this node.
///
/// # Errors
/// What it answers, or that there is no such file.
pub(crate) async fn import_into(
    daemon: Channel,
    path: &Path,
    tag: Option<String>,
) -> anyhow::Result<crate::admin::ImportImageResponse> {
    let path = std::path::absolute(path).with_context(|| path.display().to_string())?;
    std::fs::metadata(&path).with_context(|| path.display().to_string())?;
    let request = ImportImageRequest {
        path: path.to_string_lossy().into_owned(),
        tag: tag.unwrap_or_default(),
    };
    let answer = AdminClient::new(daemon).import_image(request).await;
    let answer = answer.map_err(|status| anyhow::anyhow!("{}", status.message()))?;
    Ok(answer.into_inner())
}

async fn list(daemon: Channel) -> anyhow::Result<Vec<Line>> {
    let answer = ImageServiceClient::new(daemon)
        .list_images(ListImagesRequest::default())
        .await?;
    let images = answer.into_inner().images.into_iter();
    Ok(images
        .map(|image| Line {
            id: image.id,
            tags: image.repo_tags,
            size: Some(image.size),
        })
        .collect())
}
