//! Files as the two versions have them, and the real ones of this machine.

use std::fs;
use std::path::Path;

use super::*;
use crate::hierarchy::{HierarchyKind, Mounted, Version};
use crate::testing::{Scratch, sleeper};
use crate::{CgroupPath, Hierarchy};

const STALL: &str = "some avg10=1.00 avg60=2.00 avg300=3.00 total=4\n";

/// A cgroup made of files, in mounts of the versions given.
struct Fake {
    dir: tempfile::TempDir,
    mounted: Vec<Mounted>,
}

impl Fake {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Vec::new();
        Self { dir, mounted }
    }

    /// One more hierarchy, with the files of the cgroup `/c` in it.
    fn with(mut self, version: Version, controllers: &[&str], files: &[(&str, &str)]) -> Self {
        let mount_point = self.dir.path().join(self.mounted.len().to_string());
        let cgroup = mount_point.join("c");
        fs::create_dir_all(&cgroup).unwrap();
        for (name, text) in files {
            fs::write(cgroup.join(name), text).unwrap();
        }
        self.mounted.push(Mounted {
            mount_point,
            version,
            controllers: controllers.iter().map(|name| name.to_string()).collect(),
        });
        self
    }

    fn read(&self) -> (Stats, Details) {
        let hierarchy = Hierarchy::for_test(HierarchyKind::Hybrid, self.mounted.clone());
        let path = CgroupPath::root().child("c").unwrap();
        let stats = hierarchy.stats(&path).unwrap();
        (stats, hierarchy.details(&path).unwrap())
    }
}

/// A node of version 2, as Linux 6.12 writes it.
fn version_2() -> Fake {
    Fake::new().with(
        Version::V2,
        &["cpu", "memory", "io", "pids", "hugetlb"],
        &[
            (
                "cpu.stat",
                "usage_usec 10\nuser_usec 7\nsystem_usec 3\nnice_usec 0\ncore_sched.force_idle_usec 0\n\
                 nr_periods 5\nnr_throttled 2\nthrottled_usec 9\nnr_bursts 1\nburst_usec 6\n",
            ),
            ("cpu.pressure", STALL),
            ("memory.current", "1000\n"),
            ("memory.max", "5000\n"),
            ("memory.peak", "1500\n"),
            ("memory.swap.current", "10\n"),
            ("memory.swap.max", "max\n"),
            ("memory.events", "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n"),
            (
                "memory.stat",
                "anon 300\nfile 600\nkernel 70\nfile_mapped 20\ninactive_file 400\nactive_file 5\n\
                 pgfault 8\npgmajfault 1\n",
            ),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
            ("io.pressure", STALL),
            ("hugetlb.2MB.current", "2097152\n"),
            ("hugetlb.2MB.events", "max 7\n"),
            ("hugetlb.2MB.rsvd.current", "1\n"),
        ],
    )
}

#[test]
fn files_of_version_2() {
    let (stats, details) = version_2().read();
    let cpu = stats.cpu.unwrap();
    assert_eq!(cpu.usage_ns, 10_000);
    assert_eq!(cpu.pressure.unwrap().some.total_us, 4);
    let memory = stats.memory.unwrap();
    assert_eq!((memory.working_set, memory.available), (600, Some(4400)));
    assert_eq!((memory.rss, memory.page_faults), (300, 8));
    assert_eq!((memory.swap_usage, memory.swap_available), (Some(10), None));
    assert_eq!(memory.pressure, None, "no file");
    assert!(stats.io_pressure.is_some());

    let want = CpuDetails {
        user_ns: 7000,
        system_ns: 3000,
        periods: 5,
        throttled_periods: 2,
        throttled_ns: 9000,
        burst_periods: 1,
        burst_ns: 6000,
    };
    assert_eq!(details.cpu, Some(want));
    let want = MemoryDetails {
        cache: 600,
        mapped_file: 20,
        active_file: 5,
        inactive_file: 400,
        kernel: Some(70),
        max_usage: Some(1500),
        limit_hits: Some(4),
        own_page_faults: 8,
        own_major_page_faults: 1,
    };
    assert_eq!(details.memory, Some(want));
    let pids = details.pids.unwrap();
    assert_eq!((pids.current, pids.limit), (3, None));
    assert_eq!(details.io.unwrap()[0].writes, 4);
    assert_eq!(details.oom_kills, Some(1));
    let want = HugepageStats {
        page_size: "2MB".into(),
        usage: 2_097_152,
        max_usage: None,
        limit_hits: Some(7),
    };
    assert_eq!(details.hugepages, [want]);
}

/// A node of version 1, without swap accounting if `swap` is not given.
fn version_1(swap: bool) -> Fake {
    let stat = "rss 1\npgfault 2\ninactive_file 1\ntotal_cache 600\ntotal_rss 300\n\
                total_mapped_file 20\ntotal_inactive_file 400\ntotal_active_file 5\ntotal_pgfault 8\n";
    let stat = format!("{stat}{}", if swap { "total_swap 10\n" } else { "" });
    let mut files = vec![
        ("cpuacct.usage", "10\n"),
        ("cpuacct.usage_user", "7\n"),
        ("cpuacct.usage_sys", "3\n"),
        (
            "cpu.stat",
            "nr_periods 5\nnr_throttled 2\nthrottled_time 9\nnr_bursts 1\nburst_time 6\n",
        ),
        ("memory.usage_in_bytes", "1000\n"),
        ("memory.max_usage_in_bytes", "1500\n"),
        ("memory.failcnt", "4\n"),
        ("memory.kmem.usage_in_bytes", "70\n"),
        ("memory.limit_in_bytes", "5000\n"),
        ("memory.stat", stat.as_str()),
        (
            "memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
        ),
        ("pids.current", "3\n"),
        ("pids.max", "9\n"),
        (
            "blkio.throttle.io_service_bytes_recursive",
            "8:0 Read 1\nTotal 1\n",
        ),
        ("blkio.throttle.io_serviced_recursive", "Total 0\n"),
        ("hugetlb.1GB.usage_in_bytes", "0\n"),
        ("hugetlb.1GB.max_usage_in_bytes", "8\n"),
        ("hugetlb.1GB.failcnt", "0\n"),
    ];
    if swap {
        files.push(("memory.memsw.limit_in_bytes", "6000\n"));
    }
    let controllers = ["cpu", "cpuacct", "memory", "blkio", "pids", "hugetlb"];
    Fake::new().with(Version::V1, &controllers, &files)
}

