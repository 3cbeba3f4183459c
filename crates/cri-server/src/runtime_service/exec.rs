//! Programs run in containers.

use pinpod_cri_api::runtime::v1 as cri;

use super::RuntimeService;
use crate::convert;
use crate::status_code::Refusal;

pub(super) async fn exec_sync(
    service: &RuntimeService,
    request: cri::ExecSyncRequest,
) -> Result<cri::ExecSyncResponse, Refusal> {
    let command = convert::exec_command(request.cmd)?;
    let limit = convert::seconds(request.timeout);
    let output = service
        .engine
        .exec_sync(&request.container_id, command, limit)
        .await?;
    Ok(cri::ExecSyncResponse {
        stdout: output.stdout,
        stderr: output.stderr,
        exit_code: output.exit_code,
    })
}
