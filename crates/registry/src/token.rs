//! A session's proof of who asks: nothing, a password, or a token of limited life.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use pinpod_model::Credentials;
use reqwest::{Response, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::challenge::{self, BearerChallenge, Challenge};
use crate::error::RegistryError;
use crate::http_send::{self, SendError, Transport};

/// Life of a token that does not say (distribution, token authentication).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token is not used in the last part of its life, as clocks and networks are slow.
const SPARE: Duration = Duration::from_secs(10);
const TOKEN_MAX: usize = 1024 * 1024;
const CLIENT_ID: &str = "pinpod";

/// One caller's credentials and what became of them at one registry.
#[derive(Debug)]
pub(crate) struct Auth {
    credentials: Option<Credentials>,
    repository: String,
    // Held while a token is fetched, so that parallel layers wait for one instead of each
    // fetching its own.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Counts every change.
    generation: u64,
    scheme: Scheme,
}

enum Scheme {
    /// Nothing was asked for yet.
    Open,
    /// Basic, as credentials say.
    Basic,
    /// A token, and how to get the next.
    Bearer {
        token: HeaderValue,
        until: Instant,
        challenge: BearerChallenge,
    },
}

impl std::fmt::Debug for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Basic => "Basic",
            Self::Bearer { .. } => "Bearer",
        })
    }
}

/// What goes with one request.
pub(crate) struct Proof {
    pub(crate) header: Option<HeaderValue>,
    generation: u64,
}

impl Auth {
    pub(crate) fn new(credentials: Option<Credentials>, repository: String) -> Self {
        Self {
            credentials: credentials.filter(|some| *some != Credentials::default()),
            repository,
            state: Mutex::new(State {
                generation: 0,
                scheme: Scheme::Open,
            }),
        }
    }

    /// The header to send now. A token at the end of its life is replaced first.
    pub(crate) async fn proof(
        &self,
        transport: &Transport,
        what: &str,
    ) -> Result<Proof, RegistryError> {
        let mut state = self.state.lock().await;
        if let Scheme::Bearer {
            until, challenge, ..
        } = &state.scheme
            && *until <= Instant::now()
        {
            let challenge = challenge.clone();
            state.scheme = self.fetch(transport, challenge, what).await?;
            state.generation += 1;
        }
        let header = match &state.scheme {
            Scheme::Open => self.registry_token(),
            Scheme::Basic => self.basic(),
            Scheme::Bearer { token, .. } => Some(token.clone()),
        };
        Ok(Proof {
            header,
            generation: state.generation,
        })
    }

    /// Answers the challenge of a 401. Another request may have done so in the meantime.
    pub(crate) async fn renew(
        &self,
        transport: &Transport,
        refused: Response,
        proof: &Proof,
        what: &str,
    ) -> Result<(), RegistryError> {
        let mut state = self.state.lock().await;
        if state.generation != proof.generation {
            return Ok(());
        }
        let challenge = challenge::choose(refused.headers());
        let scheme = match (challenge, &state.scheme) {
            (Some(Challenge::Bearer(challenge)), _) if self.registry_token().is_none() => {
                self.fetch(transport, challenge, what).await?
            }
            (Some(Challenge::Basic), Scheme::Open | Scheme::Bearer { .. })
                if self.basic().is_some() =>
            {
                Scheme::Basic
            }
            _ => return Err(http_send::refusal(refused, what.to_owned(), None).await),
        };
        state.scheme = scheme;
        state.generation += 1;
        Ok(())
    }

    fn basic(&self) -> Option<HeaderValue> {
        let Credentials {
            username, password, ..
        } = self.credentials.as_ref()?;
        if username.is_empty() && password.is_empty() {
            return None;
        }
        let text = STANDARD.encode(format!("{username}:{password}"));
        secret(&format!("Basic {text}"))
    }

    fn registry_token(&self) -> Option<HeaderValue> {
        let token = &self.credentials.as_ref()?.registry_token;
        if token.is_empty() {
            return None;
        }
        secret(&format!("Bearer {token}"))
    }

    fn identity_token(&self) -> Option<&str> {
        let token = &self.credentials.as_ref()?.identity_token;
        (!token.is_empty()).then_some(token)
    }

