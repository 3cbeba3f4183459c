//! Credentials of the node: containers' `auth.json` and Docker's `config.json`
//! (containers-auth.json(5)). Credential helpers are not run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use pinpod_model::Credentials;
use serde::Deserialize;

use crate::reference::{DOCKER_IO, ImageReference};

/// Both padded and unpadded values are found in files.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An auth file that cannot be used. No text of the file is shown, as it is secret.
#[derive(Debug, thiserror::Error)]
pub enum AuthFileError {
    /// It cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not JSON of the right shape.
    #[error("{path:?} is not an auth file: line {line}, column {column}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The `auth` value of an entry cannot be decoded.
    #[error("{path:?}: the auth of {key:?} is not base64 of user:password")]
    Auth {
        /// The file.
        path: PathBuf,
        /// The entry.
        key: String,
    },
}

/// Credentials by registry, or by registry and path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthFile {
    entries: BTreeMap<String, Credentials>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    #[serde(default)]
    auths: BTreeMap<String, JsonAuth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct JsonAuth {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl AuthFile {
    /// Reads the files that exist; an entry of an earlier file wins over the same key in a later.
    ///
    /// # Errors
    /// If a file exists and cannot be read or understood.
    pub fn load(paths: &[PathBuf]) -> Result<Self, AuthFileError> {
        let mut all = Self::default();
        for path in paths {
            let bytes = match std::fs::read(path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(source) => {
                    return Err(AuthFileError::Read {
                        path: path.clone(),
                        source,
                    });
                }
            };
            for (key, credentials) in Self::parse(path, &bytes)?.entries {
                all.entries.entry(key).or_insert(credentials);
            }
        }
        Ok(all)
    }

    /// Reads one file's content; `path` is what errors name.
    ///
    /// # Errors
    /// If it cannot be understood.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, AuthFileError> {
        let json: Json = serde_json::from_slice(bytes).map_err(|error| AuthFileError::Json {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
        })?;
        if !json.cred_helpers.is_empty() || json.creds_store.is_some_and(|name| !name.is_empty()) {
            tracing::warn!(?path, "credential helpers in an auth file are not used");
        }
        let mut entries = BTreeMap::new();
        for (key, auth) in json.auths {
            // Docker leaves an empty entry where the secret is in a credential store.
            if let Some(credentials) = decode(path, &key, auth)? {
                entries.insert(normal_key(&key), credentials);
            }
        }
        Ok(Self { entries })
    }

    /// The credentials whose key covers most of the repository.
    #[must_use]
    pub fn credentials(&self, reference: &ImageReference) -> Option<&Credentials> {
        let name = reference.name();
        let mut key = name.as_str();
        loop {
            if let Some(found) = self.entries.get(key) {
                return Some(found);
            }
            key = &key[..key.rfind('/')?];
        }
    }
}

fn decode(path: &Path, key: &str, auth: JsonAuth) -> Result<Option<Credentials>, AuthFileError> {
    let error = || AuthFileError::Auth {
        path: path.to_owned(),
        key: key.to_owned(),
    };
    let (username, password) = if auth.auth.is_empty() {
        (auth.username, auth.password)
    } else {
        let bytes = BASE64.decode(auth.auth.trim()).map_err(|_| error())?;
        let text = String::from_utf8(bytes).map_err(|_| error())?;
        let (username, password) = text.split_once(':').ok_or_else(error)?;
        // Some tools pad with NUL before they encode.
        (
            username.to_owned(),
            password.trim_end_matches('\0').to_owned(),
        )
    };
    let credentials = Credentials {
        username,
        password,
        identity_token: auth.identitytoken,
        registry_token: auth.registrytoken,
    };
    Ok((credentials != Credentials::default()).then_some(credentials))
}

/// `https://index.docker.io/v1/` is how Docker writes `docker.io`. A key with a scheme stands for
/// its whole host.
fn normal_key(key: &str) -> String {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let key = match rest {
        Some(rest) => rest.split('/').next().unwrap_or(rest),
        None => {
            let key = key.trim_end_matches('/');
            let bare = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2"));
            bare.unwrap_or(key)
        }
    };
    match key.split_once('/') {
        Some(("index.docker.io" | "registry-1.docker.io", path)) => format!("{DOCKER_IO}/{path}"),
        None if matches!(key, "index.docker.io" | "registry-1.docker.io") => DOCKER_IO.to_owned(),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(file: &AuthFile, reference: &str) -> Option<String> {
        let found = file.credentials(&reference.parse().unwrap());
        found.map(|credentials| credentials.username.clone())
    }

    #[test]
    fn the_longest_key_wins() {
        let plain =
            |user: &str| base64::engine::general_purpose::STANDARD.encode(format!("{user}:p:q"));
        let text = serde_json::json!({ "auths": {
            "quay.io": { "auth": plain("host") },
            "quay.io/org": { "auth": plain("org") },
            "quay.io/org/app": { "auth": plain("app").trim_end_matches('=') },
            "https://index.docker.io/v1/": { "auth": plain("hub") },
            "registry.local:5000/v2/": { "username": "plain", "password": "x" },
            "empty.example": {},
            "gcr.io": { "auth": "", "identitytoken": "refresh" },
        }});
        let file = AuthFile::parse(Path::new("auth.json"), text.to_string().as_bytes()).unwrap();
        for (reference, expected) in [
            ("quay.io/x", Some("host")),
            ("quay.io/org/x", Some("org")),
            ("quay.io/organic/x", Some("host")),
            ("quay.io/org/app:1", Some("app")),
            ("quay.io/org/app/sub", Some("app")),
            ("docker.io/busybox", Some("hub")),
            ("registry.local:5000/a/b", Some("plain")),
            ("registry.local/a/b", None),
            ("empty.example/a", None),
            ("gcr.io/a", Some("")),
        ] {
            assert_eq!(user(&file, reference).as_deref(), expected, "{reference}");
        }
        let quay = file.credentials(&"quay.io/x".parse().unwrap()).unwrap();
        assert_eq!(quay.password, "p:q");
    }

    #[test]
    fn errors_name_the_file_and_no_secret() {
        let path = Path::new("/etc/auth.json");
        for text in [
            r#"{"auths":{"a.io":{"auth":"!!secret!!"}}}"#,
            r#"{"auths":{"a.io":{"auth":"c2VjcmV0"}}}"#,
            r#"{"auths":"secret"}"#,
        ] {
            let error = AuthFile::parse(path, text.as_bytes())
                .unwrap_err()
                .to_string();
            assert!(error.contains("/etc/auth.json"), "{error}");
            assert!(!error.contains("ecret"), "{error}");
        }
    }

    #[test]
    fn earlier_files_win_and_missing_ones_do_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&first, r#"{"auths":{"a.io":{"username":"one"}}}"#).unwrap();
        let both = r#"{"auths":{"a.io":{"username":"two"},"b.io":{"username":"two"}},
            "credsStore":"desktop"}"#;
        std::fs::write(&second, both).unwrap();
        let file = AuthFile::load(&[first, dir.path().join("none"), second]).unwrap();
        assert_eq!(user(&file, "a.io/x").as_deref(), Some("one"));
        assert_eq!(user(&file, "b.io/x").as_deref(), Some("two"));
    }
}
