//! A spec of ours run by the installed runc: the process inside tells what it was given. Needs
//! root, runc and busybox; says so and fails where they are missing.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it should be"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use pinpod_bundle::host::{container_devices, create_missing_sources, node_facts};
use pinpod_bundle::seccomp::Profile;
use pinpod_bundle::{
    ContainerInput, ImageDefaults, NamespacePaths, PodFiles, PodInput, SpecDefaults, SpecInput,
    files, runtime_spec, user,
};
use pinpod_model::{
    Capabilities, ContainerConfig, ContainerId, ContainerMetadata, ContainerSecurity, Device,
    ImageSource, Labels, LinuxResources, Mount, MountPropagation, NamespaceOptions, PidMode, PodId,
    PodMetadata, PodSandboxConfig, PodSecurity, ProfileSource,
};

#[expect(
    clippy::disallowed_methods,
    reason = "a test runs programs and waits for them in its own thread"
)]
fn program(name: &str) -> Command {
    Command::new(name)
}

/// A process that holds namespaces open, and is gone with the test.
struct Holder(Child);

impl Holder {
    fn start() -> Self {
        let mut child = program("unshare")
            .args([
                "--net",
                "--ipc",
                "--uts",
                "sh",
                "-c",
                "echo ready; exec sleep 60",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0_u8; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        Self(child)
    }

    fn namespace(&self, kind: &str) -> Option<PathBuf> {
        Some(PathBuf::from(format!("/proc/{}/ns/{kind}", self.0.id())))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn container(script: &str) -> ContainerConfig {
    ContainerConfig {
        metadata: ContainerMetadata {
            name: "test".into(),
            attempt: 0,
        },
        image: ImageSource::default(),
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        args: Vec::new(),
        working_dir: String::new(),
        env: Vec::new(),
        mounts: Vec::new(),
        devices: Vec::new(),
        cdi_devices: Vec::new(),
        labels: Labels::new(),
        annotations: Labels::new(),
        log_path: String::new(),
        stdin: false,
        stdin_once: false,
        tty: false,
        resources: LinuxResources::default(),
        security: ContainerSecurity {
            namespaces: NamespaceOptions {
                pid: PidMode::Container,
                ..NamespaceOptions::default()
            },
            ..ContainerSecurity::default()
        },
        stop_signal: None,
    }
}

fn pod() -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: PodMetadata {
            name: "pod".into(),
            uid: "u".into(),
            namespace: "default".into(),
            attempt: 0,
        },
        hostname: "inside".into(),
        log_directory: String::new(),
        dns: None,
        port_mappings: Vec::new(),
        labels: Labels::new(),
        annotations: Labels::new(),
        cgroup_parent: String::new(),
        security: PodSecurity {
            privileged: true,
            ..PodSecurity::default()
        },
        sysctls: BTreeMap::new(),
        overhead: None,
        resources: None,
        runtime_handler: None,
    }
}

fn make_rootfs(rootfs: &Path) {
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        std::fs::create_dir_all(rootfs.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    let applets = "sh grep id hostname cat ls touch mount chroot mkdir pwd env unshare wc";
    for applet in applets.split_whitespace() {
        std::fs::hard_link(rootfs.join("bin/busybox"), rootfs.join("bin").join(applet)).unwrap();
    }
    // Debian's busybox is linked dynamically.
    let linked = program("ldd").arg("/bin/busybox").output().unwrap();
    for word in String::from_utf8_lossy(&linked.stdout).split_whitespace() {
        if word.starts_with('/') {
            let target = rootfs.join(word.trim_start_matches('/'));
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(word, target).unwrap();
        }
    }
    std::fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:\n",
    )
    .unwrap();
    std::fs::write(
        rootfs.join("etc/group"),
        "root:x:0:\nweb:x:33:\nextra:x:50:web\n",
    )
    .unwrap();
}

/// Runs the container to its end and gives back what it printed.
fn run(config: &ContainerConfig, image_user: &str) -> Output {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("rootfs");
    make_rootfs(&rootfs);
    let file = |name: &str, content: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        Some(path)
    };
    let pod_files = PodFiles {
        hostname: file("hostname", files::hostname("inside")),
        hosts: file("hosts", files::hosts("inside", &[])),
        resolv_conf: file("resolv.conf", "nameserver 10.0.0.1\n".into()),
        shm: None,
    };
    let holder = Holder::start();
    let namespaces = NamespacePaths {
        net: holder.namespace("net"),
        ipc: holder.namespace("ipc"),
        uts: holder.namespace("uts"),
        pid: None,
        user: None,
    };
    let node = node_facts().unwrap();
    let runtime = pinpod_config::Config::default().runtime;
    let defaults = SpecDefaults::from_config(&runtime, Profile::builtin()).unwrap();
    let found = user::resolve(&rootfs, &config.security, image_user).unwrap();
    let pod = pod();
    let privileged = config.security.privileged;
    let devices = container_devices(config, &pod.annotations, &defaults, privileged).unwrap();
    create_missing_sources(&config.mounts).unwrap();
    let container_id = ContainerId::generate().unwrap();
    let cgroup = format!("/pinpod-bundle-test-{}", container_id.short());
    let spec = runtime_spec(&SpecInput {
        pod: PodInput {
            id: &PodId::generate().unwrap(),
            config: &pod,
            namespaces: &namespaces,
            files: &pod_files,
        },
        container: ContainerInput {
            id: &container_id,
            config,
            image: &ImageDefaults::default(),
            user: &found,
            rootfs: &rootfs,
            cgroups_path: &cgroup,
            devices: &devices,
            kept: &pinpod_bundle::KeptOptions::new(),
            localhost_seccomp: None,
        },
        node: &node,
        defaults: &defaults,
    })
    .unwrap();
    let text = serde_json::to_vec_pretty(&spec).unwrap();
    std::fs::write(dir.path().join("config.json"), text).unwrap();
    program("runc")
        .arg("--root")
        .arg(dir.path().join("state"))
        .args(["run", "--bundle"])
        .arg(dir.path())
        .arg(container_id.as_str())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text
}

#[test]
fn a_confined_container() {
    let mut config = container(
        "grep -E '^(NoNewPrivs|Seccomp|Cap...):' /proc/self/status; id; hostname; pwd
         echo home=$HOME; cat /etc/resolv.conf; wc -c </proc/interrupts
         touch /proc/sys/kernel/panic && echo wrote proc
         touch /x || echo root is read-only
         mount -t tmpfs t /tmp || echo no mount
         unshare -n true || echo no namespace
         chroot / /bin/true || echo no chroot
         touch /dev/shm/y && echo shm; ls /dev/nothing; ls /proc/1/ns >/dev/null && echo own pid",
    );
    config.security.seccomp = Some(ProfileSource::RuntimeDefault);
    config.security.no_new_privs = true;
    config.security.readonly_rootfs = true;
    config.security.masked_paths = vec!["/proc/interrupts".into()];
    config.security.readonly_paths = vec!["/proc/sys".into()];
    config.security.supplemental_groups = vec![1234];
    config.security.capabilities = Capabilities {
        drop: vec!["ALL".into()],
        add: vec!["NET_BIND_SERVICE".into()],
        add_ambient: Vec::new(),
    };
    config.resources.memory_limit = 64 << 20;
    config.resources.cpu_shares = 128;
    config.resources.oom_score_adj = -998;
    config.devices = vec![Device {
        container_path: "/dev/nothing".into(),
        host_path: "/dev/null".into(),
        permissions: "rw".into(),
    }];
    let text = printed(&run(&config, "web"));
    for line in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "0",
        "CapBnd:\t0000000000000400",
        "CapEff:\t0000000000000000",
        "CapInh:\t0000000000000000",
        "uid=33(web) gid=33(web) groups=33(web),50(extra),1234",
        "inside",
        "/",
        "home=/srv",
        "nameserver 10.0.0.1",
        "root is read-only",
        "no mount",
        "no namespace",
        "no chroot",
        "shm",
        "/dev/nothing",
        "own pid",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line:?} is not in\n{text}"
        );
    }
    assert!(!text.contains("wrote proc"), "{text}");
}

