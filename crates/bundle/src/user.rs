//! Who a container runs as: the request and the image's user, looked up in the `/etc/passwd` and
//! `/etc/group` of its root file system (CRI `LinuxContainerSecurityContext`).
//!
//! The image is not trusted: its files are opened below the root file system whatever its symlinks
//! say, must be plain files, and are read only so far.

use std::io::Read;
use std::path::Path;

use pinpod_model::{Classify, ContainerSecurity, ErrorClass, SupplementalGroupsPolicy};
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Largest `/etc/passwd` or `/etc/group` that is read, in bytes.
const LARGEST: u64 = 8 << 20;

pub use pinpod_model::ResolvedUser;

/// Why a user cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A user name that the image does not know.
    #[error("user {0:?} is not in the image's /etc/passwd")]
    UnknownUser(String),
    /// A group name that the image does not know.
    #[error("group {0:?} is not in the image's /etc/group")]
    UnknownGroup(String),
    /// A group without a user.
    #[error("run_as_group {0} needs run_as_user or run_as_username")]
    GroupWithoutUser(u32),
    /// A home directory that would break the environment.
    #[error("home directory of user {0:?} holds a control character")]
    Home(String),
    /// A file of the image that cannot be read.
    #[error("{file} of the image cannot be read")]
    Read {
        /// Path in the image.
        file: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Classify for UserError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { .. } => ErrorClass::Internal,
            _ => ErrorClass::InvalidArgument,
        }
    }
}

/// Looks up the user of a container in its mounted root file system. `image_user` is the image's
/// `User`; what the request says replaces all of it.
///
/// # Errors
/// A name that is not there, a group without a user, files that cannot be read.
pub fn resolve(
    rootfs: &Path,
    security: &ContainerSecurity,
    image_user: &str,
) -> Result<ResolvedUser, UserError> {
    let passwd = read_in_root(rootfs, "/etc/passwd")?;
    let group = read_in_root(rootfs, "/etc/group")?;
    resolve_in(&passwd, &group, security, image_user)
}

/// A line of `/etc/passwd` (passwd(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A line of `/etc/group` (group(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

/// Lines that are not entries are passed over, as the C library does.
fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [name, _, uid, gid, rest @ ..] if is_name(name) => Some(PasswdEntry {
                name,
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home: rest.get(1).copied().unwrap_or_default(),
            }),
            _ => None,
        }
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [name, _, gid, rest @ ..] if is_name(name) => Some(GroupEntry {
                name,
                gid: gid.parse().ok()?,
                members: rest
                    .first()
                    .map(|members| members.split(',').map(str::trim).collect())
                    .unwrap_or_default(),
            }),
            _ => None,
        }
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('#')
}

fn resolve_in(
    passwd: &str,
    group: &str,
    security: &ContainerSecurity,
    image_user: &str,
) -> Result<ResolvedUser, UserError> {
    let asked = security
        .run_as_username
        .as_deref()
        .filter(|name| !name.is_empty());
    let (user, image_group) = match (asked, security.run_as_user) {
        (Some(name), _) => (name.to_owned(), None),
        (None, Some(uid)) => (uid.to_string(), None),
        (None, None) => {
            if let Some(gid) = security.run_as_group {
                return Err(UserError::GroupWithoutUser(gid));
            }
            match image_user.split_once(':') {
                Some((user, group)) => (user.to_owned(), Some(group)),
                None => (image_user.to_owned(), None),
            }
        }
    };
    let entry = find_user(passwd, &user);
    let uid = match (&entry, user.as_str()) {
        (Some(entry), _) => entry.uid,
        (None, "") => 0,
        (None, number) => number
            .parse()
            .map_err(|_| UserError::UnknownUser(user.clone()))?,
    };
    let gid = match (
        security.run_as_group,
        image_group.filter(|name| !name.is_empty()),
    ) {
        (Some(gid), _) => gid,
        (None, Some(name)) => find_group(group, name)?,
        (None, None) => entry.as_ref().map_or(0, |entry| entry.gid),
    };
    let home = entry
        .as_ref()
        .map(|entry| entry.home)
        .filter(|home| !home.is_empty());
    if home.is_some_and(|home| home.chars().any(char::is_control)) {
        return Err(UserError::Home(user));
    }
    let mut additional_gids = vec![gid];
    let mut add = |gid: u32| {
        if !additional_gids.contains(&gid) {
            additional_gids.push(gid);
        }
    };
    if security.supplemental_groups_policy == SupplementalGroupsPolicy::Merge
        && let Some(entry) = &entry
    {
        group_entries(group)
            .filter(|group| group.members.contains(&entry.name))
            .for_each(|group| add(group.gid));
    }
    security
        .supplemental_groups
        .iter()
        .for_each(|gid| add(*gid));
    Ok(ResolvedUser {
        uid,
        gid,
        additional_gids,
        home: home.unwrap_or("/").to_owned(),
        username: entry.map(|entry| entry.name.to_owned()).unwrap_or_default(),
    })
}

/// A name is looked for before a number, because a name may be all digits. No user means root.
fn find_user<'a>(passwd: &'a str, user: &str) -> Option<PasswdEntry<'a>> {
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    passwd_entries(passwd)
        .find(|entry| entry.name == user)
        .or_else(|| passwd_entries(passwd).find(|entry| Some(entry.uid) == number))
}

fn find_group(group: &str, name: &str) -> Result<u32, UserError> {
    if let Some(entry) = group_entries(group).find(|entry| entry.name == name) {
        return Ok(entry.gid);
    }
    name.parse()
        .map_err(|_| UserError::UnknownGroup(name.to_owned()))
}

/// Reads a file of the image. A file that is not there is empty: an image without `/etc/passwd` has
/// users by number.
fn read_in_root(rootfs: &Path, file: &'static str) -> Result<String, UserError> {
    let failed = |source: std::io::Error| UserError::Read { file, source };
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(rootfs, directory, Mode::empty()).map_err(|e| failed(e.into()))?;
    let opened = rustix::fs::openat2(
        &root,
        file,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    );
    let opened = match opened {
        Ok(fd) => std::fs::File::from(fd),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(String::new()),
        Err(error) => return Err(failed(error.into())),
    };
    let meta = opened.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(failed(std::io::Error::other("it is not a plain file")));
    }
    if meta.len() > LARGEST {
        return Err(failed(std::io::Error::other("it is larger than 8 MiB")));
    }
    let mut bytes = Vec::new();
    opened
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
