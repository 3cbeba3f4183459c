//! One endpoint, one repository, one caller.

use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};
use pinpod_model::Credentials;
use reqwest::Response;

use crate::error::RegistryError;
use crate::http_send::{self, Patience, SendError, Transport};
use crate::registries_conf::Endpoint;
use crate::token::Auth;

/// Access to one repository at one endpoint with one caller's credentials (or none). Clones share
/// the token; two sessions never do.
#[derive(Debug, Clone)]
pub struct Session {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) transport: Transport,
    pub(crate) endpoint: Endpoint,
    auth: Auth,
}

impl Session {
    pub(crate) fn new(
        transport: Transport,
        endpoint: Endpoint,
        credentials: Option<Credentials>,
    ) -> Self {
        let repository = endpoint.reference.repository().to_owned();
        Self {
            shared: Arc::new(Shared {
                auth: Auth::new(credentials, repository),
                transport,
                endpoint,
            }),
        }
    }

    /// The place that this session talks to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// `manifest 1.36 of docker.io/library/busybox`, for errors.
    pub(crate) fn what(&self, kind: &str, selector: &str) -> String {
        format!(
            "{kind} {selector} of {}",
            self.shared.endpoint.reference.name()
        )
    }

    /// How long a request may go on trying.
    pub(crate) fn patience(&self) -> Patience {
        self.shared.transport.patience()
    }

    /// GET below `/v2/<repository>/`. Answers only with a success; everything that can be tried
    /// again was.
    pub(crate) async fn get(
        &self,
        path: &str,
        headers: &HeaderMap,
        what: &str,
    ) -> Result<Response, RegistryError> {
        let Shared {
            transport,
            endpoint,
            auth,
        } = &*self.shared;
        let url = format!(
            "{}v2/{}/{path}",
            transport.base,
            endpoint.reference.repository()
        );
        let mut patience = transport.patience();
        let mut refused = false;
        loop {
            let proof = auth.proof(transport, what).await?;
            let sent = transport.follow(&url, headers, proof.header.as_ref()).await;
            let answer = match sent {
                Ok(answer) => answer,
                Err(SendError::Http(error)) => {
                    if http_send::is_transient(&error) && patience.retry().await {
                        continue;
                    }
                    return Err(transport.connection_error(what, error));
                }
                Err(SendError::Redirect(problem)) => {
                    let what = what.to_owned();
                    return Err(RegistryError::Protocol { what, problem });
                }
            };
            let status = answer.response.status();
            if status.is_success() {
                return Ok(answer.response);
            }
            if status == StatusCode::UNAUTHORIZED && !answer.foreign && !refused {
                refused = true;
                auth.renew(transport, answer.response, &proof, what).await?;
                tracing::debug!(what, "authenticated as the registry asked");
                continue;
            }
            // Another host refuses: a signed address ran out. The registry gives a fresh one.
            let foreign_refusal = answer.foreign
                && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            let asked = http_send::retry_after(answer.response.headers().get(RETRY_AFTER));
            let again = match status {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    refused = false;
                    patience.wait(asked).await
                }
                _ if status.is_server_error()
                    || status == StatusCode::REQUEST_TIMEOUT
                    || foreign_refusal =>
                {
                    patience.retry().await
                }
                _ => false,
            };
            if !again {
                return Err(http_send::refusal(answer.response, what.to_owned(), asked).await);
            }
        }
    }
}
