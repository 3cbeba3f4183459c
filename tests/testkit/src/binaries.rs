//! Where the programs under test are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::Result;

/// Programs that a node needs, by file name.
const NAMES: [&str; 3] = ["pinpod", "pinpod-monitor", "pinpod-init"];

/// Variable that says where they are.
pub(crate) const DIRECTORY: &str = "PINPOD_BIN_DIR";

/// The directory of the programs under test: `PINPOD_BIN_DIR`, else the target directory that the
/// running test was built in.
pub(crate) fn directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return Ok(directory.into());
    }
    // .../target/debug/deps/<test>
    let test = std::env::current_exe().context("the running test has no path")?;
    let directory = test.parent().and_then(Path::parent);
    Ok(directory
        .context("the running test is in no target directory")?
        .to_owned())
}

/// Fails when one of the programs is missing in `directory`, and says how to make it.
pub(crate) fn check(directory: &Path) -> Result {
    let missing: Vec<&str> = NAMES
        .into_iter()
        .filter(|name| !directory.join(name).is_file())
        .collect();
    if !missing.is_empty() {
        bail!(
            "{} not in {}; build with `cargo build -p pinpod -p pinpod-monitor -p pinpod-pod-init` \
             or set {DIRECTORY}",
            missing.join(", "),
            directory.display()
        );
    }
    Ok(())
}
