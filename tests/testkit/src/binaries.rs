//! Where the programs under test are, and those that they are tested with.

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

/// The path of a program that `scripts/tools` builds, such as `crictl`.
///
/// # Errors
/// When it was not built.
pub fn tool(name: &str) -> Result<PathBuf> {
    let cache = std::env::var_os("PINPOD_CACHE").map(PathBuf::from);
    let default = || {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        base.or(home).map(|base| base.join("pinpod"))
    };
    let cache = cache.or_else(default);
    let program = cache
        .context("neither HOME nor PINPOD_CACHE is set")?
        .join("bin")
        .join(name);
    if !program.exists() {
        bail!("this test needs {}: run scripts/tools", program.display());
    }
    Ok(program)
}