#[test]
fn files_of_version_1() {
    let (stats, details) = version_1(true).read();
    let cpu = stats.cpu.unwrap();
    assert_eq!((cpu.usage_ns, cpu.pressure), (10, None));
    let memory = stats.memory.unwrap();
    assert_eq!((memory.working_set, memory.available), (600, Some(4400)));
    assert_eq!((memory.rss, memory.page_faults), (300, 8));
    assert_eq!(
        (memory.swap_usage, memory.swap_available),
        (Some(10), Some(990))
    );
    assert_eq!(stats.io_pressure, None);

    let cpu = details.cpu.unwrap();
    assert_eq!((cpu.user_ns, cpu.system_ns, cpu.periods), (7, 3, 5));
    assert_eq!((cpu.throttled_ns, cpu.burst_ns), (9, 6));
    let memory = details.memory.unwrap();
    assert_eq!((memory.cache, memory.kernel), (600, Some(70)));
    assert_eq!((memory.max_usage, memory.limit_hits), (Some(1500), Some(4)));
    assert_eq!(memory.own_page_faults, 2);
    assert_eq!(details.pids.unwrap().limit, Some(9));
    assert_eq!(details.io.unwrap()[0].read_bytes, 1);
    assert_eq!(details.oom_kills, Some(1));
    assert_eq!(details.hugepages[0].max_usage, Some(8));
}

#[test]
fn swap_that_is_not_counted_is_absent() {
    let memory = version_1(false).read().0.memory.unwrap();
    assert_eq!((memory.swap_usage, memory.swap_available), (None, None));
}

#[test]
fn a_hybrid_node_has_its_stalls_in_version_2() {
    let (stats, details) = version_1(true)
        .with(
            Version::V2,
            &[],
            &[
                ("cpu.pressure", STALL),
                ("memory.pressure", STALL),
                ("io.pressure", STALL),
                ("cpu.stat", "usage_usec 99\nuser_usec 9\nsystem_usec 9\n"),
            ],
        )
        .read();
    let cpu = stats.cpu.unwrap();
    assert_eq!(cpu.usage_ns, 10, "version 1 counts");
    assert_eq!(cpu.pressure.unwrap().some.total_us, 4);
    assert!(stats.memory.unwrap().pressure.is_some());
    assert!(stats.io_pressure.is_some());
    assert_eq!(details.cpu.unwrap().user_ns, 7);
}

#[test]
fn what_is_not_there_has_no_part() {
    for (version, controllers) in [
        (Version::V2, &[][..]),
        (Version::V1, &["cpuacct", "memory", "hugetlb"][..]),
    ] {
        let fake = Fake::new().with(version, controllers, &[]);
        assert_eq!(fake.read(), (Stats::default(), Details::default()));
    }
}

#[test]
fn a_text_that_is_no_number_names_its_file() {
    let fake = Fake::new().with(Version::V1, &["cpuacct"], &[("cpuacct.usage", "many\n")]);
    let hierarchy = Hierarchy::for_test(HierarchyKind::V1, fake.mounted.clone());
    let error = hierarchy.stats(&CgroupPath::root().child("c").unwrap());
    let text = error.unwrap_err().to_string();
    assert!(text.ends_with("c/cpuacct.usage"), "{text}");
}

#[test]
fn long_files_are_read_to_their_end() {
    let dir = tempfile::tempdir().unwrap();
    for length in [0, 4095, 4096, 4097, 20_000] {
        let text = "x".repeat(length);
        fs::write(dir.path().join("file"), &text).unwrap();
        assert_eq!(files::text(dir.path(), "file").unwrap(), Some(text));
    }
    assert_eq!(files::text(Path::new("/no/such"), "file").unwrap(), None);
}

#[test]
fn the_kernels_own_files_are_understood() {
    let scratch = Scratch::new("stats");
    let hierarchy = &scratch.hierarchy;
    assert_eq!(hierarchy.stats(&scratch.path).unwrap(), Stats::default());
    assert_eq!(
        hierarchy.details(&scratch.path).unwrap(),
        Details::default()
    );
    hierarchy.create(&scratch.path).unwrap();
    let sleeper = sleeper();
    hierarchy.join(&scratch.path, sleeper.pid).unwrap();
    let stats = hierarchy.stats(&scratch.path).unwrap();
    let details = hierarchy.details(&scratch.path).unwrap();
    assert_eq!(hierarchy.task_count(&scratch.path).unwrap(), Some(1));
    assert_eq!(details.pids.unwrap().current, 1);
    let memory = stats.memory.unwrap();
    assert_eq!(memory.limit, None);
    assert!(memory.working_set <= memory.usage);
    assert!(stats.cpu.is_some());
    assert!(details.cpu.is_some() && details.memory.is_some() && details.io.is_some());
    assert_eq!(details.oom_kills, Some(0));
    drop(scratch);
    pinpod_kernel::process::reap(sleeper.pid).unwrap();
}
