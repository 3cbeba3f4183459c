//! The command line. Flags carry CRI-O's names where they mean the same thing; each is its key in
//! `pinpod.conf`, over which it stands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use pinpod_config::{Config, ConfigError, Files, LogFormat, LogLevel, Overrides};
use pinpod_model::CgroupDriver;

/// A container runtime for Kubernetes nodes: pods without a pause container.
#[derive(Debug, Parser)]
#[command(name = "pinpod", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every subcommand takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct Options {
    /// Configuration file [default: /etc/pinpod/pinpod.conf, if it is there]
    #[arg(long, short = 'c', global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of drop-ins, read after it by name [default: /etc/pinpod/pinpod.conf.d]
    #[arg(long, short = 'd', global = true, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// Unix socket that the kubelet connects to
    #[arg(long, global = true, value_name = "SOCKET")]
    listen: Option<PathBuf>,
    /// Directory of what survives a reboot
    #[arg(long, short = 'r', global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Directory of what does not
    #[arg(long, global = true, value_name = "DIR")]
    runroot: Option<PathBuf>,
    /// error, warn, info, debug or trace
    #[arg(long, short = 'l', global = true, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// text or json
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Handler of pods that name none
    #[arg(long, global = true, value_name = "HANDLER")]
    default_runtime: Option<String>,
    /// systemd or cgroupfs
    #[arg(long, global = true, value_name = "DRIVER", value_parser = cgroup_driver)]
    cgroup_manager: Option<CgroupDriver>,
    /// Directory below which namespaces are pinned
    #[arg(long, global = true, value_name = "DIR")]
    namespaces_dir: Option<PathBuf>,
    /// The pinpod-monitor binary [default: beside this one, or in /usr/libexec/pinpod]
    #[arg(long, global = true, value_name = "FILE")]
    monitor_path: Option<PathBuf>,
    /// The pinpod-init binary [default: likewise]
    #[arg(long, global = true, value_name = "FILE")]
    init_path: Option<PathBuf>,
    /// Seccomp profile of RuntimeDefault [default: built in]
    #[arg(long, global = true, value_name = "FILE")]
    seccomp_profile: Option<PathBuf>,
    /// AppArmor profile of RuntimeDefault
    #[arg(long, global = true, value_name = "NAME")]
    apparmor_profile: Option<String>,
    /// Most processes of a container; -1 is no limit
    #[arg(
        long,
        global = true,
        value_name = "COUNT",
        allow_negative_numbers = true
    )]
    pids_limit: Option<i64>,
    /// Credentials of pulls that bring none
    #[arg(long, global = true, value_name = "FILE")]
    global_auth_file: Option<PathBuf>,
    /// Mirrors, insecure registries, short names
    #[arg(long, global = true, value_name = "FILE")]
    registries_conf: Option<PathBuf>,
    /// Name of the CNI network [default: the first one in the directory]
    #[arg(long, global = true, value_name = "NAME")]
    cni_default_network: Option<String>,
    /// Directory of CNI configurations
    #[arg(long, global = true, value_name = "DIR")]
    cni_config_dir: Option<PathBuf>,
    /// Directory of CNI plugins; may be given several times
    #[arg(long = "cni-plugin-dir", global = true, value_name = "DIR")]
    cni_plugin_dirs: Vec<PathBuf>,
}

impl Options {
    /// The configuration in force: defaults, files, flags.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        let files = Files {
            config: self.config.clone(),
            config_dir: self.config_dir.clone(),
        };
        Config::load(&files, &self.overrides())
    }

    fn overrides(&self) -> Overrides {
        let given = self.clone();
        Overrides {
            root: given.root,
            runroot: given.runroot,
            listen: given.listen,
            log_level: given.log_level,
            log_format: given.log_format,
            default_runtime: given.default_runtime,
            cgroup_manager: given.cgroup_manager,
            namespaces_dir: given.namespaces_dir,
            monitor_path: given.monitor_path,
            init_path: given.init_path,
            seccomp_profile: given.seccomp_profile,
            apparmor_profile: given.apparmor_profile,
            pids_limit: given.pids_limit,
            global_auth_file: given.global_auth_file,
            registries_conf: given.registries_conf,
            cni_default_network: given.cni_default_network,
            cni_config_dir: given.cni_config_dir,
            cni_plugin_dirs: given.cni_plugin_dirs,
        }
    }
}

fn cgroup_driver(text: &str) -> Result<CgroupDriver, String> {
    match text {
        "systemd" => Ok(CgroupDriver::Systemd),
        "cgroupfs" => Ok(CgroupDriver::Cgroupfs),
        _ => Err("is neither systemd nor cgroupfs".to_owned()),
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve CRI until SIGTERM or SIGINT; containers run on
    Serve,
    /// Print the configuration in force as TOML
    Config {
        /// Print the default one, with a comment on each key
        #[arg(long)]
        default: bool,
    },
    /// Say what this node has and lacks; exit code 1 if something needed is missing
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a Kubernetes Pod manifest through CRI, show what is there, and take it away at Ctrl-C
    Run(RunArgs),
    /// Images without a registry
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Print the version of pinpod, and of the daemon that answers on the socket
    Version,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A v1 Pod, YAML or JSON; `-` is standard input
    pub(crate) manifest: PathBuf,
    /// Take everything away once the containers ended, or after `--for`
    #[arg(long)]
    pub(crate) rm: bool,
    /// With `--rm`: seconds that the containers are given to end by themselves
    #[arg(long = "for", default_value_t = 5, value_name = "SECONDS")]
    pub(crate) seconds: u64,
    /// Import this OCI layout or archive first; may be given several times
    #[arg(long, value_name = "PATH")]
    pub(crate) image_archive: Vec<PathBuf>,
    /// State of the daemon that is started when none answers on the socket; removed at the end
    #[arg(long, value_name = "DIR", default_value = "/var/lib/pinpod-run")]
    pub(crate) state_dir: PathBuf,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Import the images of an OCI layout, an archive of one, or an archive of `docker save`
    Import {
        /// Directory or file
        path: PathBuf,
        /// Reference that the image gets, when there is one image
        #[arg(long, value_name = "REFERENCE")]
        tag: Option<String>,
    },
    /// List images
    List,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_over_defaults_on_either_side_of_the_subcommand() {
        let line = [
            "pinpod",
            "--root",
            "/a",
            "config",
            "--cni-plugin-dir",
            "/x",
            "--cni-plugin-dir",
            "/y",
            "--cgroup-manager",
            "cgroupfs",
        ];
        let overrides = Cli::try_parse_from(line).unwrap().options.overrides();
        assert_eq!(overrides.root, Some("/a".into()));
        assert_eq!(
            overrides.cni_plugin_dirs,
            [PathBuf::from("/x"), PathBuf::from("/y")]
        );
        assert_eq!(overrides.cgroup_manager, Some(CgroupDriver::Cgroupfs));
    }
}
