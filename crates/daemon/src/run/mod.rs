//! `pinpod run`: one Pod manifest through CRI, as a kubelet would run it, shown and taken away.
//!
//! `embedded` is the daemon that is started when none answers on the socket; `pod` speaks CRI;
//! `volumes` makes what the manifest mounts; `show` tells what is there; `leftovers` checks that
//! nothing is, afterwards.

mod embedded;
mod leftovers;
mod pod;
mod show;
mod volumes;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use pinpod_config::Config;
use pinpod_cri_api::runtime::v1 as cri;

use crate::cli::RunArgs;
use crate::manifest::{self, Place, PodPlan};
use crate::serve::EndSignal;
use crate::{client, image};

use embedded::Embedded;
use pod::{Cri, RunningPod};

/// Runs the manifest, and answers whether nothing is left of it.
///
/// # Errors
/// If the pod cannot be run, or not be taken away.
pub(crate) async fn run(config: Config, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let (pod, ignored) = manifest::read(&args.manifest)?;
    for field in ignored {
        crate::complain(&format!(
            "warning: {field} means nothing here and is ignored"
        ));
    }
    let mut end = EndSignal::new()?;
    let (config, embedded) = match client::connect(&config.api.listen).await? {
        Some(_) => (config, None),
        None => {
            let (config, embedded) = Embedded::start(config, &args.state_dir).await?;
            (config, Some(embedded))
        }
    };
    let outcome = with_daemon(&config, args, &pod, &mut end).await;
    let ended = match embedded {
        Some(embedded) => embedded.end().await,
        None => Ok(()),
    };
    let clean = outcome?;
    ended?;
    crate::say(if clean {
        "nothing is left"
    } else {
        "see above for what is left"
    });
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Everything between a daemon's start and its end; true if nothing was left.
async fn with_daemon(
    config: &Config,
    args: &RunArgs,
    pod: &manifest::Pod,
    end: &mut EndSignal,
) -> anyhow::Result<bool> {
    let place = place(config)?;
    let plan = manifest::plan(pod, &place)?;
    let channel = client::connect(&config.api.listen)
        .await?
        .context("the daemon is gone")?;
    for archive in &args.image_archive {
        image::import_into(channel.clone(), archive, None)
            .await
            .with_context(|| format!("cannot import {}", archive.display()))?;
    }
    let mut cri = Cri::new(channel);
    let volumes = volumes::make(&plan, &place)?;
    let mut running = RunningPod::default();
    let ran = tokio::select! {
        ran = pod::run(&mut cri, &plan, &mut running) => ran,
        () = end.wait() => Err(anyhow::anyhow!("interrupted")),
    };
    let shown = match &ran {
        Ok(()) => {
            linger(args, &mut cri, &running, end).await;
            show::show(config, &mut cri, &plan, &running).await
        }
        Err(_) => Ok(()),
    };
    if ran.is_ok() && !args.rm {
        crate::say("\nCtrl-C takes all of it away");
        end.wait().await;
    }
    let watched = leftovers::Watched::note(config, &running);
    let removed = pod::remove(&mut cri, &running).await;
    volumes.remove()?;
    ran?;
    shown?;
    removed?;
    Ok(watched.is_clean(&mut cri).await)
}

/// Gives the containers time to say something before they are shown; with `--rm`, until all of
/// them ended, at most as long as asked.
async fn linger(args: &RunArgs, cri: &mut Cri, running: &RunningPod, end: &mut EndSignal) {
    let limit = Duration::from_secs(if args.rm { args.seconds } else { 1 });
    let all_ended = async {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tick.tick().await;
            if cri.have_ended(&running.containers).await {
                return;
            }
        }
    };
    tokio::select! {
        () = tokio::time::sleep(limit) => {}
        () = all_ended => {}
        () = end.wait() => {}
    }
}

/// What this node gives to a pod.
fn place(config: &Config) -> anyhow::Result<Place> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| path.to_owned());
    let uid = read("/proc/sys/kernel/random/uuid")?;
    let state: PathBuf = config.root.join("run");
    Ok(Place {
        uid: uid.trim().to_owned(),
        logs: state.join("logs"),
        volumes: state.join("volumes"),
        memory: memory(&read("/proc/meminfo")?),
        dns: resolv_conf(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
    })
}

/// `MemTotal` in bytes.
fn memory(meminfo: &str) -> i64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number
        .and_then(|number| number.parse::<i64>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024)
}

fn resolv_conf(text: &str) -> cri::DnsConfig {
    let mut dns = cri::DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let key = words.next();
        let rest = words.map(str::to_owned);
        match key {
            Some("nameserver") => dns.servers.extend(rest.take(1)),
            Some("search") => dns.searches = rest.collect(),
            Some("options") => dns.options.extend(rest),
            _ => {}
        }
    }
    dns
}

/// The pod's own directories below a plan's log directory.
fn log_directories(plan: &PodPlan) -> impl Iterator<Item = PathBuf> + '_ {
    let directory = PathBuf::from(&plan.sandbox.log_directory);
    plan.init_containers
        .iter()
        .chain(&plan.containers)
        .map(move |container| directory.join(&container.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_files_are_read() {
        assert_eq!(memory("MemTotal:       100 kB\nMemFree: 1 kB\n"), 102_400);
        let dns = resolv_conf("# x\nnameserver 1.1.1.1\nsearch a b\noptions ndots:5 rotate\n");
        assert_eq!(dns.servers, ["1.1.1.1"]);
        assert_eq!(dns.searches, ["a", "b"]);
        assert_eq!(dns.options, ["ndots:5", "rotate"]);
    }
}
