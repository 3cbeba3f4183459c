//! Sending one request: redirects, waiting, trying again, and the words of a refusal.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::error::RegistryError;

const MAX_REDIRECTS: usize = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Longest error body that is read.
const ERROR_BODY_MAX: usize = 16 * 1024;
/// Longest text of a server that is repeated to a user, in characters.
const DETAIL_MAX: usize = 300;

/// A host, and the way to it.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) http: Client,
    /// `https://host/`.
    pub(crate) base: Url,
    pub(crate) insecure: bool,
    pub(crate) retries: u32,
    pub(crate) max_wait: Duration,
}

/// An answer, and whether it comes from another host than the one first asked.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) foreign: bool,
}

/// No answer.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The connection failed.
    Http(reqwest::Error),
    /// A redirect that is not followed.
    Redirect(String),
}

impl Transport {
    /// GET that follows redirects. The authorization goes to the first host only.
    pub(crate) async fn follow(
        &self,
        url: &str,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, SendError> {
        let redirect = |text: String| SendError::Redirect(text);
        let first = Url::parse(url).map_err(|error| redirect(error.to_string()))?;
        let mut url = first.clone();
        let mut authorization = authorization;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.http.get(url.clone()).headers(headers.clone());
            if let Some(value) = authorization {
                request = request.header(AUTHORIZATION, value);
            }
            let response = request.send().await.map_err(SendError::Http)?;
            let Some(location) = location(&response) else {
                let foreign = url.origin() != first.origin();
                return Ok(Answer { response, foreign });
            };
            let next = url
                .join(location)
                .map_err(|_| redirect("it redirects to what is no address".to_owned()))?;
            let place = next.host_str().unwrap_or_default().to_owned();
            match (url.scheme(), next.scheme()) {
                (_, "https") | ("http", "http") => {}
                ("https", "http") if self.insecure => {}
                (_, scheme) => {
                    return Err(redirect(format!(
                        "it redirects to {scheme}://{place}, which is not secure"
                    )));
                }
            }
            if next.origin() != url.origin() {
                authorization = None;
            }
            url = next;
        }
        Err(redirect(format!(
            "it redirects more than {MAX_REDIRECTS} times"
        )))
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            retries: self.retries,
            wait: self.max_wait,
            pause: FIRST_PAUSE,
        }
    }

    /// Names the host that was really asked, and leaves the address out: it may hold a secret.
    pub(crate) fn connection_error(&self, what: &str, error: reqwest::Error) -> RegistryError {
        let host = error
            .url()
            .and_then(|url| url.host_str())
            .map(str::to_owned);
        let own = || self.base.host_str().unwrap_or_default().to_owned();
        RegistryError::Connection {
            what: what.to_owned(),
            place: host.unwrap_or_else(own),
            source: error.without_url(),
        }
    }
}

fn location(response: &Response) -> Option<&str> {
    match response.status() {
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => response.headers().get(LOCATION)?.to_str().ok(),
        _ => None,
    }
}

/// Whether the same request may go through another time.
pub(crate) fn is_transient(error: &reqwest::Error) -> bool {
    // A host that does not answer at all has cost a whole connect timeout already.
    let silent = error.is_connect() && error.is_timeout();
    !error.is_builder() && !silent
}

/// How much longer a request goes on.
#[derive(Debug)]
pub(crate) struct Patience {
    retries: u32,
    wait: Duration,
    pause: Duration,
}

impl Patience {
    /// Pauses before another try after a failure; `false` if there were enough.
    pub(crate) async fn retry(&mut self) -> bool {
        if self.retries == 0 {
            return false;
        }
        self.retries -= 1;
        let pause = self.next_pause();
        tokio::time::sleep(pause).await;
        true
    }

