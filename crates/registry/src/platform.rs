//! Which manifest of an index runs on this node (OCI image spec, `platform` of an index entry).

use crate::manifest::{ImageIndex, IndexEntry};

/// Operating system, architecture and variant in the words of the OCI image spec (GOOS, GOARCH).
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// `v8`, `v7`, …; `None` means the architecture's base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// This node: `linux`, and the processor that this program runs on.
    #[must_use]
    pub fn node() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", x86_level()),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some(arm_variant())),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            "powerpc64" => ("ppc64", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// The entry of an index that fits best: the same system and architecture, and the highest
    /// variant that this platform can run. The first of equals wins. An entry that names no
    /// platform is taken only where no other fits.
    #[must_use]
    pub fn select<'a>(&self, index: &'a ImageIndex) -> Option<&'a IndexEntry> {
        let mut best: Option<(u8, &IndexEntry)> = None;
        for entry in &index.manifests {
            let rank = match &entry.platform {
                Some(platform) => self.rank(platform),
                None => Some(0),
            };
            if let Some(rank) = rank
                && best.is_none_or(|(so_far, _)| rank > so_far)
            {
                best = Some((rank, entry));
            }
        }
        best.map(|(_, entry)| entry)
    }

    /// `None` if `other` does not run here; else higher is better.
    fn rank(&self, other: &Self) -> Option<u8> {
        if other.os != self.os || other.architecture != self.architecture {
            return None;
        }
        let own = level(&self.architecture, self.variant.as_deref())?;
        let theirs = level(&other.architecture, other.variant.as_deref())?;
        (theirs <= own).then_some(theirs.saturating_add(1))
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// `v7` as 7; without a variant, what the architecture means by that.
fn level(architecture: &str, variant: Option<&str>) -> Option<u8> {
    match variant.filter(|text| !text.is_empty()) {
        Some(text) => {
            // arm64 variants may have a minor version: v8.2
            let number = text.strip_prefix('v')?;
            number.split('.').next()?.parse().ok()
        }
        None => match architecture {
            "arm64" => Some(8),
            "arm" => Some(7),
            "amd64" => Some(1),
            _ => Some(0),
        },
    }
}

#[cfg(target_arch = "x86_64")]
fn x86_level() -> Option<&'static str> {
    use std::is_x86_feature_detected as has;
    let v2 = has!("sse4.2") && has!("popcnt") && has!("ssse3");
    let v3 = v2 && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("fma") && has!("f16c");
    let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq");
    match (v2, v3, v4 && has!("avx512vl")) {
        (_, _, true) => Some("v4"),
        (_, true, _) => Some("v3"),
        (true, _, _) => Some("v2"),
        _ => None,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn x86_level() -> Option<&'static str> {
    None
}

/// A 32-bit ARM program runs at least on what it was compiled for.
fn arm_variant() -> &'static str {
    if cfg!(target_feature = "v7") {
        "v7"
    } else if cfg!(target_feature = "v6") {
        "v6"
    } else {
        "v5"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Descriptor;
    use pinpod_model::Digest;

    fn platform(text: &str) -> Option<Platform> {
        let mut parts = text.split('/').map(str::to_owned);
        Some(Platform {
            os: parts.next().filter(|os| os != "-")?,
            architecture: parts.next()?,
            variant: parts.next(),
        })
    }

    fn select(node: &str, entries: &[&str]) -> Option<u64> {
        let manifests = entries.iter().zip(0_u64..).map(|(text, size)| IndexEntry {
            descriptor: Descriptor {
                media_type: String::new(),
                digest: Digest::from_sha256([0; 32]),
                size,
                annotations: Default::default(),
            },
            platform: platform(text),
        });
        let index = ImageIndex {
            manifests: manifests.collect(),
        };
        let chosen = platform(node).unwrap().select(&index).cloned();
        chosen.map(|entry| entry.descriptor.size)
    }

    #[test]
    fn the_best_entry_is_chosen() {
        for (node, entries, chosen) in [
            ("linux/amd64", &["linux/arm64", "linux/amd64"][..], Some(1)),
            (
                "linux/amd64/v3",
                &["linux/amd64", "linux/amd64/v3"],
                Some(1),
            ),
            (
                "linux/amd64/v2",
                &["linux/amd64/v3", "linux/amd64"],
                Some(1),
            ),
            ("linux/amd64/v2", &["linux/amd64/v3"], None),
            ("linux/arm64/v8", &["linux/arm64"], Some(0)),
            (
                "linux/arm64/v8",
                &["linux/arm64/v8", "linux/arm64"],
                Some(0),
            ),
            ("linux/arm64/v8", &["linux/arm/v7"], None),
            (
                "linux/arm/v7",
                &["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"],
                Some(1),
            ),
            (
                "linux/arm/v6",
                &["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"],
                Some(2),
            ),
            ("linux/s390x", &["windows/amd64", "linux/s390x"], Some(1)),
            ("linux/amd64", &["unknown/unknown"], None),
            ("linux/amd64", &["-", "linux/amd64"], Some(1)),
            ("linux/amd64", &["linux/arm64", "-"], Some(1)),
            ("linux/amd64", &[], None),
        ] {
            assert_eq!(select(node, entries), chosen, "{node} in {entries:?}");
        }
    }

    #[test]
    fn the_node_is_linux() {
        assert_eq!(Platform::node().os, "linux");
    }
}
