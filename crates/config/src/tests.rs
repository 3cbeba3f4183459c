//! The configuration as a whole: files over files, flags over files, and errors that say where.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use pinpod_model::CgroupDriver;
use proptest::prelude::*;

use crate::{Config, ConfigError, Files, LogLevel, Overrides};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/pinpod/pinpod.conf"), text)
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn the_commented_defaults_are_the_defaults() {
    let text = Config::default_toml_commented().unwrap();
    assert_eq!(parse(&text).unwrap(), Config::default());
    assert_eq!(parse("").unwrap(), Config::default());
    let mut comments = text.lines().peekable();
    while let Some(line) = comments.next() {
        if line.contains(" = ") && !line.starts_with('#') {
            continue;
        }
        if line.starts_with('#') {
            assert!(comments.peek().is_some(), "a comment without a key");
        }
    }
}

#[test]
fn the_effective_configuration_reads_back() {
    let mut config = parse(
        "[pinpod.runtime]\ndefault_ulimits = [\"nofile=1024:2048\"]\n\
         [pinpod.runtime.runtimes.crun]\nruntime_path = \"/usr/bin/crun\"\n\
         [pinpod.image]\npull_progress_timeout = \"1m30s\"\n",
    )
    .unwrap();
    config.runtime.cgroup_manager = CgroupDriver::Cgroupfs;
    assert_eq!(parse(&config.to_toml().unwrap()).unwrap(), config);
}

