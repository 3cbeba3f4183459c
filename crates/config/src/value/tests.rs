//! Tables and properties of the values.

use super::*;

#[test]
fn intervals() {
    for (text, millis) in [
        ("0s", 0),
        ("10s", 10_000),
        ("1h30m", 5_400_000),
        ("500ms", 500),
        ("1m1s5ms", 61_005),
    ] {
        let parsed: Interval = text.parse().unwrap();
        assert_eq!(parsed.0, Duration::from_millis(millis), "{text}");
        assert_eq!(parsed.to_string().parse::<Interval>().unwrap(), parsed);
    }
    for bad in [
        "",
        "10",
        "s",
        "-1s",
        "1d",
        "1.5s",
        "99999999999999999999s",
        "9999999999999999h",
    ] {
        assert!(bad.parse::<Interval>().is_err(), "{bad:?}");
    }
}

#[test]
fn limits() {
    for (text, name, soft, hard) in [
        ("nofile=1024:4096", "nofile", 1024, 4096),
        ("nofile=1024", "nofile", 1024, 1024),
        ("RLIMIT_CORE=0:-1", "core", 0, u64::MAX),
        ("memlock=unlimited", "memlock", u64::MAX, u64::MAX),
    ] {
        let parsed: Ulimit = text.parse().unwrap();
        assert_eq!(
            (parsed.name.as_str(), parsed.soft, parsed.hard),
            (name, soft, hard)
        );
        assert_eq!(parsed.to_string().parse::<Ulimit>().unwrap(), parsed);
    }
    for bad in [
        "",
        "nofile",
        "files=1",
        "nofile=2:1",
        "nofile=x",
        "nofile=1:2:3",
        "nofile=-2",
    ] {
        assert!(bad.parse::<Ulimit>().is_err(), "{bad:?}");
    }
}

#[test]
fn devices() {
    for (text, host, container, permissions) in [
        ("/dev/fuse", "/dev/fuse", "/dev/fuse", "rwm"),
        ("/dev/fuse:r", "/dev/fuse", "/dev/fuse", "r"),
        ("/dev/sda:/dev/disk", "/dev/sda", "/dev/disk", "rwm"),
        ("/dev/sda:/dev/disk:rw", "/dev/sda", "/dev/disk", "rw"),
    ] {
        let DeviceEntry(parsed) = text.parse().unwrap();
        assert_eq!(parsed.host_path, host);
        assert_eq!(parsed.container_path, container);
        assert_eq!(parsed.permissions, permissions);
    }
    for bad in [
        "",
        "/etc/passwd",
        "/dev/a:b",
        "/dev/a:/b:x",
        "/dev/a:/b:rw:z",
        "/dev/a:/b:",
    ] {
        assert!(bad.parse::<DeviceEntry>().is_err(), "{bad:?}");
    }
}

#[test]
fn assignments() {
    let parsed: Assignment = "net.ipv4.ping_group_range=0 2147483647".parse().unwrap();
    assert_eq!(parsed.name, "net.ipv4.ping_group_range");
    assert_eq!(parsed.value, "0 2147483647");
    for bad in ["", "a", "=b", "a=\0"] {
        assert!(bad.parse::<Assignment>().is_err(), "{bad:?}");
    }
}
