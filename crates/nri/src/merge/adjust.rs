//! One plugin's adjustment, put into the sum and into what the next plugin sees.

use super::Creation;
use super::entries::{Place, Wanted, list, map};
use super::resources;
use crate::api::{
    CdiDevice, ContainerAdjustment, Field, Hooks, KeyValue, LinuxContainerAdjustment, LinuxDevice,
    LinuxNamespace, LinuxRdt, Mount, PosixRlimit,
};
use crate::error::NriError;

type Outcome = Result<(), NriError>;

/// Puts an adjustment in.
pub(super) fn apply(creation: &mut Creation, wanted: ContainerAdjustment, plugin: &str) -> Outcome {
    let id = creation.container.id.clone();
    let place = |field| Place {
        container: &id,
        field,
        plugin,
    };
    let (sum, own) = (
        &mut creation.adjust.annotations,
        &mut creation.container.annotations,
    );
    let owners = &mut creation.updates.owners;
    map(
        (sum, own),
        wanted.annotations,
        owners,
        place(Field::Annotations),
    )?;
    mounts(creation, wanted.mounts, place(Field::Mounts))?;
    env(creation, wanted.env, place(Field::Env))?;
    args(creation, wanted.args, plugin)?;
    if let Some(wanted) = wanted.hooks {
        hooks(creation, wanted, plugin);
    }
    if let Some(wanted) = wanted.linux {
        linux(creation, wanted, plugin)?;
    }
    rlimits(creation, wanted.rlimits, plugin)?;
    cdi_devices(creation, wanted.cdi_devices, plugin)
}

fn mounts(creation: &mut Creation, wanted: Vec<Mount>, place: Place<'_>) -> Outcome {
    let wanted = Wanted::of(wanted);
    let mark = |destination| Mount {
        destination,
        ..Mount::default()
    };
    let owners = &mut creation.updates.owners;
    list(&mut creation.adjust.mounts, &wanted, owners, place, mark)?;
    let own = &mut creation.container.mounts;
    own.retain(|mount| !wanted.touches(&mount.destination));
    own.extend(wanted.set);
    Ok(())
}

fn env(creation: &mut Creation, wanted: Vec<KeyValue>, place: Place<'_>) -> Outcome {
    let wanted = Wanted::of(wanted);
    let mark = |key| KeyValue {
        key,
        value: String::new(),
    };
    let owners = &mut creation.updates.owners;
    list(&mut creation.adjust.env, &wanted, owners, place, mark)?;
    let own = &mut creation.container.env;
    own.retain(|pair| {
        let key = pair.split_once('=').map_or(pair.as_str(), |(key, _)| key);
        !wanted.touches(key)
    });
    own.extend(
        wanted
            .set
            .iter()
            .map(|it| format!("{}={}", it.key, it.value)),
    );
    Ok(())
}

/// A first argument that is empty says that another plugin's are replaced.
fn args(creation: &mut Creation, mut wanted: Vec<String>, plugin: &str) -> Outcome {
    let id = creation.container.id.clone();
    match wanted.first() {
        None => return Ok(()),
        Some(first) if first.is_empty() => {
            wanted.remove(0);
            creation.owners().clear(&id, Field::Args, None, plugin);
        }
        Some(_) => {}
    }
    creation.owners().claim(&id, Field::Args, None, plugin)?;
    creation.adjust.args.clone_from(&wanted);
    creation.container.args = wanted;
    Ok(())
}

/// Hooks add up; nobody owns them alone.
fn hooks(creation: &mut Creation, wanted: Hooks, plugin: &str) {
    if wanted == Hooks::default() {
        return;
    }
    for into in [&mut creation.adjust.hooks, &mut creation.container.hooks] {
        let into = into.get_or_insert_default();
        into.prestart.extend(wanted.prestart.iter().cloned());
        into.create_runtime
            .extend(wanted.create_runtime.iter().cloned());
        into.create_container
            .extend(wanted.create_container.iter().cloned());
        into.start_container
            .extend(wanted.start_container.iter().cloned());
        into.poststart.extend(wanted.poststart.iter().cloned());
        into.poststop.extend(wanted.poststop.iter().cloned());
    }
    let id = creation.container.id.clone();
    creation.owners().join(&id, Field::OciHooks, plugin);
}

