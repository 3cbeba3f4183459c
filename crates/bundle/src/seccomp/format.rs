//! The profile file: the OCI form, and the one of Docker and Podman, which adds conditions, names
//! architectures by group and errors by name.

use std::path::PathBuf;

use oci_spec::runtime::{
    Arch, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompFilterFlag,
    LinuxSeccompOperator,
};
use pinpod_model::{Classify, ErrorClass};
use serde::Deserialize;

use super::{Condition, NATIVE, Profile, Rule};
use crate::capabilities;

/// Why a profile file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not JSON of the right form; the source says where.
    #[error("it is not a seccomp profile")]
    Json(#[source] serde_json::Error),
    /// A rule without a system call.
    #[error("rule {0} names no system call")]
    NoNames(usize),
    /// A capability that nobody knows.
    #[error("rule {rule}: {name:?} is not the name of a capability")]
    Capability {
        /// Index of the rule from 0.
        rule: usize,
        /// What it says.
        name: String,
    },
    /// An error name that nobody knows.
    #[error("{0:?} is not the name of an error")]
    Errno(String),
    /// A kernel version that is not two numbers.
    #[error("rule {rule}: {version:?} is not a kernel version")]
    Kernel {
        /// Index of the rule from 0.
        rule: usize,
        /// What it says.
        version: String,
    },
    /// A comparison that the spec does not hold.
    #[error("rule {0} compares an argument that does not exist (they are 0 to 5)")]
    Argument(usize),
}

impl Classify for ProfileError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidArgument
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    #[serde(default)]
    architectures: Option<Vec<Arch>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchGroup>>,
    #[serde(default)]
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<PathBuf>,
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<FileRule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchGroup {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileRule {
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    errno: Option<String>,
    #[serde(default)]
    args: Option<Vec<FileArgument>>,
    #[serde(default)]
    includes: Option<FileCondition>,
    #[serde(default)]
    excludes: Option<FileCondition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileArgument {
    index: usize,
    value: u64,
    #[serde(default)]
    value_two: Option<u64>,
    op: LinuxSeccompOperator,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct FileCondition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Errors by name that profiles in use write.
const ERRORS: [(&str, u32); 12] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("ESRCH", 3),
    ("EINTR", 4),
    ("EIO", 5),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("EINVAL", 22),
    ("ENOSYS", 38),
    ("EAFNOSUPPORT", 97),
    ("EOPNOTSUPP", 95),
    ("ENOTSUP", 95),
];

pub(super) fn parse(text: &str) -> Result<Profile, ProfileError> {
    let file: File = serde_json::from_str(text).map_err(ProfileError::Json)?;
    let rules = file
        .syscalls
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(index, rule)| rule.check(index))
        .collect::<Result<_, _>>()?;
    Ok(Profile {
        default_action: file.default_action,
        default_errno: number(file.default_errno_ret, file.default_errno.as_deref())?,
        architectures: match file.architectures.filter(|list| !list.is_empty()) {
            Some(list) => list,
            None => from_groups(&file.arch_map.unwrap_or_default()),
        },
        flags: file.flags.unwrap_or_default(),
        listener_path: file.listener_path,
        listener_metadata: file.listener_metadata,
        rules,
    })
}

/// The group of this machine's architecture; a file without one means this machine's as it is.
fn from_groups(groups: &[ArchGroup]) -> Vec<Arch> {
    let native = NATIVE.1.first().copied();
    match groups
        .iter()
        .find(|group| Some(group.architecture) == native)
    {
        Some(group) => std::iter::once(group.architecture)
            .chain(group.sub_architectures.iter().flatten().copied())
            .collect(),
        None => native.into_iter().collect(),
    }
}

fn number(number: Option<u32>, name: Option<&str>) -> Result<Option<u32>, ProfileError> {
    match (number, name) {
        (Some(number), _) => Ok(Some(number)),
        (None, None | Some("")) => Ok(None),
        (None, Some(name)) => ERRORS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| Some(*number))
            .ok_or_else(|| ProfileError::Errno(name.to_owned())),
    }
}

impl FileRule {
    fn check(self, index: usize) -> Result<Rule, ProfileError> {
        let mut names = self.names.unwrap_or_default();
        names.extend(self.name.filter(|name| !name.is_empty()));
        if names.is_empty() {
            return Err(ProfileError::NoNames(index));
        }
        let args = self
            .args
            .unwrap_or_default()
            .into_iter()
            .map(|argument| argument.check(index))
            .collect::<Result<_, _>>()?;
        Ok(Rule {
            names,
            action: self.action,
            errno: number(self.errno_ret, self.errno.as_deref())?,
            args,
            includes: self.includes.unwrap_or_default().check(index)?,
            excludes: self.excludes.unwrap_or_default().check(index)?,
        })
    }
}

