//! How long a request may be that pinpod keeps or hands on. Whoever may send it is as good as root,
//! but a mistake in a controller must not fill the node's memory: what a pod or a container is made
//! of stays in the daemon and in files for its whole life.

use prost::Message;

use super::error::{ConvertError, Problem};

/// The longest message that describes a pod or container, in bytes. Kubernetes stores objects of
/// 1.5 MiB at most; the rest is what the kubelet adds, as the environment of services.
const MAX_CONFIG: usize = 8 << 20;
/// Most entries of a list of which each costs system calls: mounts, devices, ports.
const MAX_ENTRIES: usize = 10_000;

/// Refuses a message that is too long, by the name of the field that holds it.
pub(crate) fn check_length(field: &str, message: &impl Message) -> Result<(), ConvertError> {
    let length = message.encoded_len();
    if length <= MAX_CONFIG {
        return Ok(());
    }
    let problem = Problem::Size {
        length,
        most: MAX_CONFIG,
    };
    Err(ConvertError::new(field, problem))
}

/// Refuses a list that is too long.
pub(super) fn check_entries<T>(field: &str, entries: &[T]) -> Result<(), ConvertError> {
    if entries.len() <= MAX_ENTRIES {
        return Ok(());
    }
    let problem = Problem::Count {
        count: entries.len(),
        expected: "at most 10000",
    };
    Err(ConvertError::new(field, problem))
}

#[cfg(test)]
mod tests {
    use pinpod_cri_api::runtime::v1::ContainerConfig;

    use super::*;

    #[test]
    fn what_is_too_long_is_named() {
        let config = |length: usize| ContainerConfig {
            log_path: "x".repeat(length),
            ..Default::default()
        };
        check_length("config", &config(MAX_CONFIG - 100)).unwrap();
        let error = check_length("config", &config(MAX_CONFIG)).unwrap_err();
        let expected = "config has 8388613 bytes, more than 8388608";
        assert_eq!(error.to_string(), expected);
        check_entries("mounts", &[(); MAX_ENTRIES]).unwrap();
        let error = check_entries("mounts", &[(); MAX_ENTRIES + 1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mounts has 10001 entries, not at most 10000"
        );
    }
}