    /// Waits as long as the server asks; `false` if that is too long. A server that refuses and
    /// does not say for how long is tried again like a broken one.
    pub(crate) async fn wait(&mut self, asked: Option<Duration>) -> bool {
        let Some(asked) = asked else {
            return self.retry().await;
        };
        // Never less than the first pause, or "Retry-After: 0" would be a busy loop.
        let pause = asked.max(FIRST_PAUSE);
        let Some(left) = self.wait.checked_sub(pause) else {
            return false;
        };
        self.wait = left;
        tokio::time::sleep(pause).await;
        true
    }

    /// Doubles each time; spread by up to half, so that nodes do not come back all at once.
    fn next_pause(&mut self) -> Duration {
        use std::hash::{BuildHasher, Hasher};
        let random = std::hash::RandomState::new().build_hasher().finish();
        let spread = u32::try_from(random % 50).unwrap_or(0);
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause * (100 + spread) / 100
    }
}

/// `Retry-After`: seconds or an HTTP date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(value: Option<&HeaderValue>) -> Option<Duration> {
    parse_retry_after(value?.to_str().ok()?.trim(), SystemTime::now().into())
}

fn parse_retry_after(text: &str, now: OffsetDateTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    // An HTTP date is an RFC 2822 date that says GMT.
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    Some(Duration::try_from(date - now).unwrap_or_default())
}

/// The error that a status stands for, with the server's words.
pub(crate) async fn refusal(
    response: Response,
    what: String,
    wait: Option<Duration>,
) -> RegistryError {
    let status = response.status();
    let place = response.url().host_str().unwrap_or_default().to_owned();
    let detail = format!("{place} says: {}", words(response).await);
    match status {
        StatusCode::UNAUTHORIZED => RegistryError::Unauthenticated { what, detail },
        StatusCode::FORBIDDEN => RegistryError::PermissionDenied { what, detail },
        StatusCode::NOT_FOUND | StatusCode::GONE => RegistryError::NotFound { what, detail },
        StatusCode::TOO_MANY_REQUESTS => RegistryError::TooManyRequests { what, wait },
        _ => RegistryError::Server {
            what,
            status: status.as_u16(),
            detail,
        },
    }
}

/// The `errors` of the distribution spec, of which a token server may have its own form.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    errors: Vec<ErrorLine>,
    #[serde(default)]
    details: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct ErrorLine {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What a refusing server says, short and without control characters.
pub(crate) async fn words(response: Response) -> String {
    let status = response.status();
    let body = read_body(response, ERROR_BODY_MAX)
        .await
        .unwrap_or_default();
    let parsed = serde_json::from_slice::<ErrorBody>(&body).ok();
    let text = parsed.and_then(|body| match body.errors.first() {
        Some(line) => Some(format!("{} {}", line.code, line.message)),
        None => body.details.or(body.error_description),
    });
    let text = text.unwrap_or_else(|| status.to_string());
    let clean = text.trim().chars().filter(|c| !c.is_control());
    clean.take(DETAIL_MAX).collect()
}

/// The whole body; `None` if it is longer than `max` or breaks.
pub(crate) async fn read_body(mut response: Response, max: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > max {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_both_forms() {
        let now = OffsetDateTime::parse("Sat, 21 Nov 2026 12:00:00 GMT", &Rfc2822).unwrap();
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("Sat, 21 Nov 2026 12:00:30 GMT", Some(30)),
            ("Sat, 21 Nov 2026 11:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
        ] {
            let got = parse_retry_after(text, now).map(|wait| wait.as_secs());
            assert_eq!(got, seconds, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let mut patience = Patience {
            retries: 2,
            wait: Duration::from_secs(10),
            pause: FIRST_PAUSE,
        };
        assert!(!patience.wait(Some(Duration::from_secs(11))).await);
        assert!(patience.wait(Some(Duration::from_secs(9))).await);
        assert!(!patience.wait(Some(Duration::from_secs(2))).await);
        let mut zero = 0;
        while patience.wait(Some(Duration::ZERO)).await {
            zero += 1;
        }
        assert!(zero <= 5, "{zero}");
        assert!(patience.retry().await && patience.retry().await);
        assert!(!patience.retry().await);
    }
}
