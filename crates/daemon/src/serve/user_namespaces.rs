//! Whether pods of a runtime handler can have user namespaces on this node.

use std::path::Path;

use pinpod_bundle::NodeFacts;
use pinpod_oci_runtime::Features;

/// First kernel whose overlay file systems take layers with mapped ids.
const OVERLAY_OF_MAPPED: (u32, u32) = (5, 19);

/// Looks for everything that such a pod needs. The ids of volumes are mapped by pinpod itself, so
/// the OCI runtime need only join a user namespace; one that does not tell its features is taken
/// to do so, as every version of crun and youki does.
///
/// # Errors
/// What is missing.
pub(super) fn check(
    features: Option<&Features>,
    node: &NodeFacts,
    store: &Path,
) -> Result<(), String> {
    if let Some(features) = features
        && !features.linux.namespaces.is_empty()
        && !features.linux.namespaces.iter().any(|kind| kind == "user")
    {
        return Err("the OCI runtime knows no user namespaces".to_owned());
    }
    if node.kernel < OVERLAY_OF_MAPPED {
        let (major, minor) = OVERLAY_OF_MAPPED;
        return Err(format!(
            "overlay mounts of mapped layers need Linux {major}.{minor}"
        ));
    }
    let existing = store
        .ancestors()
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("/"));
    pinpod_kernel::mount::can_map_ids(existing).map_err(|error| crate::chain(&error))
}
