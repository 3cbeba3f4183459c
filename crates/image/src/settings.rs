//! What the image service is told at start.

use std::path::PathBuf;
use std::time::Duration;

use pinpod_layer_store::Limits;
use pinpod_registry::ShortNameMode;

/// Settings of [`crate::Images`].
#[derive(Debug, Clone)]
pub struct ImagesConfig {
    /// Root of the store, `/var/lib/pinpod`.
    pub root: PathBuf,
    /// `registries.conf`; one that does not exist counts as empty.
    pub registries_conf: PathBuf,
    /// `registries.conf.d`, read after it in lexical order.
    pub registries_dir: PathBuf,
    /// What an ambiguous short name means, over what `registries.conf` says.
    pub short_name_mode: Option<ShortNameMode>,
    /// `auth.json` for pulls that bring no credentials.
    pub auth_file: Option<PathBuf>,
    /// Layers of one pull that are downloaded at the same time; at least one.
    pub max_parallel_downloads: usize,
    /// A pull that receives nothing for so long fails; zero means that it waits for ever.
    pub pull_progress_timeout: Duration,
    /// References that must not be collected: exact, `glob*` or `*keyword*`.
    pub pinned: Vec<String>,
    /// What a layer may unpack to.
    pub limits: Limits,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/var/lib/pinpod"),
            registries_conf: PathBuf::from("/etc/containers/registries.conf"),
            registries_dir: PathBuf::from("/etc/containers/registries.conf.d"),
            short_name_mode: None,
            auth_file: None,
            max_parallel_downloads: 3,
            pull_progress_timeout: Duration::ZERO,
            pinned: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Whether a reference is one of the pinned: `pattern` is exact, `glob*`, or `*keyword*`.
pub(crate) fn is_pinned(patterns: &[String], reference: &str) -> bool {
    patterns.iter().any(
        |pattern| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(rest), Some(_)) => {
                let keyword = rest.strip_suffix('*').unwrap_or(rest);
                reference.contains(keyword)
            }
            (None, Some(prefix)) => reference.starts_with(prefix),
            (_, None) => reference == pattern,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_exact_globs_or_keywords() {
        let reference = "registry.k8s.io/pause:3.10";
        for (pattern, pinned) in [
            ("registry.k8s.io/pause:3.10", true),
            ("registry.k8s.io/pause:3.1", false),
            ("registry.k8s.io/pause*", true),
            ("pause*", false),
            ("*pause*", true),
            ("*busybox*", false),
            ("*3.10", false),
            ("*", true),
        ] {
            assert_eq!(
                is_pinned(&[pattern.to_owned()], reference),
                pinned,
                "{pattern}"
            );
        }
    }
}