fn rlimits(creation: &mut Creation, wanted: Vec<PosixRlimit>, plugin: &str) -> Outcome {
    let id = creation.container.id.clone();
    for limit in wanted {
        let key = Some(limit.r#type.as_str());
        creation.owners().claim(&id, Field::Rlimits, key, plugin)?;
        let own = &mut creation.container.rlimits;
        own.retain(|known| known.r#type != limit.r#type);
        own.push(limit.clone());
        creation.adjust.rlimits.push(limit);
    }
    Ok(())
}

/// References to devices are only added; the same one by two plugins is a conflict.
fn cdi_devices(creation: &mut Creation, wanted: Vec<CdiDevice>, plugin: &str) -> Outcome {
    let id = creation.container.id.clone();
    for device in wanted {
        let key = Some(device.name.as_str());
        creation
            .owners()
            .claim(&id, Field::CdiDevices, key, plugin)?;
        creation.adjust.cdi_devices.push(device);
    }
    Ok(())
}

fn linux(creation: &mut Creation, wanted: LinuxContainerAdjustment, plugin: &str) -> Outcome {
    let id = creation.container.id.clone();
    let place = |field| Place {
        container: &id,
        field,
        plugin,
    };
    devices(creation, wanted.devices, place(Field::Devices))?;
    if let Some(wanted) = &wanted.resources {
        resources::claim(creation.owners(), &id, wanted, plugin)?;
        let sum = creation.adjust.linux.get_or_insert_default();
        resources::overlay(sum.resources.get_or_insert_default(), wanted);
        let own = creation.container.linux.get_or_insert_default();
        resources::overlay(own.resources.get_or_insert_default(), wanted);
    }
    namespaces(creation, wanted.namespaces, plugin)?;
    rdt(creation, wanted.rdt, plugin)?;
    let owners = &mut creation.updates.owners;
    let sum = creation.adjust.linux.get_or_insert_default();
    let own = creation.container.linux.get_or_insert_default();
    map(
        (&mut sum.sysctl, &mut own.sysctl),
        wanted.sysctl,
        owners,
        place(Field::Sysctl),
    )?;
    let net_devices = (&mut sum.net_devices, &mut own.net_devices);
    map(
        net_devices,
        wanted.net_devices,
        owners,
        place(Field::LinuxNetDevices),
    )?;
    if !wanted.cgroups_path.is_empty() {
        owners.claim(&id, Field::CgroupsPath, None, plugin)?;
        own.cgroups_path.clone_from(&wanted.cgroups_path);
        sum.cgroups_path = wanted.cgroups_path;
    }
    macro_rules! whole {
        ($($part:ident: $field:ident),*) => {$(
            if let Some(value) = wanted.$part {
                owners.claim(&id, Field::$field, None, plugin)?;
                own.$part = Some(value.clone());
                sum.$part = Some(value);
            }
        )*};
    }
    whole!(
        oom_score_adj: OomScoreAdj,
        io_priority: IoPriority,
        seccomp_policy: SeccompPolicy,
        scheduler: LinuxSched
    );
    if let Some(policy) = wanted.memory_policy {
        owners.claim(&id, Field::MemoryPolicy, None, plugin)?;
        sum.memory_policy = Some(policy);
    }
    Ok(())
}

fn devices(creation: &mut Creation, wanted: Vec<LinuxDevice>, place: Place<'_>) -> Outcome {
    let wanted = Wanted::of(wanted);
    let mark = |path| LinuxDevice {
        path,
        ..LinuxDevice::default()
    };
    let owners = &mut creation.updates.owners;
    let sum = creation.adjust.linux.get_or_insert_default();
    list(&mut sum.devices, &wanted, owners, place, mark)?;
    let own = &mut creation.container.linux.get_or_insert_default().devices;
    own.retain(|device| !wanted.touches(&device.path));
    own.extend(wanted.set);
    Ok(())
}

/// A namespace is claimed by taking it away, too.
fn namespaces(creation: &mut Creation, wanted: Vec<LinuxNamespace>, plugin: &str) -> Outcome {
    let id = creation.container.id.clone();
    for namespace in wanted {
        let gone = super::removal(&namespace.r#type);
        let kind = gone.unwrap_or(&namespace.r#type).to_owned();
        let is_gone = gone.is_some();
        creation
            .owners()
            .claim(&id, Field::Namespace, Some(&kind), plugin)?;
        let own = &mut creation.container.linux.get_or_insert_default().namespaces;
        own.retain(|known| known.r#type != kind);
        if !is_gone {
            own.push(namespace.clone());
        }
        let sum = creation.adjust.linux.get_or_insert_default();
        sum.namespaces.push(namespace);
    }
    Ok(())
}

fn rdt(creation: &mut Creation, wanted: Option<LinuxRdt>, plugin: &str) -> Outcome {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let id = creation.container.id.clone();
    let owners = &mut creation.updates.owners;
    let sum = creation.adjust.linux.get_or_insert_default();
    let sum = sum.rdt.get_or_insert_default();
    let own = creation.container.linux.get_or_insert_default();
    let own = own.rdt.get_or_insert_default();
    if wanted.remove {
        for field in [
            Field::RdtClosId,
            Field::RdtSchemata,
            Field::RdtEnableMonitoring,
        ] {
            owners.clear(&id, field, None, plugin);
        }
        *own = LinuxRdt::default();
        *sum = LinuxRdt {
            remove: true,
            ..LinuxRdt::default()
        };
    }
    macro_rules! whole {
        ($($part:ident: $field:ident),*) => {$(
            if let Some(value) = wanted.$part {
                owners.claim(&id, Field::$field, None, plugin)?;
                own.$part = Some(value.clone());
                sum.$part = Some(value);
            }
        )*};
    }
    whole!(clos_id: RdtClosId, schemata: RdtSchemata, enable_monitoring: RdtEnableMonitoring);
    Ok(())
}
