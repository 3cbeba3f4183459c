//! Limits of containers and pods.

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_model::{HugepageLimit, LinuxResources};

use super::error::{ConvertError, in_range, without_nul};

/// Checks the ranges that the kernel has; zero and empty stay what they are, "not asked for".
pub(crate) fn linux_resources(
    proto: cri::LinuxContainerResources,
) -> Result<LinuxResources, ConvertError> {
    let zero_or = |field, value, min, max| match value {
        0 => Ok(0),
        value => in_range(field, value, min, max),
    };
    let memory_limit = in_range(
        "memory_limit_in_bytes",
        proto.memory_limit_in_bytes,
        -1,
        i64::MAX,
    )?;
    let memory_swap_limit = proto.memory_swap_limit_in_bytes;
    if memory_swap_limit > 0 && memory_limit > 0 {
        in_range(
            "memory_swap_limit_in_bytes",
            memory_swap_limit,
            memory_limit,
            i64::MAX,
        )?;
    }
    if proto.cpu_quota > 0 {
        in_range("cpu_quota", proto.cpu_quota, 1_000, i64::MAX)?;
    }
    for (key, value) in &proto.unified {
        if key.is_empty() || key.contains(['/', '\0']) || key == "." || key == ".." {
            return Err(ConvertError::form(
                "unified",
                key,
                "the name of a cgroup file",
            ));
        }
        without_nul(format!("unified[{key:?}]"), value.clone())?;
    }
    Ok(LinuxResources {
        cpu_period: zero_or("cpu_period", proto.cpu_period, 1_000, 1_000_000)?,
        cpu_quota: proto.cpu_quota,
        cpu_shares: zero_or("cpu_shares", proto.cpu_shares, 2, 262_144)?,
        memory_limit,
        oom_score_adj: in_range("oom_score_adj", proto.oom_score_adj, -1000, 1000)?,
        cpuset_cpus: list("cpuset_cpus", proto.cpuset_cpus)?,
        cpuset_mems: list("cpuset_mems", proto.cpuset_mems)?,
        hugepage_limits: proto
            .hugepage_limits
            .into_iter()
            .enumerate()
            .map(|(index, limit)| {
                hugepage_limit(limit).map_err(|error| error.at("hugepage_limits", index))
            })
            .collect::<Result<_, _>>()?,
        unified: proto.unified,
        memory_swap_limit,
    })
}

/// The same as a request that was taken.
pub(crate) fn to_cri(resources: &LinuxResources) -> cri::LinuxContainerResources {
    let hugepage_limits = resources
        .hugepage_limits
        .iter()
        .map(|limit| cri::HugepageLimit {
            page_size: limit.page_size.clone(),
            limit: limit.limit,
        })
        .collect();
    cri::LinuxContainerResources {
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpu_shares: resources.cpu_shares,
        memory_limit_in_bytes: resources.memory_limit,
        oom_score_adj: resources.oom_score_adj,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        hugepage_limits,
        unified: resources.unified.clone(),
        memory_swap_limit_in_bytes: resources.memory_swap_limit,
    }
}

fn hugepage_limit(proto: cri::HugepageLimit) -> Result<HugepageLimit, ConvertError> {
    let number = ["KB", "MB", "GB"]
        .iter()
        .find_map(|unit| proto.page_size.strip_suffix(unit));
    match number {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(HugepageLimit {
                page_size: proto.page_size,
                limit: proto.limit,
            })
        }
        _ => Err(ConvertError::form(
            "page_size",
            &proto.page_size,
            "a size such as 2MB",
        )),
    }
}

/// The kernel's list format, `0-3,7`; the kernel itself judges the numbers.
fn list(field: &str, value: String) -> Result<String, ConvertError> {
    let allowed = |b: u8| b.is_ascii_digit() || matches!(b, b',' | b'-' | b':' | b'/');
    if value.bytes().all(allowed) {
        Ok(value)
    } else {
        Err(ConvertError::form(field, &value, "a list such as 0-3,7"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut cri::LinuxContainerResources);

    fn good() -> cri::LinuxContainerResources {
        cri::LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 20_000,
            cpu_shares: 2,
            memory_limit_in_bytes: 1 << 20,
            oom_score_adj: -999,
            cpuset_cpus: "0-3,7".into(),
            cpuset_mems: "0".into(),
            hugepage_limits: vec![cri::HugepageLimit {
                page_size: "2MB".into(),
                limit: 4 << 20,
            }],
            unified: [("memory.high".to_owned(), "1000".to_owned())].into(),
            memory_swap_limit_in_bytes: 1 << 20,
        }
    }

    #[test]
    fn what_is_good_comes_back_the_same() {
        assert_eq!(to_cri(&linux_resources(good()).unwrap()), good());
        let none = cri::LinuxContainerResources::default();
        assert_eq!(
            linux_resources(none.clone()).unwrap(),
            LinuxResources::default()
        );
        let unlimited = cri::LinuxContainerResources {
            memory_limit_in_bytes: -1,
            memory_swap_limit_in_bytes: -1,
            cpu_quota: -1,
            ..none
        };
        assert!(linux_resources(unlimited).is_ok());
    }

    #[test]
    fn what_is_bad_is_named() {
        let cases: [(Change, &str); 14] = [
            (
                |r| r.cpu_period = 10,
                "cpu_period is 10, outside 1000 to 1000000",
            ),
            (
                |r| r.cpu_quota = 10,
                "cpu_quota is 10, outside 1000 to 9223372036854775807",
            ),
            (
                |r| r.cpu_shares = -1,
                "cpu_shares is -1, outside 2 to 262144",
            ),
            (
                |r| r.cpu_shares = 262_145,
                "cpu_shares is 262145, outside 2 to 262144",
            ),
            (
                |r| r.memory_limit_in_bytes = -2,
                "memory_limit_in_bytes is -2, outside -1 to 9223372036854775807",
            ),
            (
                |r| r.memory_swap_limit_in_bytes = 1,
                "memory_swap_limit_in_bytes is 1, outside 1048576 to 9223372036854775807",
            ),
            (
                |r| r.oom_score_adj = 1001,
                "oom_score_adj is 1001, outside -1000 to 1000",
            ),
            (
                |r| r.oom_score_adj = -1001,
                "oom_score_adj is -1001, outside -1000 to 1000",
            ),
            (
                |r| r.cpuset_cpus = "a".into(),
                "cpuset_cpus is \"a\", not a list such as 0-3,7",
            ),
            (
                |r| r.cpuset_mems = "0\n".into(),
                "cpuset_mems is \"0\\n\", not a list such as 0-3,7",
            ),
            (
                |r| r.hugepage_limits[0].page_size = "2MiB".into(),
                "hugepage_limits[0].page_size is \"2MiB\", not a size such as 2MB",
            ),
            (
                |r| r.hugepage_limits[0].page_size = "MB".into(),
                "hugepage_limits[0].page_size is \"MB\", not a size such as 2MB",
            ),
            (
                |r| drop(r.unified.insert("../cpu.max".into(), String::new())),
                "unified is \"../cpu.max\", not the name of a cgroup file",
            ),
            (
                |r| drop(r.unified.insert("cpu.max".into(), "\0".into())),
                "unified[\"cpu.max\"] is \"\\0\", not free of NUL",
            ),
        ];
        for (change, text) in cases {
            let mut proto = good();
            change(&mut proto);
            assert_eq!(linux_resources(proto).unwrap_err().to_string(), text);
        }
    }
}
