//! Device nodes and the cgroup rules that guard them.

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use crate::SpecError;
use crate::host::{DeviceKind, Devices};

/// Character devices that every container may use, as the OCI runtime makes them: major, minor
/// (`None` is each), access.
const STANDARD: [(i64, Option<i64>, &str); 8] = [
    (1, Some(3), "rwm"), // null
    (1, Some(5), "rwm"), // zero
    (1, Some(7), "rwm"), // full
    (1, Some(8), "rwm"), // random
    (1, Some(9), "rwm"), // urandom
    (5, Some(0), "rwm"), // tty
    (5, Some(2), "rwm"), // ptmx
    (136, None, "rwm"),  // pts
];

fn device_type(kind: DeviceKind) -> LinuxDeviceType {
    match kind {
        DeviceKind::Character => LinuxDeviceType::C,
        DeviceKind::Block => LinuxDeviceType::B,
    }
}

/// The nodes to make.
pub(crate) fn nodes(devices: &Devices) -> Result<Vec<LinuxDevice>, SpecError> {
    devices
        .nodes
        .iter()
        .map(|device| {
            Ok(LinuxDeviceBuilder::default()
                .path(device.path.clone())
                .typ(device_type(device.kind))
                .major(device.major)
                .minor(device.minor)
                .file_mode(device.mode)
                .uid(device.uid)
                .gid(device.gid)
                .build()?)
        })
        .collect()
}

/// The rules, in the order in which they apply: nothing, the standard ones, those made; or all.
pub(crate) fn rules(devices: &Devices) -> Result<Vec<LinuxDeviceCgroup>, SpecError> {
    let everything = |allow| {
        LinuxDeviceCgroupBuilder::default()
            .allow(allow)
            .access("rwm")
            .build()
    };
    if devices.allow_all {
        return Ok(vec![everything(true)?]);
    }
    let mut rules = vec![everything(false)?];
    for (major, minor, access) in STANDARD {
        let mut rule = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(LinuxDeviceType::C)
            .major(major)
            .access(access);
        if let Some(minor) = minor {
            rule = rule.minor(minor);
        }
        rules.push(rule.build()?);
    }
    for device in &devices.nodes {
        rules.push(
            LinuxDeviceCgroupBuilder::default()
                .allow(true)
                .typ(device_type(device.kind))
                .major(device.major)
                .minor(device.minor)
                .access(device.access.clone())
                .build()?,
        );
    }
    Ok(rules)
}
