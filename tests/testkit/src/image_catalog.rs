//! The images that tests run, made of Debian's programs.

use serde_json::json;

use crate::{Image, ImageBuilder, Result, program};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/:/bin/false\n\
                      app:x:1000:1000:app:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\napp:x:1000:\nextra:x:2000:app\n";

async fn base() -> Result<ImageBuilder> {
    let mut image = ImageBuilder::new();
    for directory in [
        "/dev",
        "/proc",
        "/sys",
        "/etc",
        "/root",
        "/home/app",
        "/var/log",
        "/run",
    ] {
        image.directory(directory, 0o755)?;
    }
    image.directory("/tmp", 0o1777)?;
    image.file("/etc/passwd", 0o644, PASSWD.as_bytes())?;
    image.file("/etc/group", 0o644, GROUP.as_bytes())?;
    image.program("/bin/busybox", "/bin/busybox").await?;
    // Hard links: a test may hide one applet without the others.
    for applet in program::run("/bin/busybox", &["--list"]).await?.lines() {
        if applet != "busybox" {
            image.hard_link(&format!("/bin/{applet}"), "/bin/busybox")?;
        }
    }
    Ok(image)
}

/// A shell with its tools; runs `sh` when not told otherwise.
///
/// # Errors
/// When busybox is not installed.
pub async fn busybox() -> Result<Image> {
    let mut image = base().await?;
    image.set("Cmd", json!(["sh"]));
    image.build("localhost:5000/test/busybox:1")
}

/// Another small image: runs as a user of its own, in a directory of its own, with an entrypoint, a
/// volume and a stop signal.
///
/// # Errors
/// When busybox is not installed.
pub async fn tiny() -> Result<Image> {
    let mut image = base().await?;
    image.file("/etc/tiny", 0o644, b"tiny\n")?;
    image.set("Entrypoint", json!(["/bin/sh", "-c"]));
    image.set("Cmd", json!(["exec sleep 3600"]));
    image.set("User", json!("app"));
    image.set("WorkingDir", json!("/home/app"));
    image.set("StopSignal", json!("SIGUSR1"));
    image.set("Volumes", json!({"/data": {}}));
    image.build("localhost:5000/test/tiny:1")
}

/// A web server on port 80 that says `pinpod`.
///
/// # Errors
/// When nginx is not installed.
pub async fn nginx() -> Result<Image> {
    const CONF: &str = "daemon off;\nuser root;\nworker_processes 1;\npid /run/nginx.pid;\n\
        error_log stderr;\nevents {}\nhttp {\n  access_log /dev/stdout;\n  server {\n    \
        listen 80;\n    listen [::]:80;\n    root /srv;\n  }\n}\n";
    let mut image = base().await?;
    image.program("/usr/sbin/nginx", "/usr/sbin/nginx").await?;
    for directory in ["/var/lib/nginx", "/var/log/nginx"] {
        image.directory(directory, 0o755)?;
    }
    image.symlink("/var/run", "/run")?;
    image.file("/etc/nginx/nginx.conf", 0o644, CONF.as_bytes())?;
    image.file("/srv/index.html", 0o644, b"pinpod\n")?;
    image.set("Cmd", json!(["/usr/sbin/nginx"]));
    image.build("localhost:5000/test/nginx:1")
}
