//! Programs run in containers, and the URLs at which clients stream.

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_streaming::{AttachRequest, ExecRequest, PortForwardRequest};

use super::RuntimeService;
use crate::convert;
use crate::status_code::Refusal;

pub(super) async fn exec_sync(
    service: &RuntimeService,
    request: cri::ExecSyncRequest,
) -> Result<cri::ExecSyncResponse, Refusal> {
    convert::check_length("ExecSyncRequest", &request)?;
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

pub(super) async fn exec(
    service: &RuntimeService,
    request: cri::ExecRequest,
) -> Result<cri::ExecResponse, Refusal> {
    convert::check_length("ExecRequest", &request)?;
    let url = service.streaming.exec_url(ExecRequest {
        container_id: request.container_id,
        cmd: convert::exec_command(request.cmd)?,
        tty: request.tty,
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
    })?;
    Ok(cri::ExecResponse { url })
}

pub(super) async fn attach(
    service: &RuntimeService,
    request: cri::AttachRequest,
) -> Result<cri::AttachResponse, Refusal> {
    let url = service.streaming.attach_url(AttachRequest {
        container_id: request.container_id,
        tty: request.tty,
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
    })?;
    Ok(cri::AttachResponse { url })
}

pub(super) async fn port_forward(
    service: &RuntimeService,
    request: cri::PortForwardRequest,
) -> Result<cri::PortForwardResponse, Refusal> {
    let url = service.streaming.port_forward_url(PortForwardRequest {
        pod_sandbox_id: request.pod_sandbox_id,
        ports: request.port,
    })?;
    Ok(cri::PortForwardResponse { url })
}