impl FileArgument {
    fn check(self, rule: usize) -> Result<LinuxSeccompArg, ProfileError> {
        if self.index > 5 {
            return Err(ProfileError::Argument(rule));
        }
        let mut argument = LinuxSeccompArgBuilder::default()
            .index(self.index)
            .value(self.value)
            .op(self.op);
        if let Some(second) = self.value_two {
            argument = argument.value_two(second);
        }
        argument.build().map_err(|_| ProfileError::Argument(rule))
    }
}

impl FileCondition {
    fn check(self, rule: usize) -> Result<Condition, ProfileError> {
        let capabilities = self
            .caps
            .unwrap_or_default()
            .into_iter()
            .map(|name| {
                capabilities::parse(&name).map_err(|_| ProfileError::Capability { rule, name })
            })
            .collect::<Result<_, _>>()?;
        let min_kernel = self
            .min_kernel
            .filter(|version| !version.is_empty())
            .map(|version| kernel(&version).ok_or(ProfileError::Kernel { rule, version }))
            .transpose()?;
        Ok(Condition {
            capabilities,
            architectures: self.arches.unwrap_or_default(),
            min_kernel,
        })
    }
}

fn kernel(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{Capabilities, Capability};
    use proptest::prelude::*;

    const DOCKER: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrno": "ENOSYS",
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}
        ],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {}, "excludes": {}},
            {"name": "chmod", "action": "SCMP_ACT_ERRNO", "errno": "EACCES"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390"]},
             "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["breakpoint"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["mips"]}}
        ]
    }"#;

    fn names(profile: &Profile, capabilities: &[Capability], kernel: (u32, u32)) -> Vec<String> {
        let capabilities: Capabilities = capabilities.iter().copied().collect();
        let filter = profile.filter(&capabilities, kernel).unwrap();
        let syscalls = filter.syscalls().as_ref().unwrap();
        syscalls
            .iter()
            .flat_map(|syscall| syscall.names().clone())
            .collect()
    }

    #[test]
    fn conditions() {
        let profile = Profile::parse(DOCKER).unwrap();
        assert_eq!(
            names(&profile, &[], (6, 1)),
            ["read", "chmod", "clone", "ptrace"]
        );
        assert_eq!(
            names(&profile, &[Capability::SysAdmin], (6, 1)),
            ["read", "chmod", "mount", "ptrace"]
        );
        assert_eq!(names(&profile, &[], (4, 4)), ["read", "chmod", "clone"]);
        let filter = profile.filter(&Capabilities::default(), (6, 1)).unwrap();
        assert_eq!(filter.default_errno_ret(), Some(38));
        assert_eq!(filter.architectures().as_ref().unwrap().len(), 2);
        let chmod = &filter.syscalls().as_ref().unwrap()[1];
        assert_eq!(chmod.errno_ret(), Some(13));
    }

    #[test]
    fn the_oci_form() {
        let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{"names": ["chmod", "fchmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}"#;
        let filter = Profile::parse(text)
            .unwrap()
            .filter(&Capabilities::default(), (6, 1))
            .unwrap();
        let expected: oci_spec::runtime::LinuxSeccomp = serde_json::from_str(text).unwrap();
        assert_eq!(filter, expected);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, error) in [
            ("{", "it is not a seccomp profile"),
            ("{}", "it is not a seccomp profile"),
            (
                r#"{"defaultAction": "SCMP_ACT_NOPE"}"#,
                "it is not a seccomp profile",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "defaultErrno": "EWHAT"}"#,
                "\"EWHAT\" is not the name of an error",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_LOG"}]}"#,
                "rule 0 names no system call",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "action": "SCMP_ACT_LOG", "includes": {"caps": ["X"]}}]}"#,
                "rule 0: \"X\" is not the name of a capability",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "action": "SCMP_ACT_LOG", "excludes": {"minKernel": "x"}}]}"#,
                "rule 0: \"x\" is not a kernel version",
            ),
        ] {
            assert_eq!(Profile::parse(text).unwrap_err().to_string(), error);
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in ".{0,300}") {
            // Any outcome is right as long as it is one.
            let _outcome = Profile::parse(&text);
        }
    }
}
