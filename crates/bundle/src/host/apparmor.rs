//! Which AppArmor profiles the kernel has.

use oci_spec::runtime::Spec;

use crate::SpecError;

/// The kernel's list, one `name (mode)` a line. Reading it needs securityfs and CAP_MAC_ADMIN.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";

/// Whether the kernel has a profile of that name; `None` when its list cannot be read.
#[must_use]
pub fn apparmor_profile_loaded(name: &str) -> Option<bool> {
    let list = std::fs::read_to_string(PROFILES).ok()?;
    Some(names(&list).any(|loaded| loaded == name))
}

/// Checks that the profile of a spec is loaded: OCI runtimes only find out when they start the
/// container, and say no more than `no such file or directory`.
///
/// # Errors
/// [`SpecError::AppArmorNotLoaded`]
pub fn check_apparmor(spec: &Spec) -> Result<(), SpecError> {
    let process = spec.process().as_ref();
    match process.and_then(|process| process.apparmor_profile().as_deref()) {
        Some(profile) if apparmor_profile_loaded(profile) == Some(false) => {
            Err(SpecError::AppArmorNotLoaded(profile.to_owned()))
        }
        _ => Ok(()),
    }
}

/// A name may have blanks and parentheses of its own; the mode has not.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.lines()
        .filter_map(|line| Some(line.rsplit_once(" (")?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_kernel() {
        let list = "pinpod-default (enforce)\n/usr/bin/man (complain)\na (b) (unconfined)\nx\n";
        let found: Vec<&str> = names(list).collect();
        assert_eq!(found, ["pinpod-default", "/usr/bin/man", "a (b)"]);
    }
}
