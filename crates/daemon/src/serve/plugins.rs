//! NRI as it is configured.

use pinpod_config::Config;
use pinpod_pod::{Engine, Plugins};

/// Who may be a plugin.
pub(super) fn of(config: &Config) -> Plugins {
    let nri = &config.nri;
    if !nri.enable_nri {
        return Plugins::none();
    }
    Plugins::new(pinpod_nri::Settings {
        runtime_name: "pinpod".to_owned(),
        runtime_version: format!("v{}", env!("CARGO_PKG_VERSION")),
        socket: (!nri.nri_disable_connections).then(|| nri.nri_listen.clone()),
        plugin_dir: nri.nri_plugin_dir.clone(),
        plugin_config_dir: nri.nri_plugin_config_dir.clone(),
        registration_timeout: nri.nri_plugin_registration_timeout.0,
        request_timeout: nri.nri_plugin_request_timeout.0,
    })
}

/// Lets plugins in. A node whose plugins cannot join still runs its pods.
pub(super) async fn start(engine: &Engine) -> Option<pinpod_nri::Running> {
    engine.start_plugins().await.unwrap_or_else(|error| {
        tracing::error!(error = crate::chain(&error), "NRI plugins cannot join");
        None
    })
}
