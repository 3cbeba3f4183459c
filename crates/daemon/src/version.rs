//! `pinpod version`.

use pinpod_config::Config;
use pinpod_cri_api::runtime::v1::VersionRequest;
use pinpod_cri_api::runtime::v1::runtime_service_client::RuntimeServiceClient;

/// Prints our version, and that of the daemon if one answers.
///
/// # Errors
/// If somebody else listens on the socket.
pub(crate) async fn run(config: &Config) -> anyhow::Result<()> {
    crate::say(&format!("pinpod {}", env!("CARGO_PKG_VERSION")));
    let socket = &config.api.listen;
    let Some(channel) = crate::client::connect(socket).await? else {
        crate::say(&format!("no daemon on {}", socket.display()));
        return Ok(());
    };
    let answer = RuntimeServiceClient::new(channel)
        .version(VersionRequest::default())
        .await?;
    let answer = answer.into_inner();
    crate::say(&format!(
        "{} {} serves CRI {} on {}",
        answer.runtime_name,
        answer.runtime_version,
        answer.runtime_api_version,
        socket.display()
    ));
    Ok(())
}
