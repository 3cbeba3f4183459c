//! `pinpod check`: what this node has and lacks, each with its consequence.

mod network;
mod node;
mod report;
mod runtime;

use std::process::ExitCode;

use pinpod_config::Config;

use report::Finding;

/// Looks at everything, prints it, and fails if something needed is missing.
///
/// # Errors
/// If the node does not even tell its capabilities.
pub(crate) async fn run(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let facts = pinpod_bundle::host::node_facts()?;
    let mut findings = node::findings(config, &facts);
    findings.extend(runtime::findings(config).await);
    findings.extend(network::findings(config));
    let text = if json {
        report::json(&findings)?
    } else {
        report::table(&findings)
    };
    crate::say(text.trim_end());
    Ok(if findings.iter().any(Finding::is_fatal) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
