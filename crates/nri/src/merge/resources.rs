//! Limits, each of which has an owner of its own.

use super::Owners;
use crate::api::{Field, LinuxCpu, LinuxMemory, LinuxResources};
use crate::error::NriError;

/// Claims every limit that is set for the plugin.
pub(super) fn claim(
    owners: &mut Owners,
    container: &str,
    wanted: &LinuxResources,
    plugin: &str,
) -> Result<(), NriError> {
    let mut claim = |field, key: Option<&str>| owners.claim(container, field, key, plugin);
    for field in memory_fields(wanted.memory.as_ref().unwrap_or(&LinuxMemory::default())) {
        claim(field, None)?;
    }
    for field in cpu_fields(wanted.cpu.as_ref().unwrap_or(&LinuxCpu::default())) {
        claim(field, None)?;
    }
    for limit in &wanted.hugepage_limits {
        claim(Field::HugepageLimits, Some(&limit.page_size))?;
    }
    for key in wanted.unified.keys() {
        claim(Field::CgroupsUnified, Some(key))?;
    }
    let whole = [
        (wanted.blockio_class.is_some(), Field::BlockioClass),
        (wanted.rdt_class.is_some(), Field::RdtClass),
        (wanted.pids.is_some(), Field::PidsLimit),
    ];
    for (_, field) in whole.into_iter().filter(|(is_set, _)| *is_set) {
        claim(field, None)?;
    }
    Ok(())
}

fn memory_fields(memory: &LinuxMemory) -> impl Iterator<Item = Field> {
    [
        (memory.limit.is_some(), Field::MemLimit),
        (memory.reservation.is_some(), Field::MemReservation),
        (memory.swap.is_some(), Field::MemSwapLimit),
        (memory.kernel.is_some(), Field::MemKernelLimit),
        (memory.kernel_tcp.is_some(), Field::MemTcpLimit),
        (memory.swappiness.is_some(), Field::MemSwappiness),
        (
            memory.disable_oom_killer.is_some(),
            Field::MemDisableOomKiller,
        ),
        (memory.use_hierarchy.is_some(), Field::MemUseHierarchy),
    ]
    .into_iter()
    .filter_map(|(is_set, field)| is_set.then_some(field))
}

fn cpu_fields(cpu: &LinuxCpu) -> impl Iterator<Item = Field> {
    [
        (cpu.shares.is_some(), Field::CpuShares),
        (cpu.quota.is_some(), Field::CpuQuota),
        (cpu.period.is_some(), Field::CpuPeriod),
        (cpu.realtime_runtime.is_some(), Field::CpuRealtimeRuntime),
        (cpu.realtime_period.is_some(), Field::CpuRealtimePeriod),
        (!cpu.cpus.is_empty(), Field::CpuSetCpUs),
        (!cpu.mems.is_empty(), Field::CpuSetMems),
    ]
    .into_iter()
    .filter_map(|(is_set, field)| is_set.then_some(field))
}

/// Puts the limits that `over` sets over those that `under` has.
pub fn overlay(under: &mut LinuxResources, over: &LinuxResources) {
    macro_rules! put {
        ($under:expr, $over:expr, $($part:ident),*) => {$(
            if $over.$part.is_some() {
                $under.$part = $over.$part.clone();
            }
        )*};
    }
    if let Some(over) = &over.memory {
        let under = under.memory.get_or_insert_default();
        put!(
            under,
            over,
            limit,
            reservation,
            swap,
            kernel,
            kernel_tcp,
            swappiness
        );
        put!(under, over, disable_oom_killer, use_hierarchy);
    }
    if let Some(over) = &over.cpu {
        let under = under.cpu.get_or_insert_default();
        put!(
            under,
            over,
            shares,
            quota,
            period,
            realtime_runtime,
            realtime_period
        );
        for (under, over) in [(&mut under.cpus, &over.cpus), (&mut under.mems, &over.mems)] {
            if !over.is_empty() {
                under.clone_from(over);
            }
        }
    }
    for limit in &over.hugepage_limits {
        under
            .hugepage_limits
            .retain(|known| known.page_size != limit.page_size);
        under.hugepage_limits.push(limit.clone());
    }
    under.devices.extend(over.devices.iter().cloned());
    under.unified.extend(over.unified.clone());
    put!(under, over, blockio_class, rdt_class, pids);
}
