//! Digests, image identifiers and registry credentials.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A string that is not a digest that pinpod can verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest of the form sha256:<64 hexadecimal digits>")]
pub struct DigestError(String);

/// A content digest, `sha256:<64 lowercase hexadecimal digits>` (OCI image spec, descriptors).
/// Other algorithms are refused: nothing in use today needs them, and an unverified one is worse
/// than an error.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of a finished SHA-256 computation.
    #[must_use]
    pub fn from_sha256(hash: [u8; 32]) -> Self {
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("sha256:{hex}"))
    }

    /// `sha256:…` as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 digits after the colon.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match text.strip_prefix("sha256:") {
            Some(rest) if rest.len() == 64 && rest.bytes().all(hex) => Ok(Self(text)),
            _ => Err(DigestError(text)),
        }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::try_from(text.to_owned())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identifier of an image: the digest of its config blob, everywhere (`crictl images`, container
/// status, records). Shown with the `sha256:` prefix.
pub type ImageId = Digest;

/// What a caller gave to authenticate with a registry. `Debug` never shows a secret.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Credentials {
    /// User name for basic auth, or for the token server.
    pub username: String,
    /// Password for basic auth, or for the token server.
    pub password: String,
    /// OAuth2 refresh token, sent to the token server instead of a password.
    pub identity_token: String,
    /// Bearer token sent to the registry as it is.
    pub registry_token: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_parse_to_the_letter() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(good.parse::<Digest>().unwrap().hex(), "0a".repeat(32));
        let sha512 = format!("sha512:{}", "0".repeat(128));
        let upper = format!("sha256:{}", "A".repeat(64));
        for bad in ["", "sha256:", "sha256:00", sha512.as_str(), upper.as_str()] {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn debug_hides_secrets() {
        let secret = Credentials {
            password: "hunter2".into(),
            ..Credentials::default()
        };
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
