//! From the name that a user wrote to a session with the registry that has it.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pinpod_model::{Classify, Credentials, ErrorClass};

use crate::auth_file::{AuthFile, AuthFileError};
use crate::client::{ClientOptions, RegistryClient};
use crate::error::RegistryError;
use crate::image_name::ImageName;
use crate::manifest::FetchedManifest;
use crate::reference::{DOCKER_IO, ImageReference};
use crate::registries_conf::{
    BlockedError, Endpoint, RegistriesConf, RegistriesConfError, ShortNameError, ShortNameMode,
};
use crate::session::Session;

/// The files that a node's registries are described in. None of them needs to exist.
#[derive(Debug, Clone)]
pub struct RegistriesPaths {
    /// `registries.conf`.
    pub conf: PathBuf,
    /// `registries.conf.d`.
    pub conf_dir: PathBuf,
    /// `auth.json` files, the most important first.
    pub auth_files: Vec<PathBuf>,
    /// Set over what `registries.conf` says, if set.
    pub short_name_mode: Option<ShortNameMode>,
}

impl Default for RegistriesPaths {
    fn default() -> Self {
        Self {
            conf: PathBuf::from("/etc/containers/registries.conf"),
            conf_dir: PathBuf::from("/etc/containers/registries.conf.d"),
            auth_files: Vec::new(),
            short_name_mode: None,
        }
    }
}

/// A node's registries: configuration, credentials of the node, and the client.
#[derive(Debug)]
pub struct Registries {
    client: RegistryClient,
    paths: RegistriesPaths,
    conf: Mutex<Arc<RegistriesConf>>,
}

/// A manifest that was found, and the session for all that it refers to.
#[derive(Debug, Clone)]
pub struct Source {
    /// What the name means, fully qualified and with its tag or digest: not rewritten by mirrors.
    pub reference: ImageReference,
    /// The endpoint that has it.
    pub session: Session,
    /// The manifest or index that the reference names.
    pub manifest: FetchedManifest,
}

/// A name for which no manifest was found.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A short name leads nowhere.
    #[error(transparent)]
    ShortName(#[from] ShortNameError),
    /// The configuration forbids it.
    #[error(transparent)]
    Blocked(#[from] BlockedError),
    /// The node's credentials cannot be read.
    #[error(transparent)]
    AuthFile(#[from] AuthFileError),
    /// The only place to ask refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Each of several places refused.
    #[error("{name} cannot be had from any of {} places: {}", .attempts.len(), chains(.attempts))]
    Everywhere {
        /// The name.
        name: String,
        /// Why not, in the order of asking.
        attempts: Vec<ResolveError>,
    },
}

impl Classify for ResolveError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ShortName(_) => ErrorClass::InvalidArgument,
            Self::Blocked(_) => ErrorClass::PermissionDenied,
            Self::AuthFile(_) => ErrorClass::FailedPrecondition,
            Self::Registry(error) => error.class(),
            // The last is the registry itself and not a mirror.
            Self::Everywhere { attempts, .. } => attempts
                .last()
                .map_or(ErrorClass::Internal, ResolveError::class),
        }
    }
}

/// Each error with its causes.
fn chains(attempts: &[ResolveError]) -> String {
    let chain = |attempt: &ResolveError| {
        let mut text = attempt.to_string();
        let mut cause = attempt.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    };
    attempts.iter().map(chain).collect::<Vec<_>>().join("; ")
}

impl Registries {
    /// Reads `registries.conf`.
    ///
    /// # Errors
    /// If a file cannot be read or is not valid.
    pub fn load(
        paths: RegistriesPaths,
        options: ClientOptions,
    ) -> Result<Self, RegistriesConfError> {
        let conf = load(&paths)?;
        Ok(Self {
            client: RegistryClient::new(options),
            paths,
            conf: Mutex::new(Arc::new(conf)),
        })
    }

