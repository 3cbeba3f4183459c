//! Reading of small kernel files that may be missing.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::{CgroupError, tree};

/// Most cgroup files fit, `memory.stat` too.
const ONE_READ: usize = 4096;

/// The text of a file; `None` when it is not there.
pub(super) fn text(directory: &Path, name: &str) -> Result<Option<String>, CgroupError> {
    let file = directory.join(name);
    match read_file(&file) {
        Ok(text) => Ok(Some(text)),
        // Pressure files exist but cannot be read where the kernel was booted without it.
        Err(error) if tree::is_gone(&error) || error.kind() == io::ErrorKind::Unsupported => {
            Ok(None)
        }
        Err(source) => Err(CgroupError::Read { file, source }),
    }
}

/// Without the `statx` and the growing reads of `fs::read_to_string`: thousands of these files are
/// read for one list of a full node.
fn read_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; ONE_READ];
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length == bytes.len() {
            bytes.resize(length * 2, 0);
        }
    }
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// What a file says; `None` when it is not there.
pub(super) fn parsed<T>(
    directory: &Path,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, CgroupError> {
    let Some(text) = text(directory, name)? else {
        return Ok(None);
    };
    match parse(&text) {
        Some(value) => Ok(Some(value)),
        None => Err(CgroupError::Parse {
            file: directory.join(name),
        }),
    }
}
