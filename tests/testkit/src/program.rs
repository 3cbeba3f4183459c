//! Helper programs of tests: `ip`, `skopeo`, `iptables-save` and so on.

use std::time::Duration;

use anyhow::{Context as _, bail};
use pinpod_command::Command;

use crate::Result;

const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a program to its end and returns its stdout as text.
///
/// # Errors
/// When it is missing, fails (with its stderr), or takes more than a minute.
pub async fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args.iter().copied())
        .env("HOME", "/root")
        .run(DEADLINE)
        .await
        .with_context(|| format!("this test needs the program {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}: {}",
            args.join(" "),
            output.status,
            output.message()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
