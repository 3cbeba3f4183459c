//! Files as the two versions have them, and the real ones of this machine.

use super::*;
use crate::hierarchy::{HierarchyKind, Mounted};
use crate::testing::{Scratch, sleeper};

/// One hierarchy with all controllers in a directory of files.
fn fake(version: Version, controllers: &[&str], files: &[(&str, &str)]) -> Stats {
    let dir = tempfile::tempdir().unwrap();
    let cgroup = dir.path().join("c");
    fs::create_dir(&cgroup).unwrap();
    for (name, text) in files {
        fs::write(cgroup.join(name), text).unwrap();
    }
    let kind = match version {
        Version::V1 => HierarchyKind::V1,
        Version::V2 => HierarchyKind::V2,
    };
    let mounted = Mounted {
        mount_point: dir.path().to_owned(),
        version,
        controllers: controllers.iter().map(|name| name.to_string()).collect(),
    };
    let path = CgroupPath::root().child("c").unwrap();
    Hierarchy::for_test(kind, vec![mounted])
        .stats(&path)
        .unwrap()
}

#[test]
fn version_2() {
    let stall = "some avg10=1.00 avg60=2.00 avg300=3.00 total=4\n";
    let stats = fake(
        Version::V2,
        &["cpu", "memory", "io", "pids"],
        &[
            (
                "cpu.stat",
                "usage_usec 10\nuser_usec 7\nsystem_usec 3\nnr_periods 5\nnr_throttled 2\nthrottled_usec 9\n",
            ),
            ("cpu.pressure", stall),
            ("memory.current", "1000\n"),
            ("memory.max", "5000\n"),
            ("memory.swap.current", "10\n"),
            ("memory.swap.max", "max\n"),
            (
                "memory.stat",
                "anon 300\ninactive_file 400\npgfault 8\npgmajfault 1\n",
            ),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
            ("io.pressure", stall),
        ],
    );
    let cpu = stats.cpu.unwrap();
    assert_eq!(
        (cpu.usage_ns, cpu.user_ns, cpu.system_ns),
        (10_000, 7000, 3000)
    );
    assert_eq!(
        (cpu.periods, cpu.throttled_periods, cpu.throttled_ns),
        (5, 2, 9000)
    );
    assert_eq!(cpu.pressure.unwrap().some.total_us, 4);
    let memory = stats.memory.unwrap();
    assert_eq!((memory.working_set, memory.available), (600, Some(4400)));
    assert_eq!((memory.rss, memory.page_faults), (300, 8));
    assert_eq!((memory.swap_usage, memory.swap_available), (Some(10), None));
    assert_eq!(memory.pressure, None);
    let pids = stats.pids.unwrap();
    assert_eq!((pids.current, pids.limit), (3, None));
    let io = stats.io.unwrap();
    assert_eq!(io.devices[0].writes, 4);
    assert!(io.pressure.is_some());
}

#[test]
fn version_1() {
    let stats = fake(
        Version::V1,
        &["cpu", "cpuacct", "memory", "blkio", "pids"],
        &[
            ("cpuacct.usage", "10\n"),
            ("cpuacct.usage_user", "7\n"),
            ("cpuacct.usage_sys", "3\n"),
            (
                "cpu.stat",
                "nr_periods 5\nnr_throttled 2\nthrottled_time 9\n",
            ),
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.limit_in_bytes", "5000\n"),
            ("memory.memsw.usage_in_bytes", "1010\n"),
            ("memory.memsw.limit_in_bytes", "6000\n"),
            (
                "memory.stat",
                "rss 1\ninactive_file 1\ntotal_rss 300\ntotal_inactive_file 400\ntotal_pgfault 8\n",
            ),
            ("pids.current", "3\n"),
            ("pids.max", "9\n"),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 1\nTotal 1\n",
            ),
            ("blkio.throttle.io_serviced_recursive", "Total 0\n"),
        ],
    );
    let cpu = stats.cpu.unwrap();
    assert_eq!((cpu.usage_ns, cpu.user_ns, cpu.system_ns), (10, 7, 3));
    assert_eq!((cpu.periods, cpu.throttled_ns, cpu.pressure), (5, 9, None));
    let memory = stats.memory.unwrap();
    assert_eq!((memory.working_set, memory.available), (600, Some(4400)));
    assert_eq!((memory.rss, memory.page_faults), (300, 8));
    assert_eq!(
        (memory.swap_usage, memory.swap_available),
        (Some(10), Some(990))
    );
    assert_eq!(stats.pids.unwrap().limit, Some(9));
    assert_eq!(stats.io.unwrap().devices[0].read_bytes, 1);
}

#[test]
fn what_is_not_there_has_no_part() {
    assert_eq!(fake(Version::V2, &[], &[]), Stats::default());
    assert_eq!(
        fake(Version::V1, &["cpuacct", "memory"], &[]),
        Stats::default()
    );
}

#[test]
fn the_kernels_own_files_are_understood() {
    let scratch = Scratch::new("stats");
    let hierarchy = &scratch.hierarchy;
    assert_eq!(hierarchy.stats(&scratch.path).unwrap(), Stats::default());
    hierarchy.create(&scratch.path).unwrap();
    let sleeper = sleeper();
    hierarchy.join(&scratch.path, sleeper.pid).unwrap();
    let stats = hierarchy.stats(&scratch.path).unwrap();
    assert_eq!(stats.pids.unwrap().current, 1);
    let memory = stats.memory.unwrap();
    assert_eq!(memory.limit, None);
    assert!(memory.working_set <= memory.usage);
    assert!(stats.cpu.is_some());
    assert!(stats.io.is_some());
    drop(scratch);
    pinpod_kernel::process::reap(sleeper.pid).unwrap();
}