    /// The configuration as it stands, read again if its files changed. Files that are not valid
    /// are told to the log, and the configuration stays as it was.
    #[must_use]
    pub fn conf(&self) -> Arc<RegistriesConf> {
        // Whole at every point where a panic could happen.
        let mut conf = self.conf.lock().unwrap_or_else(PoisonError::into_inner);
        if !conf.is_current() {
            match load(&self.paths) {
                Ok(new) => *conf = Arc::new(new),
                Err(error) => tracing::error!(
                    error = &error as &dyn Error,
                    "the changed registries.conf is not used"
                ),
            }
        }
        conf.clone()
    }

    /// What a name can mean, in the order to try, each with a tag or a digest.
    ///
    /// # Errors
    /// If a short name leads nowhere.
    pub fn candidates(&self, name: &ImageName) -> Result<Vec<ImageReference>, ShortNameError> {
        match name {
            ImageName::Qualified(reference) => Ok(vec![reference.clone().or_latest()]),
            ImageName::Unqualified(name) => {
                let candidates = self.conf().candidates(name)?;
                Ok(candidates
                    .into_iter()
                    .map(ImageReference::or_latest)
                    .collect())
            }
        }
    }

    /// Finds the first place that has the manifest of a name: candidates of a short name in
    /// order, and for each its mirrors before its own location.
    ///
    /// `credentials` are the request's. They go to the registry that the name means (or to the
    /// location that the administrator put in its place), never to a mirror on another host. With
    /// several candidates they go to `docker.io` alone, which is what the kubelet takes a short
    /// name for. Everywhere else the node's auth files are asked.
    ///
    /// # Errors
    /// Why no place gave it.
    pub async fn resolve(
        &self,
        name: &ImageName,
        credentials: Option<&Credentials>,
    ) -> Result<Source, ResolveError> {
        let conf = self.conf();
        let candidates = self.candidates(name)?;
        let several = candidates.len() > 1;
        let mut attempts = Vec::new();
        for reference in candidates {
            let endpoints = match conf.endpoints(&reference) {
                Ok(endpoints) => endpoints,
                Err(error) => {
                    attempts.push(error.into());
                    continue;
                }
            };
            let credentials = credentials.filter(|_| !several || reference.registry() == DOCKER_IO);
            for endpoint in endpoints {
                match self.try_endpoint(&reference, &endpoint, credentials).await {
                    Ok((session, manifest)) => {
                        return Ok(Source {
                            reference,
                            session,
                            manifest,
                        });
                    }
                    Err(error) => {
                        tracing::debug!(%reference, place = %endpoint.reference, %error, "not from here");
                        attempts.push(error);
                    }
                }
            }
        }
        Err(match attempts.pop() {
            Some(only) if attempts.is_empty() => only,
            last => {
                attempts.extend(last);
                let name = name.to_string();
                ResolveError::Everywhere { name, attempts }
            }
        })
    }

    async fn try_endpoint(
        &self,
        reference: &ImageReference,
        endpoint: &Endpoint,
        requested: Option<&Credentials>,
    ) -> Result<(Session, FetchedManifest), ResolveError> {
        let theirs = !endpoint.mirror || endpoint.reference.registry() == reference.registry();
        let credentials = match requested.filter(|_| theirs) {
            Some(requested) => Some(requested.clone()),
            None => {
                let file = AuthFile::load(&self.paths.auth_files)?;
                file.credentials(&endpoint.reference).cloned()
            }
        };
        let session = self.client.session(endpoint, credentials).await?;
        let manifest = session.fetch_manifest().await?;
        Ok((session, manifest))
    }
}

fn load(paths: &RegistriesPaths) -> Result<RegistriesConf, RegistriesConfError> {
    let mut conf = RegistriesConf::load(&paths.conf, &paths.conf_dir)?;
    if let Some(mode) = paths.short_name_mode {
        conf.set_short_name_mode(mode);
    }
    Ok(conf)
}
