//! `certs.d/<host>`: more roots and a client certificate for one registry
//! (containers-certs.d(5)).

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use reqwest::{Certificate, Identity};

use crate::error::RegistryError;

/// Which files there are, and how old: tells when to read them again.
pub(crate) type Fingerprint = Vec<(PathBuf, SystemTime, u64)>;

/// What the directories say about one host.
#[derive(Debug, Default)]
pub(crate) struct HostCertificates {
    pub(crate) roots: Vec<Certificate>,
    pub(crate) identity: Option<Identity>,
    pub(crate) fingerprint: Fingerprint,
}

/// Reads `<dir>/<registry>` of the first directory that has it.
pub(crate) fn read(dirs: &[PathBuf], registry: &str) -> Result<HostCertificates, RegistryError> {
    let mut found = HostCertificates::default();
    let Some(dir) = dirs
        .iter()
        .map(|dir| dir.join(registry))
        .find(|dir| dir.is_dir())
    else {
        return Ok(found);
    };
    let error = |path: &Path, problem: String| RegistryError::Certificates {
        host: registry.to_owned(),
        path: path.to_owned(),
        problem,
    };
    let entries = std::fs::read_dir(&dir).map_err(|e| error(&dir, e.to_string()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    for file in &files {
        let read = |path: &Path| std::fs::read(path).map_err(|e| error(path, e.to_string()));
        match file.extension().and_then(|ext| ext.to_str()) {
            Some("crt") => {
                let roots = Certificate::from_pem_bundle(&read(file)?)
                    .map_err(|e| error(file, e.to_string()))?;
                found.roots.extend(roots);
            }
            Some("cert") if found.identity.is_none() => {
                let mut pem = read(file)?;
                pem.push(b'\n');
                pem.extend(read(&file.with_extension("key"))?);
                let identity = Identity::from_pem(&pem).map_err(|e| error(file, e.to_string()))?;
                found.identity = Some(identity);
            }
            Some("key") | Some("cert") => {}
            _ => continue,
        }
        let meta = std::fs::metadata(file).map_err(|e| error(file, e.to_string()))?;
        let modified = meta.modified().map_err(|e| error(file, e.to_string()))?;
        found.fingerprint.push((file.clone(), modified, meta.len()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_directory_has_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let found = read(&[dir.path().to_owned()], "registry.local:5000").unwrap();
        assert!(found.roots.is_empty() && found.identity.is_none() && found.fingerprint.is_empty());
    }

    #[test]
    fn a_certificate_without_its_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("registry.local:5000");
        std::fs::create_dir(&host).unwrap();
        std::fs::write(host.join("client.cert"), "x").unwrap();
        let error = read(&[dir.path().to_owned()], "registry.local:5000").unwrap_err();
        assert!(error.to_string().contains("client.key"), "{error}");
    }
}
