//! An image as the rest of pinpod sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use pinpod_layer_store::LayerKey;
use pinpod_model::{Digest, ImageId};
use serde::{Deserialize, Deserializer, Serialize};

/// A complete image in the store. A snapshot: it does not change when the image does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of the config blob.
    pub id: ImageId,
    /// References by tag, `registry/repository:tag`, sorted.
    pub repo_tags: Vec<String>,
    /// References by manifest digest, `registry/repository@sha256:…`, sorted.
    pub repo_digests: Vec<String>,
    /// Bytes of the unpacked layers, the config and the manifest.
    pub size: u64,
    /// How to run it.
    pub config: ImageConfig,
    /// Who runs it, from the config, as CRI tells it.
    pub user: ImageUser,
    /// The configuration says that it must not be collected.
    pub pinned: bool,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerKey>,
    /// When it was first complete here.
    pub pulled_at: SystemTime,
    /// Annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
}

impl Image {
    /// What status calls an image in use: its first digest reference, or its id if it was never
    /// pulled.
    #[must_use]
    pub fn reference(&self) -> String {
        let digest = self.repo_digests.first().cloned();
        digest.unwrap_or_else(|| self.id.to_string())
    }
}

/// The user part of an image's `User` (CRI `Image.uid` and `Image.username`; the group part is
/// not theirs to tell).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ImageUser {
    /// The image names none: root.
    #[default]
    Unset,
    /// A number.
    Uid(u32),
    /// A name in the image's `/etc/passwd`.
    Username(String),
}

impl ImageUser {
    /// Reads `user`, `user:group`, `uid` or `uid:gid`.
    #[must_use]
    pub fn from_config(user: &str) -> Self {
        let user = user.split(':').next().unwrap_or_default().trim();
        if user.is_empty() {
            Self::Unset
        } else {
            user.parse()
                .map_or_else(|_| Self::Username(user.to_owned()), Self::Uid)
        }
    }
}

/// The parts of an image config (OCI image spec `config.md`, and what Docker wrote before it)
/// that a container is made of. Unknown and null members are ignored, because images of ten
/// years' tools are pulled; only `rootfs.diff_ids` must be right.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// CPU architecture, in Go's words.
    #[serde(default, deserialize_with = "or_default")]
    pub architecture: String,
    /// Operating system, in Go's words.
    #[serde(default, deserialize_with = "or_default")]
    pub os: String,
    /// Variant of the CPU architecture.
    #[serde(default, deserialize_with = "or_default")]
    pub variant: String,
    /// When it was built, RFC 3339.
    #[serde(default, deserialize_with = "or_default")]
    pub created: String,
    /// How to run it.
    #[serde(default, deserialize_with = "or_default")]
    pub config: ExecutionConfig,
    /// Its layers.
    pub rootfs: RootFs,
}

/// `rootfs` of an image config.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootFs {
    /// Digests of the uncompressed layers, the lowest first.
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// `config` of an image config.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecutionConfig {
    /// `user[:group]`, by name or number; empty means root.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// Environment, `NAME=value`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(deserialize_with = "words")]
    pub entrypoint: Vec<String>,
    /// Further arguments, or the program when there is no entrypoint.
    #[serde(deserialize_with = "words")]
    pub cmd: Vec<String>,
    /// Absolute working directory; empty means `/`.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks it to end, by name or number; empty means `SIGTERM`.
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
    /// Paths that want a volume.
    #[serde(deserialize_with = "keys")]
    pub volumes: BTreeSet<String>,
    /// Ports that it listens on, `80/tcp`.
    #[serde(deserialize_with = "keys")]
    pub exposed_ports: BTreeSet<String>,
}

fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A list of words; old builders wrote a single string for a shell line.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        List(Vec<String>),
        Line(String),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Words::List(list)) => list,
        Some(Words::Line(line)) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line],
    })
}

/// A set that is written as an object with meaningless values, or as a list by some builders.
fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Keys {
        Map(BTreeMap<String, serde::de::IgnoredAny>),
        List(BTreeSet<String>),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => BTreeSet::new(),
        Some(Keys::Map(map)) => map.into_keys().collect(),
        Some(Keys::List(list)) => list,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_names() {
        for (text, user) in [
            ("", ImageUser::Unset),
            (":50000", ImageUser::Unset),
            ("1002", ImageUser::Uid(1002)),
            ("1003:50000", ImageUser::Uid(1003)),
            ("www-data", ImageUser::Username("www-data".into())),
            ("www-data:100", ImageUser::Username("www-data".into())),
            ("-1", ImageUser::Username("-1".into())),
        ] {
            assert_eq!(ImageUser::from_config(text), user, "{text:?}");
        }
    }

    #[test]
    fn configs_of_old_builders_are_read() {
        let diff_id = Digest::from_sha256([7; 32]);
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","docker_version":"1.8","container_config":{{"Cmd":3}},
            "config":{{"Env":null,"Cmd":["a"],"Entrypoint":"echo hi","Labels":null,"Volumes":{{"/v":{{}}}},
            "ExposedPorts":["80/tcp"],"Healthcheck":{{"Test":["CMD"]}},"OnBuild":null,"Memory":0}},
            "rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}},"history":[{{"created_by":"x"}}]}}"#
        );
        let config: ImageConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(config.rootfs.diff_ids, [diff_id]);
        assert_eq!(config.config.cmd, ["a"]);
        assert_eq!(config.config.entrypoint, ["/bin/sh", "-c", "echo hi"]);
        assert!(config.config.volumes.contains("/v"));
        assert!(config.config.exposed_ports.contains("80/tcp"));
        let minimal: ImageConfig =
            serde_json::from_str(r#"{"config":null,"rootfs":{"diff_ids":null}}"#).unwrap();
        assert_eq!(minimal, ImageConfig::default());
    }
}