#[test]
fn every_key_is_in_the_manual() {
    let manual = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("../../docs/configuration.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let mut keys = Vec::new();
    Config::keys("pinpod", &mut keys);
    assert!(keys.len() > 30);
    for full in keys {
        let (table, key) = full.rsplit_once('.').unwrap();
        let heading = format!("## `[{table}]`");
        let section = manual.split_once(&heading).map(|(_, rest)| rest);
        let section = section.unwrap_or_else(|| panic!("no heading {heading}"));
        let section = section.split("\n## ").next().unwrap();
        assert!(
            section.contains(&format!("| `{key}` |")),
            "{full} is not in the manual"
        );
    }
}

#[test]
fn errors_say_where() {
    for (text, expected) in [
        (
            "[pinpod]\nrooot = \"/x\"\n",
            "/etc/pinpod/pinpod.conf:2:1: pinpod.rooot: unknown field `rooot`",
        ),
        (
            "[pinpod.api]\n\n  grpc_max_send_msg_size = \"big\"\n",
            "/etc/pinpod/pinpod.conf:3:28: pinpod.api.grpc_max_send_msg_size: invalid type",
        ),
        (
            "[pinpod.runtime]\ndefault_ulimits = [\n  \"nofile=1\",\n  \"what=2\",\n]\n",
            "/etc/pinpod/pinpod.conf:2:19: pinpod.runtime.default_ulimits: \"what=2\" names no",
        ),
        (
            "[pinpod]\nroot = \"relative\"\n",
            "/etc/pinpod/pinpod.conf:2:8: pinpod.root: relative is not an absolute path",
        ),
        (
            "[pinpod.runtime]\ndefault_runtime = \"crun\"\n",
            "/etc/pinpod/pinpod.conf:2:19: pinpod.runtime.default_runtime: \"crun\" has no table",
        ),
        (
            "[pinpod.runtime.runtimes.Kata]\n",
            "/etc/pinpod/pinpod.conf:1:26: pinpod.runtime.runtimes.Kata: \"Kata\" is not a handler",
        ),
        (
            "[pinpod.runtime.runtimes.runc]\nruntime_type = \"vm\"\n",
            "/etc/pinpod/pinpod.conf:2:16: pinpod.runtime.runtimes.runc.runtime_type: unknown variant",
        ),
        (
            "[pinpod.api]\nstream_tls_cert = \"/c\"\nstream_enable_tls = true\n",
            "/etc/pinpod/pinpod.conf:3:21: pinpod.api.stream_enable_tls: needs stream_tls_key",
        ),
        (
            "[pinpod.api]\ntls_min_version = \"1.1\"\n",
            "/etc/pinpod/pinpod.conf:2:19: pinpod.api.tls_min_version: unknown variant `1.1`",
        ),
        ("[pinpod\n", "/etc/pinpod/pinpod.conf:1:8: unclosed table"),
        (
            "[crio]\n",
            "/etc/pinpod/pinpod.conf:1:2: crio: unknown field `crio`",
        ),
        (
            "[pinpod.runtime]\ncgroup_manager = \"cgroups\"\n",
            "/etc/pinpod/pinpod.conf:2:18: pinpod.runtime.cgroup_manager: unknown variant",
        ),
        (
            "[pinpod.image]\npull_progress_timeout = 10\n",
            "/etc/pinpod/pinpod.conf:2:25: pinpod.image.pull_progress_timeout: invalid type",
        ),
    ] {
        let found = error(text);
        assert!(
            found.starts_with(expected),
            "{text}\n  gave {found}\n  want {expected}"
        );
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let long = format!("listen = \"/{}\"", "x".repeat(120));
    for (table, line) in [
        ("api", long.as_str()),
        ("api", "listen = \"pinpod.sock\""),
        ("api", "grpc_max_recv_msg_size = 10"),
        ("api", "stream_idle_timeout = \"0s\""),
        ("api", "stream_max_connections = 0"),
        ("api", "stream_tls_cert = \"cert.pem\""),
        ("runtime", "pids_limit = 0"),
        ("runtime", "default_capabilities = [\"NET-RAW\"]"),
        ("runtime", "default_env = [\"A=1\", \"A=2\"]"),
        (
            "runtime",
            "additional_devices = [\"/dev/null\", \"/dev/zero:/dev/null\"]",
        ),
        ("runtime.runtimes.runc", "container_create_timeout = 0"),
        ("network", "plugin_dirs = []"),
        ("image", "pinned_images = [\" \"]"),
    ] {
        let text = format!("[pinpod.{table}]\n{line}\n");
        let (key, _) = line.split_once(' ').unwrap();
        assert!(
            error(&text).contains(&format!("pinpod.{table}.{key}: ")),
            "{text}"
        );
    }
}

#[test]
fn later_files_and_flags_win_key_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("pinpod.conf");
    let drop_ins = dir.path().join("pinpod.conf.d");
    std::fs::create_dir(&drop_ins).unwrap();
    let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
    write(
        &main,
        "[pinpod]\nroot = \"/a\"\nrunroot = \"/run/a\"\n\
         [pinpod.runtime]\nlog_level = \"warn\"\npids_limit = 5\n\
         [pinpod.runtime.runtimes.crun]\nruntime_path = \"/one/crun\"\n",
    );
    write(&drop_ins.join("20-b.conf"), "[pinpod]\nroot = \"/c\"\n");
    write(
        &drop_ins.join("10-a.conf"),
        "[pinpod]\nroot = \"/b\"\n[pinpod.runtime.runtimes.crun]\ncontainer_create_timeout = 60\n",
    );
    write(&drop_ins.join("30-c.conf.disabled"), "not TOML");
    let files = Files {
        config: Some(main),
        config_dir: Some(drop_ins),
    };
    let flags = Overrides {
        log_level: Some(LogLevel::Debug),
        default_runtime: Some("crun".into()),
        cni_plugin_dirs: vec!["/cni".into()],
        ..Overrides::default()
    };
    let config = Config::load(&files, &flags).unwrap();
    assert_eq!(config.root, Path::new("/c"));
    assert_eq!(config.runroot, Path::new("/run/a"));
    assert_eq!(config.runtime.log_level, LogLevel::Debug);
    assert_eq!(config.runtime.pids_limit, 5);
    assert_eq!(config.network.plugin_dirs, [PathBuf::from("/cni")]);
    let crun = &config.runtime.runtimes.0["crun"];
    assert_eq!(crun.runtime_path, Path::new("/one/crun"));
    assert_eq!(crun.container_create_timeout, 60);
    assert!(config.runtime.runtimes.0.contains_key("runc"));
}

#[test]
fn a_named_file_must_be_there() {
    let missing = PathBuf::from("/nonexistent/pinpod.conf");
    let files = Files {
        config: Some(missing.clone()),
        config_dir: None,
    };
    let outcome = Config::load(&files, &Overrides::default());
    assert!(matches!(outcome, Err(ConfigError::Read { file, .. }) if file == missing));
}

#[test]
fn wrong_flags_are_named() {
    let flag = |flags: Overrides| {
        let mut config = Config::default();
        config.apply_flags_for_test(&flags).unwrap_err().to_string()
    };
    let root = Overrides {
        root: Some("x".into()),
        ..Overrides::default()
    };
    assert_eq!(flag(root), "--root: x is not an absolute path");
    let runtime = Overrides {
        default_runtime: Some("kata".into()),
        ..Overrides::default()
    };
    assert!(flag(runtime).starts_with("--default-runtime: \"kata\" has no table"));
}

#[test]
fn programs_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let program = |name: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.path().join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let runc = program("runc", 0o755);
    let monitor = program("pinpod-monitor", 0o755);
    program("pinpod-init", 0o644);
    let mut config = Config::default();
    let search = OsStr::new("/nonexistent").to_owned();
    assert_eq!(config.runtime_path("runc", &search), None);
    let search = std::env::join_paths(["/nonexistent".into(), dir.path().to_owned()]).unwrap();
    assert_eq!(config.runtime_path("runc", &search), Some(runc));
    assert_eq!(config.runtime_path("crun", &search), None);
    assert_eq!(
        config.runtime_root("runc"),
        Some(PathBuf::from("/run/pinpod/runtimes/runc"))
    );
    let executable = dir.path().join("pinpod");
    assert_eq!(config.monitor_path(&executable), Some(monitor.clone()));
    assert_ne!(
        config.init_path(&executable),
        Some(dir.path().join("pinpod-init"))
    );
    config.runtime.init_path = monitor.clone();
    assert_eq!(config.init_path(Path::new("/x")), Some(monitor));
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "(\\[pinpod(\\.[a-z]{1,8})?\\]\n|[a-z_é]{1,9} ?= ?[0-9\"\\[é]{0,4}\n?|.{0,9}\n?){0,6}") {
        // Any outcome is right as long as it is one.
        let _outcome = parse(&text);
    }
}
