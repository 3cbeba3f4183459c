//! The AppArmor profile that pinpod carries: it is loaded at each start, so that the kernel has the one
//! of this version.

use std::time::Duration;

use pinpod_bundle::NodeFacts;
use pinpod_bundle::host::apparmor_profile_loaded;
use pinpod_command::Command;
use pinpod_config::{Config, DEFAULT_APPARMOR_PROFILE};

const PROFILE: &str = include_str!("apparmor-profile");
const PARSER: &str = "apparmor_parser";
/// Compiling it takes some tens of milliseconds.
const DEADLINE: Duration = Duration::from_secs(60);

/// Loads the profile if it is the configured one and the kernel has AppArmor. Where that cannot be
/// done, containers run without a default profile, as on a node without AppArmor: the configuration
/// says so from then on.
pub(super) async fn load(config: &mut Config, node: &NodeFacts) {
    if config.runtime.apparmor_profile != DEFAULT_APPARMOR_PROFILE || !node.apparmor {
        return;
    }
    let Err(reason) = parse().await else {
        return;
    };
    // One that the administrator or an earlier version loaded will do.
    if apparmor_profile_loaded(DEFAULT_APPARMOR_PROFILE) == Some(true) {
        tracing::warn!(reason, "the AppArmor profile that is loaded stays");
        return;
    }
    let consequence = "RuntimeDefault confines nothing";
    tracing::warn!(reason, consequence, "no default AppArmor profile");
    config.runtime.apparmor_profile.clear();
}

async fn parse() -> Result<(), String> {
    let output = Command::new(PARSER)
        .args(["--replace", "--skip-cache"])
        .stdin_bytes(PROFILE)
        .run(DEADLINE)
        .await
        .map_err(|error| crate::chain(&error))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{PARSER}: {}", output.message()))
    }
}
