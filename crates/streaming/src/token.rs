//! Tokens of the URLs: random, for one use, short-lived, and not many at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::StreamError;

/// How long a URL can be used.
pub const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// Most URLs that wait for their use.
pub const MAX_TOKENS: usize = 1000;
/// Bytes of chance in a token.
const ENTROPY: usize = 20;

/// What open tokens stand for.
#[derive(Debug)]
pub(crate) struct Tokens<T> {
    open: Mutex<HashMap<String, (Instant, T)>>,
}

impl<T> Default for Tokens<T> {
    fn default() -> Self {
        Self {
            open: Mutex::new(HashMap::new()),
        }
    }
}

impl<T> Tokens<T> {
    /// A new token for `ticket`.
    ///
    /// # Errors
    /// [`StreamError::TooManyTokens`], [`StreamError::Random`].
    pub(crate) fn issue(&self, ticket: T, now: Instant) -> Result<String, StreamError> {
        let mut bytes = [0; ENTROPY];
        let mut filled = 0;
        while filled < ENTROPY {
            let rest = bytes.get_mut(filled..).unwrap_or_default();
            let flags = rustix::rand::GetRandomFlags::empty();
            match rustix::rand::getrandom(rest, flags) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(StreamError::Random(errno.into())),
            }
        }
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, (issued, _)| now.duration_since(*issued) < TOKEN_LIFE);
        if open.len() >= MAX_TOKENS {
            return Err(StreamError::TooManyTokens);
        }
        open.insert(token.clone(), (now, ticket));
        Ok(token)
    }

    /// What the token stands for; from now on it stands for nothing.
    pub(crate) fn redeem(&self, token: &str, now: Instant) -> Option<T> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (issued, ticket) = open.remove(token)?;
        (now.duration_since(issued) < TOKEN_LIFE).then_some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_works_once() {
        let tokens = Tokens::default();
        let now = Instant::now();
        let token = tokens.issue(7, now).unwrap();
        assert_eq!(token.len(), 27);
        assert_eq!(tokens.redeem("other", now), None);
        assert_eq!(tokens.redeem(&token, now), Some(7));
        assert_eq!(tokens.redeem(&token, now), None);
    }

    #[test]
    fn a_token_ends_after_a_minute() {
        let tokens = Tokens::default();
        let now = Instant::now();
        let token = tokens.issue((), now).unwrap();
        assert_eq!(tokens.redeem(&token, now + TOKEN_LIFE), None);
        let token = tokens.issue((), now).unwrap();
        let just_in_time = now + TOKEN_LIFE - Duration::from_millis(1);
        assert_eq!(tokens.redeem(&token, just_in_time), Some(()));
    }

    #[test]
    fn unused_tokens_are_bounded_and_make_room_when_they_end() {
        let tokens = Tokens::default();
        let now = Instant::now();
        for _ in 0..MAX_TOKENS {
            tokens.issue((), now).unwrap();
        }
        let refused = tokens.issue((), now).unwrap_err();
        assert!(matches!(refused, StreamError::TooManyTokens));
        tokens.issue((), now + TOKEN_LIFE).unwrap();
    }
}
