//! Exec and attach in a pod with users of its own: the streams are made outside of its user namespace
//! and used inside.

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{
    ExecRequest, IdMapping, NamespaceMode, PodSandboxConfig, UserNamespace,
};
use pinpod_testkit::{Node, Options, Result, busybox, container, on_node};

use crate::client::{attach_url, exec_url, request, stream_client};

/// A pod whose root is another user of the node.
pub(crate) fn pod_with_users(node: &Node, name: &str) -> PodSandboxConfig {
    let mut config = node.pod(name);
    let ids = vec![IdMapping {
        host_id: 300_000,
        container_id: 0,
        length: 65_536,
    }];
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    let namespaces = security.namespace_options.get_or_insert_default();
    namespaces.userns_options = Some(UserNamespace {
        mode: NamespaceMode::Pod.into(),
        uids: ids.clone(),
        gids: ids,
    });
    config
}

#[test]
fn streams_reach_users_of_a_pod() -> Result {
    on_node(
        "users::streams_reach_users_of_a_pod",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = pod_with_users(node, "users");
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            let id = node.launch(&pod, &config, sleep).await?;
            let mapped = node.output(&id, &["cat", "/proc/self/uid_map"]).await?;
            ensure!(mapped.contains("300000"), "{mapped}");
            for transport in ["spdy", "websocket"] {
                // The streams can be opened by their names, and stdin ends.
                let script = "id -u; wc -c < /dev/stdin; echo told > /dev/stderr; exit 6";
                let url = exec_url(node, request(&id, &["sh", "-c", script], true, true)).await?;
                let args = ["exec", "-transport", transport, "-stdin", "-stderr", &url];
                let output = stream_client(&args, &[b'x'; 300_000]).await?;
                ensure!(output.stdout == b"0\n300000\n", "{output:?}");
                ensure!(output.stderr.starts_with(b"told\n"), "{output:?}");
                ensure!(output.status.code() == Some(6), "{output:?}");

                // A terminal that belongs to the pod's root, with the size of the client.
                let script = "until [ \"$(stty size 2>/dev/null)\" = \"24 80\" ]; do sleep 0.1; done; \
                    stat -L -c %u $(tty) /dev/stdout; echo more > /dev/tty; exit 5";
                let terminal = ExecRequest {
                    tty: true,
                    ..request(&id, &["sh", "-c", script], true, false)
                };
                let url = exec_url(node, terminal).await?;
                let args = ["exec", "-transport", transport, "-stdin", "-tty"];
                let args = [&args[..], &["-sizes", "80x24", &url]].concat();
                let output = stream_client(&args, b"").await?;
                ensure!(output.stdout == b"0\r\n0\r\nmore\r\n", "{output:?}");
                ensure!(output.status.code() == Some(5), "{output:?}");

                // The first process itself.
                let mut once = container(&format!("once-{transport}"), &image, &["cat"]);
                (once.stdin, once.stdin_once) = (true, true);
                let once = node.launch(&pod, &config, once).await?;
                let url = attach_url(node, &once).await?;
                let args = ["exec", "-transport", transport, "-stdin", &url];
                let output = stream_client(&args, b"hello\n").await?;
                ensure!(output.stdout == b"hello\n", "{output:?}");
                assert_eq!(node.exited(&once).await?.exit_code, 0);
            }
            let log = node.log_path(&config, "once-spdy");
            let log = std::fs::read_to_string(&log).context("its log")?;
            ensure!(log.contains("stdout F hello"), "{log}");
            node.remove_pod(&pod).await
        },
    )
}
