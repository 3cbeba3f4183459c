//! What a value must be beside its type. Each check is pure and says what is wrong in words that
//! follow the name of the key.

use std::path::{Path, PathBuf};

use crate::value::{Assignment, DeviceEntry, Interval, Ulimit};

/// Every value of the type will do.
pub(crate) fn any<T>(_: &T) -> Result<(), String> {
    Ok(())
}

/// An absolute path.
pub(crate) fn absolute(path: &Path) -> Result<(), String> {
    if path.is_absolute() {
        Ok(())
    } else {
        Err(format!("{} is not an absolute path", path.display()))
    }
}

/// An absolute path, or empty for "not set".
pub(crate) fn absolute_or_empty(path: &Path) -> Result<(), String> {
    if path.as_os_str().is_empty() {
        Ok(())
    } else {
        absolute(path)
    }
}

/// Absolute paths, at least one.
pub(crate) fn absolute_each(paths: &[PathBuf]) -> Result<(), String> {
    if paths.is_empty() {
        return Err("must name at least one directory".to_owned());
    }
    paths.iter().try_for_each(|path| absolute(path))
}

/// A path that fits into the address of a Unix socket (107 bytes).
pub(crate) fn socket(path: &Path) -> Result<(), String> {
    absolute(path)?;
    let length = path.as_os_str().len();
    if length > 107 {
        return Err(format!(
            "is {length} bytes long; a Unix socket's path has at most 107"
        ));
    }
    Ok(())
}

/// Not empty.
pub(crate) fn word(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        Err("must not be empty".to_owned())
    } else {
        Ok(())
    }
}

/// Size of a gRPC message in bytes: 64 KiB to 2 GiB - 1.
pub(crate) fn message_size(bytes: &u32) -> Result<(), String> {
    if (65_536..=0x7fff_ffff).contains(bytes) {
        Ok(())
    } else {
        Err(format!("{bytes} is not between 65536 and 2147483647"))
    }
}

/// Connections of streaming clients: 1 to 1000000.
pub(crate) fn connections(count: &u32) -> Result<(), String> {
    if (1..=1_000_000).contains(count) {
        Ok(())
    } else {
        Err(format!("{count} is not between 1 and 1000000"))
    }
}

/// A time that is not zero.
pub(crate) fn some_time(interval: &Interval) -> Result<(), String> {
    if interval.0.is_zero() {
        Err("must be more than 0s".to_owned())
    } else {
        Ok(())
    }
}

/// Seconds, at least one.
pub(crate) fn seconds(value: &u32) -> Result<(), String> {
    if *value == 0 {
        Err("must be at least 1 second".to_owned())
    } else {
        Ok(())
    }
}

/// A number of processes: -1 for no limit, or more than zero.
pub(crate) fn pids(limit: &i64) -> Result<(), String> {
    if *limit == -1 || *limit > 0 {
        Ok(())
    } else {
        Err(format!("{limit} is neither -1 nor more than 0"))
    }
}

/// Capability names are letters and underscores; whether the kernel knows them is found at start.
pub(crate) fn capabilities(names: &[String]) -> Result<(), String> {
    let bad = names
        .iter()
        .find(|name| name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic() || c == '_'));
    match bad {
        Some(name) => Err(format!("{name:?} is not the name of a capability")),
        None => Ok(()),
    }
}

/// No name twice.
pub(crate) fn unique(pairs: &[Assignment]) -> Result<(), String> {
    for (index, pair) in pairs.iter().enumerate() {
        if pairs[..index]
            .iter()
            .any(|earlier| earlier.name == pair.name)
        {
            return Err(format!("{:?} is given twice", pair.name));
        }
    }
    Ok(())
}

/// No limit twice.
pub(crate) fn unique_limits(limits: &[Ulimit]) -> Result<(), String> {
    for (index, limit) in limits.iter().enumerate() {
        if limits[..index]
            .iter()
            .any(|earlier| earlier.name == limit.name)
        {
            return Err(format!("{:?} is given twice", limit.name));
        }
    }
    Ok(())
}

/// No path in the container twice.
pub(crate) fn unique_devices(devices: &[DeviceEntry]) -> Result<(), String> {
    for (index, device) in devices.iter().enumerate() {
        let path = &device.0.container_path;
        if devices[..index]
            .iter()
            .any(|earlier| earlier.0.container_path == *path)
        {
            return Err(format!("{path:?} is given twice"));
        }
    }
    Ok(())
}

/// Absolute paths, or none.
pub(crate) fn each_absolute(paths: &[PathBuf]) -> Result<(), String> {
    paths.iter().try_for_each(|path| absolute(path))
}

/// No entry empty.
pub(crate) fn words(entries: &[String]) -> Result<(), String> {
    entries.iter().try_for_each(|entry| word(entry))
}

/// A handler's name is a directory name and a label of the kubelet's: lower case letters, digits,
/// `-` and `.`, as RFC 1123 has it for `RuntimeClass.handler`.
pub(crate) fn handler_name(name: &str) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if name.len() <= 63
        && name.chars().all(inner)
        && edge(name.chars().next())
        && edge(name.chars().last())
    {
        Ok(())
    } else {
        Err(format!(
            "{name:?} is not a handler name (lower case letters, digits, - and ., at most 63)"
        ))
    }
}
