//! A conflist made from a template once the kubelet has told the address ranges of this node's pods
//! (CRI `UpdateRuntimeConfig`), for networks whose configuration cannot be written before.
//!
//! The template is a Jinja text over the names that containerd's `conf_template` has:
//!
//! | name | what it is |
//! |---|---|
//! | `PodCIDR` | the first range |
//! | `PodCIDRRanges` | every range, one or two |
//! | `Routes` | `0.0.0.0/0` and `::/0`, each where there is a range of its family |

use std::path::{Path, PathBuf};

use pinpod_model::{Classify, ErrorClass};
use pinpod_record::{Durability, RecordError, write_bytes};

use crate::Network;
use crate::conf::{ConfError, NetworkList};
use crate::conf_dir;

/// Name, in the directory of conflists, of the one that is made from the template.
pub const TEMPLATE_CONFLIST_NAME: &str = "10-pinpod-net.conflist";

/// Why the template gave no conflist. The directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The template (`cni_conf_template`) cannot be read.
    #[error("CNI configuration template {path} cannot be read")]
    Read {
        /// The template.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The template is wrong.
    #[error("CNI configuration template {path}")]
    Render {
        /// The template.
        path: PathBuf,
        /// Where, and why.
        #[source]
        source: minijinja::Error,
    },
    /// What it renders to is no conflist.
    #[error("CNI configuration template {path} renders to no valid conflist")]
    Conflist {
        /// The template.
        path: PathBuf,
        /// Why.
        #[source]
        source: ConfError,
    },
    /// The conflist could not be written.
    #[error("CNI configuration from template not written")]
    Write(#[from] RecordError),
}

impl Classify for TemplateError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { .. } | Self::Render { .. } | Self::Conflist { .. } => {
                ErrorClass::FailedPrecondition
            }
            Self::Write(_) => ErrorClass::Internal,
        }
    }
}

impl Network {
    /// Takes the address ranges of this node's pods, one or two CIDRs. Plugins with the `ipRanges`
    /// capability get them from the next ADD on, and the template becomes a conflist, unless the
    /// directory holds a valid network of somebody else's.
    ///
    /// # Errors
    /// [`TemplateError`]; the ranges for plugins count nevertheless.
    pub fn update_pod_cidr(&self, cidrs: Vec<String>) -> Result<(), TemplateError> {
        let config = &self.shared.config;
        let made = match &config.conf_template {
            Some(template) if !is_configured(&config.conf_dir) => {
                let target = config.conf_dir.join(TEMPLATE_CONFLIST_NAME);
                write(template, &target, &cidrs)
            }
            _ => Ok(()),
        };
        self.keep_pod_cidrs(cidrs);
        made
    }
}

/// Whether somebody else configured a network here.
fn is_configured(directory: &Path) -> bool {
    conf_dir::files(directory).is_ok_and(|paths| {
        paths
            .iter()
            .filter(|path| !path.ends_with(TEMPLATE_CONFLIST_NAME))
            .any(|path| NetworkList::load(path).is_ok())
    })
}

fn write(template: &Path, target: &Path, cidrs: &[String]) -> Result<(), TemplateError> {
    let path = || template.to_owned();
    let source = std::fs::read_to_string(template).map_err(|source| TemplateError::Read {
        path: path(),
        source,
    })?;
    let text = render(&source, cidrs).map_err(|source| TemplateError::Render {
        path: path(),
        source,
    })?;
    NetworkList::parse(&text).map_err(|source| TemplateError::Conflist {
        path: path(),
        source,
    })?;
    // The watch would take an equal file for a change.
    if std::fs::read_to_string(target).is_ok_and(|there| there == text) {
        return Ok(());
    }
    write_bytes(target, text.as_bytes(), Durability::Durable)?;
    tracing::info!(path = %target.display(), ?cidrs, "CNI configuration made from its template");
    Ok(())
}

fn render(template: &str, cidrs: &[String]) -> Result<String, minijinja::Error> {
    let mut environment = minijinja::Environment::new();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.render_str(
        template,
        minijinja::context! {
            PodCIDR => cidrs.first().map(String::as_str),
            PodCIDRRanges => cidrs.to_vec(),
            Routes => routes(cidrs),
        },
    )
}

fn routes(cidrs: &[String]) -> Vec<&'static str> {
    let families = [("0.0.0.0/0", false), ("::/0", true)];
    families
        .into_iter()
        .filter(|(_, v6)| cidrs.iter().any(|cidr| cidr.contains(':') == *v6))
        .map(|(route, _)| route)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"{
      "cniVersion": "1.0.0", "name": "kubenet",
      "plugins": [{"type": "ptp", "ipam": {"type": "host-local",
        "ranges": [{% for it in PodCIDRRanges %}{{ ", " if not loop.first }}[{"subnet": "{{ it }}"}]{% endfor %}],
        "routes": [{% for it in Routes %}{{ ", " if not loop.first }}{"dst": "{{ it }}"}{% endfor %}]}}]
    }"#;

    fn both() -> Vec<String> {
        vec!["10.1.0.0/24".to_owned(), "fd00:1::/64".to_owned()]
    }

    #[test]
    fn ranges_and_routes_go_in() {
        let text = render(TEMPLATE, &both()).unwrap();
        let list = NetworkList::parse(&text).unwrap();
        let ipam = &list.plugins()[0]["ipam"];
        assert_eq!(ipam["ranges"][1][0]["subnet"], "fd00:1::/64");
        assert_eq!(ipam["routes"][1]["dst"], "::/0");
        let one = render("{{ PodCIDR }}|{{ Routes | join }}", &both()[..1]).unwrap();
        assert_eq!(one, "10.1.0.0/24|0.0.0.0/0");
    }

    #[test]
    fn a_wrong_template_leaves_the_directory_alone() {
        let dir = tempfile::tempdir().unwrap();
        let template = dir.path().join("net.template");
        let target = dir.path().join(TEMPLATE_CONFLIST_NAME);
        let missing = write(&template, &target, &both());
        assert!(matches!(missing, Err(TemplateError::Read { .. })));
        for bad in ["{{ PodCidr }}", "{% for %}"] {
            std::fs::write(&template, bad).unwrap();
            let answer = write(&template, &target, &both());
            assert!(matches!(answer, Err(TemplateError::Render { .. })), "{bad}");
        }
        std::fs::write(&template, "{}").unwrap();
        let answer = write(&template, &target, &both());
        assert!(matches!(answer, Err(TemplateError::Conflist { .. })));
        assert!(!target.exists());
    }

    #[test]
    fn another_network_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_configured(dir.path()));
        assert!(!is_configured(&dir.path().join("missing")));
        let text = render(TEMPLATE, &both()).unwrap();
        std::fs::write(dir.path().join(TEMPLATE_CONFLIST_NAME), &text).unwrap();
        std::fs::write(dir.path().join("05-broken.conflist"), "{").unwrap();
        assert!(!is_configured(dir.path()));
        std::fs::write(dir.path().join("20-other.conflist"), &text).unwrap();
        assert!(is_configured(dir.path()));
    }
}
