//! The text formats of cgroup files (`cgroups(7)` and the kernel's `cgroup-v1`, `cgroup-v2`, `psi`
//! documents).

use std::collections::BTreeMap;

use crate::stats::{IoDevice, Pressure, PressureAverages};

/// Smallest value of version 1 that means "no limit": the kernel rounds `i64::MAX` down to a page.
const UNLIMITED: u64 = 1 << 62;

/// One process id a line.
pub(crate) fn pids(text: &str) -> Option<Vec<u32>> {
    text.lines().map(|line| line.trim().parse().ok()).collect()
}

/// The number after `key` in lines of `key number`.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix(' ')?;
        value.trim().parse().ok()
    })
}

/// A single number.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A limit: `Some(None)` is none (`max`, or what version 1 takes for it).
#[allow(
    clippy::option_option,
    reason = "the outer one is a text that is no limit at all"
)]
pub(crate) fn limit(text: &str) -> Option<Option<u64>> {
    match text.trim() {
        "max" | "-1" => Some(None),
        text => {
            let value: u64 = text.parse().ok()?;
            Some((value < UNLIMITED).then_some(value))
        }
    }
}

/// `io.stat`: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6` a line. A device without I/O
/// may have its name alone.
pub(crate) fn io_stat(text: &str) -> Option<Vec<IoDevice>> {
    let mut devices = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let mut io = IoDevice::new(major, minor);
        for word in words {
            let (key, value) = word.split_once('=')?;
            let value = || value.parse().ok();
            match key {
                "rbytes" => io.read_bytes = value()?,
                "wbytes" => io.write_bytes = value()?,
                "rios" => io.reads = value()?,
                "wios" => io.writes = value()?,
                _ => {}
            }
        }
        devices.push(io);
    }
    Some(devices)
}

/// `blkio.throttle.io_service_bytes*` and `io_serviced*`: `8:0 Read 1` a line, and a total.
pub(crate) fn blkio(bytes: &str, operations: &str) -> Option<Vec<IoDevice>> {
    let mut devices = BTreeMap::new();
    for (text, in_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines().filter(|line| !line.starts_with("Total")) {
            let mut words = line.split_whitespace();
            let (name, kind, value) = (words.next()?, words.next()?, words.next()?);
            let (major, minor) = device(name)?;
            let value: u64 = value.parse().ok()?;
            let io: &mut IoDevice = devices
                .entry((major, minor))
                .or_insert_with(|| IoDevice::new(major, minor));
            match (kind, in_bytes) {
                ("Read", true) => io.read_bytes = value,
                ("Write", true) => io.write_bytes = value,
                ("Read", false) => io.reads = value,
                ("Write", false) => io.writes = value,
                _ => {}
            }
        }
    }
    Some(devices.into_values().collect())
}

fn device(name: &str) -> Option<(u32, u32)> {
    let (major, minor) = name.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A `.pressure` file; `full` is missing for CPUs before Linux 5.13.
pub(crate) fn pressure(text: &str) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ')?;
        let averages = averages(rest)?;
        match kind {
            "some" => pressure.some = averages,
            "full" => pressure.full = averages,
            _ => {}
        }
    }
    Some(pressure)
}

fn averages(text: &str) -> Option<PressureAverages> {
    let mut averages = PressureAverages::default();
    for word in text.split_whitespace() {
        let (key, value) = word.split_once('=')?;
        match key {
            "avg10" => averages.avg10 = value.parse().ok()?,
            "avg60" => averages.avg60 = value.parse().ok()?,
            "avg300" => averages.avg300 = value.parse().ok()?,
            "total" => averages.total_us = value.parse().ok()?,
            _ => {}
        }
    }
    Some(averages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_files() {
        assert_eq!(pids("1\n20\n"), Some(vec![1, 20]));
        assert_eq!(pids(""), Some(vec![]));
        assert_eq!(pids("x\n"), None);
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(keyed(events, "oom_kill"), Some(2));
        assert_eq!(keyed(events, "oom"), Some(3));
        assert_eq!(keyed(events, "oom_"), None);
        assert_eq!(number("42\n"), Some(42));
        for (text, value) in [
            ("max\n", Some(None)),
            ("-1", Some(None)),
            ("9223372036854771712\n", Some(None)),
            ("4096\n", Some(Some(4096))),
            ("x", None),
        ] {
            assert_eq!(limit(text), value, "{text:?}");
        }
    }

    #[test]
    fn io() {
        let want = IoDevice {
            major: 8,
            minor: 16,
            read_bytes: 1,
            write_bytes: 2,
            reads: 3,
            writes: 4,
        };
        let v2 = "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n253:0\n";
        let found = io_stat(v2).unwrap();
        assert_eq!(found, [want, IoDevice::new(253, 0)]);
        let bytes = "8:16 Read 1\n8:16 Write 2\n8:16 Sync 3\nTotal 3\n";
        let operations = "8:16 Read 3\n8:16 Write 4\nTotal 7\n";
        assert_eq!(blkio(bytes, operations), Some(vec![want]));
        assert_eq!(blkio("Total 0\n", "Total 0\n"), Some(vec![]));
        assert_eq!(io_stat("8 rbytes=1\n"), None);
    }

    #[test]
    fn stalls() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.01 total=77\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        let pressure = pressure(text).unwrap();
        assert!((pressure.some.avg10 - 1.5).abs() < 1e-9);
        assert_eq!((pressure.some.total_us, pressure.full.total_us), (77, 5));
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_parser(text in "\\PC*", other in "\\PC*") {
            pids(&text);
            keyed(&text, &other);
            limit(&text);
            io_stat(&text);
            blkio(&text, &other);
            pressure(&text);
        }
    }
}