#[test]
fn root_without_privilege() {
    let mut config = container(
        "touch /proc/sys/kernel/panic || echo proc is read-only; touch /sys/x || echo so is sys
         grep -E '^cgroup2? ' /proc/self/mounts | grep -v ' ro,' || echo and the cgroups; mount -t tmpfs t /tmp || echo no mount
         mkdir /made && echo the root is not",
    );
    config.security.seccomp = Some(ProfileSource::RuntimeDefault);
    config.security.readonly_paths = vec!["/proc/sys".into()];
    let text = printed(&run(&config, ""));
    let lines = [
        "proc is read-only",
        "so is sys",
        "and the cgroups",
        "no mount",
        "the root is not",
    ];
    for line in lines {
        assert!(
            text.lines().any(|found| found == line),
            "{line:?} is not in\n{text}"
        );
    }
}

#[test]
fn a_privileged_container() {
    let mut config = container(
        "grep -E '^(Seccomp|CapEff):' /proc/self/status; mount -t tmpfs t /tmp && echo mounted
         ls /dev/full; touch /proc/sys/kernel/panic && echo wrote proc",
    );
    config.security.privileged = true;
    config.security.seccomp = Some(ProfileSource::RuntimeDefault);
    config.security.masked_paths = vec!["/proc/kcore".into()];
    config.security.readonly_paths = vec!["/proc/sys".into()];
    let text = printed(&run(&config, ""));
    for line in ["Seccomp:\t0", "mounted", "/dev/full", "wrote proc"] {
        assert!(
            text.lines().any(|found| found == line),
            "{line:?} is not in\n{text}"
        );
    }
}

#[test]
fn mounts_ambient_capabilities_and_unconfined() {
    let source = tempfile::tempdir().unwrap();
    let mut config = container(
        "grep -E '^(Seccomp|CapAmb):' /proc/self/status; cat /etc/hosts /deep/er/file
         touch /deep/er/x || echo deep is read-only; touch /deep/y && echo wrote",
    );
    std::fs::write(source.path().join("hosts"), "kubelet's hosts\n").unwrap();
    std::fs::create_dir(source.path().join("er")).unwrap();
    std::fs::write(source.path().join("er/file"), "content\n").unwrap();
    let bind = |from: &str, to: &str, readonly| Mount {
        container_path: to.into(),
        host_path: source.path().join(from).to_str().unwrap().into(),
        readonly,
        recursive_read_only: readonly,
        selinux_relabel: false,
        propagation: MountPropagation::Private,
        uid_mappings: Vec::new(),
        gid_mappings: Vec::new(),
        image: None,
        image_sub_path: String::new(),
    };
    config.mounts = vec![
        bind("er", "/deep/er", true),
        bind("new/directory", "/deep", false),
        bind("hosts", "/etc/hosts", false),
    ];
    config.security.run_as_user = Some(0);
    config.security.capabilities.add_ambient = vec!["NET_RAW".into()];
    let text = printed(&run(&config, ""));
    for line in [
        "Seccomp:\t0",
        "CapAmb:\t0000000000002000",
        "kubelet's hosts",
        "content",
        "deep is read-only",
        "wrote",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line:?} is not in\n{text}"
        );
    }
}
