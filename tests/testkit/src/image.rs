//! Images made on the spot, as OCI layouts of one layer.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Result, program};

/// An image in an OCI layout.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its reference, with a tag.
    pub reference: String,
    /// Directory of the layout.
    pub layout: PathBuf,
}

/// The layer and the configuration of an image in the making.
pub struct ImageBuilder {
    tar: tar::Builder<Vec<u8>>,
    known: BTreeSet<PathBuf>,
    config: Value,
    annotations: Value,
}

impl std::fmt::Debug for ImageBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn inside(path: &str) -> PathBuf {
    PathBuf::from(path.trim_start_matches('/'))
}

impl Default for ImageBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ImageBuilder {
    /// An image of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
            known: BTreeSet::new(),
            config: json!({"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}),
            annotations: json!({}),
        }
    }

    /// Sets a key of the image configuration's `config`, such as `Cmd` or `User`.
    pub fn set(&mut self, key: &str, value: Value) -> &mut Self {
        self.config[key] = value;
        self
    }

    /// Sets an annotation of the manifest.
    pub fn annotate(&mut self, key: &str, value: &str) -> &mut Self {
        self.annotations[key] = json!(value);
        self
    }

    /// Adds what a directory of this machine has, with its modes and owners.
    ///
    /// # Errors
    /// When it cannot be read, or the layer cannot be written.
    pub fn contents(&mut self, source: &Path) -> Result<&mut Self> {
        self.tar
            .append_dir_all("", source)
            .with_context(|| source.display().to_string())?;
        Ok(self)
    }

    /// Adds a directory and its parents.
    ///
    /// # Errors
    /// When the layer cannot be written.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<&mut Self> {
        let path = inside(path);
        if path.as_os_str().is_empty() || !self.known.insert(path.clone()) {
            return Ok(self);
        }
        self.parents(&path)?;
        let mut header = header(tar::EntryType::Directory, mode, 0);
        self.tar.append_data(&mut header, &path, std::io::empty())?;
        Ok(self)
    }

    fn parents(&mut self, path: &Path) -> Result {
        if let Some(parent) = path.parent().and_then(Path::to_str) {
            self.directory(parent, 0o755)?;
        }
        Ok(())
    }

    /// Adds a file.
    ///
    /// # Errors
    /// When the layer cannot be written.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<&mut Self> {
        let path = inside(path);
        if self.known.insert(path.clone()) {
            self.parents(&path)?;
            let size = u64::try_from(content.len())?;
            let mut header = header(tar::EntryType::Regular, mode, size);
            self.tar.append_data(&mut header, &path, content)?;
        }
        Ok(self)
    }

    /// Adds another name of a file that was added before.
    ///
    /// # Errors
    /// When the layer cannot be written.
    pub fn hard_link(&mut self, path: &str, target: &str) -> Result<&mut Self> {
        self.link(tar::EntryType::Link, path, &inside(target))
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When the layer cannot be written.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<&mut Self> {
        self.link(tar::EntryType::Symlink, path, Path::new(target))
    }

    fn link(&mut self, kind: tar::EntryType, path: &str, target: &Path) -> Result<&mut Self> {
        let path = inside(path);
        if self.known.insert(path.clone()) {
            self.parents(&path)?;
            self.tar
                .append_link(&mut header(kind, 0o777, 0), &path, target)?;
        }
        Ok(self)
    }

    /// Adds a program of this machine at `path`, and the libraries that it is linked with.
    ///
    /// # Errors
    /// When the program is missing, or `ldd` is.
    pub async fn program(&mut self, path: &str, source: &str) -> Result<&mut Self> {
        let content = std::fs::read(source)
            .with_context(|| format!("this test needs the program {source}"))?;
        self.file(path, 0o755, &content)?;
        let libraries = program::run("ldd", &[source]).await?;
        for library in libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
        {
            self.file(library, 0o755, &std::fs::read(library)?)?;
        }
        Ok(self)
    }

    /// Writes the layout below `/tmp/images`.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn build(&mut self, reference: &str) -> Result<Image> {
        self.tar.finish()?;
        let layer = self.tar.get_ref();
        let layout = Path::new("/tmp/images").join(reference.replace(['/', ':'], "_"));
        std::fs::create_dir_all(layout.join("blobs/sha256"))?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(layer)?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "pinpod-testkit"}],
        });
        let kind = |name: &str| format!("application/vnd.oci.image.{name}");
        let config = blob(
            &layout,
            &kind("config.v1+json"),
            config.to_string().as_bytes(),
        )?;
        let layer = blob(&layout, &kind("layer.v1.tar+gzip"), &gzip.finish()?)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": kind("manifest.v1+json"),
            "config": config,
            "layers": [layer],
            "annotations": self.annotations,
        });
        let manifest = manifest.to_string();
        let mut manifest = blob(&layout, &kind("manifest.v1+json"), manifest.as_bytes())?;
        let tag = reference.rsplit(':').next().unwrap_or("latest");
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": kind("index.v1+json"),
            "manifests": [manifest],
        });
        std::fs::write(layout.join("index.json"), index.to_string())?;
        std::fs::write(
            layout.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        Ok(Image {
            reference: reference.to_owned(),
            layout,
        })
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(1_767_225_600);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Writes a blob and returns its descriptor.
fn blob(layout: &Path, media_type: &str, content: &[u8]) -> Result<Value> {
    let digest = digest(content);
    std::fs::write(layout.join("blobs").join(digest.replace(':', "/")), content)?;
    Ok(json!({"mediaType": media_type, "digest": digest, "size": content.len()}))
}