    /// Gets a token (distribution, token and OAuth2 authentication).
    async fn fetch(
        &self,
        transport: &Transport,
        challenge: BearerChallenge,
        what: &str,
    ) -> Result<Scheme, RegistryError> {
        let what = format!("a token for {what}");
        let realm = realm(transport, &challenge, &what)?;
        let default_scope = format!("repository:{}:pull", self.repository);
        let scope = challenge.scope.clone().unwrap_or(default_scope);
        let response = self
            .ask(transport, &challenge, &realm, &scope, &what)
            .await?;
        let asked_at = Instant::now();
        let bad = |problem: &str| RegistryError::Protocol {
            what: what.clone(),
            problem: problem.to_owned(),
        };
        let body = http_send::read_body(response, TOKEN_MAX).await;
        let body = body.ok_or_else(|| bad("the token server's answer is too long or broke off"))?;
        let answer: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| bad("the token server's answer is not JSON"))?;
        let token = [answer.token, answer.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .and_then(|token| secret(&format!("Bearer {token}")))
            .ok_or_else(|| bad("the token server's answer has no token"))?;
        let life = answer.expires_in.map_or(DEFAULT_LIFE, |seconds| {
            Duration::from_secs(seconds.min(24 * 3600)).max(DEFAULT_LIFE)
        });
        Ok(Scheme::Bearer {
            token,
            until: asked_at + life.saturating_sub(SPARE),
            challenge,
        })
    }

    /// One successful answer of the token server.
    async fn ask(
        &self,
        transport: &Transport,
        challenge: &BearerChallenge,
        realm: &Url,
        scope: &str,
        what: &str,
    ) -> Result<Response, RegistryError> {
        let mut patience = transport.patience();
        loop {
            let sent = match self.identity_token() {
                Some(token) => post(transport, challenge, realm, scope, token).await,
                None => {
                    let mut url = realm.clone();
                    if let Some(service) = &challenge.service {
                        url.query_pairs_mut().append_pair("service", service);
                    }
                    for one in scope.split(' ') {
                        url.query_pairs_mut().append_pair("scope", one);
                    }
                    let basic = self.basic();
                    let none = HeaderMap::new();
                    let sent = transport.follow(url.as_str(), &none, basic.as_ref()).await;
                    sent.map(|answer| answer.response)
                }
            };
            let response = match sent {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => response,
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
            let status = response.status();
            let asked = http_send::retry_after(response.headers().get(RETRY_AFTER));
            let again = match status {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    patience.wait(asked).await
                }
                _ => status.is_server_error() && patience.retry().await,
            };
            if !again {
                return Err(http_send::refusal(response, what.to_owned(), asked).await);
            }
        }
    }
}

/// OAuth2 with a refresh token. Redirects are not followed: the body is the secret.
async fn post(
    transport: &Transport,
    challenge: &BearerChallenge,
    realm: &Url,
    scope: &str,
    token: &str,
) -> Result<Response, SendError> {
    let mut form = realm.clone();
    form.set_query(None);
    form.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", challenge.service.as_deref().unwrap_or_default())
        .append_pair("client_id", CLIENT_ID)
        .append_pair("scope", scope)
        .append_pair("refresh_token", token);
    let body = form.query().unwrap_or_default().to_owned();
    let request = transport.http.post(realm.clone()).body(body).header(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    let response = request.send().await.map_err(SendError::Http)?;
    if response.status().is_redirection() {
        return Err(SendError::Redirect(
            "the token server redirects a request that holds a secret".to_owned(),
        ));
    }
    Ok(response)
}

/// A registry that is reached securely may not send credentials over plain HTTP.
fn realm(
    transport: &Transport,
    challenge: &BearerChallenge,
    what: &str,
) -> Result<Url, RegistryError> {
    let bad = |problem: String| RegistryError::Protocol {
        what: what.to_owned(),
        problem,
    };
    let realm = Url::parse(&challenge.realm).map_err(|_| {
        bad(format!(
            "the token server {:?} is no address",
            challenge.realm
        ))
    })?;
    let good = match realm.scheme() {
        "https" => true,
        "http" => transport.insecure || transport.base.scheme() == "http",
        _ => false,
    };
    if !good {
        let host = realm.host_str().unwrap_or_default();
        let scheme = realm.scheme();
        return Err(bad(format!(
            "the token server {scheme}://{host} is not secure"
        )));
    }
    Ok(realm)
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// A header that debug output does not show.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
