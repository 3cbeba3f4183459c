//! Paths hidden from the container or only readable in it.

use pinpod_model::ContainerSecurity;

/// The masked and the read-only paths: the request's to the letter (the kubelet sends the default
/// lists itself, and an empty list is how it says `procMount: Unmasked`), and none for a privileged
/// container.
pub(crate) fn paths(security: &ContainerSecurity) -> (Vec<String>, Vec<String>) {
    if security.privileged {
        (Vec::new(), Vec::new())
    } else {
        (
            security.masked_paths.clone(),
            security.readonly_paths.clone(),
        )
    }
}
