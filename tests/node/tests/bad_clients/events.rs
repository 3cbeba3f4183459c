//! Clients of GetContainerEvents that never read.

use std::time::Duration;

use anyhow::Context as _;
use pinpod_cri_api::runtime::v1::{
    ContainerEventResponse, GetEventsRequest, NamespaceMode, StatusRequest,
};
use pinpod_testkit::{Node, Options, Result, on_node, until};
use tonic::{Code, Status, Streaming};

use crate::socket::tally;
use crate::table::{Target, Watch};

/// How many events may wait for a client.
const RING: u64 = 1024;
/// Pods that come and go meanwhile, with four events each.
const PODS: u64 = 500;

/// Reads to the error that ends the stream: how many events came, and the error.
async fn rest(mut events: Streaming<ContainerEventResponse>) -> Result<(u64, Status)> {
    let mut heard = 0;
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), events.message());
        match next.await.context("it hangs")? {
            Ok(event) => {
                event.context("it ended without a word")?;
                heard += 1;
            }
            Err(status) => return Ok((heard, status)),
        }
    }
}

async fn followers(node: &Node) -> Result<u64> {
    let request = StatusRequest { verbose: true };
    let info = node.runtime().status(request).await?.into_inner().info;
    let events: serde_json::Value = serde_json::from_str(&info["events"])?;
    events["followers"].as_u64().context("no followers in info")
}

#[test]
fn followers_that_never_read() -> Result {
    on_node(
        "events::followers_that_never_read",
        Options::default(),
        async |node| {
            let target = Target::start(node, "followers").await?;
            let watch = Watch::begin(node)?;
            // Half of them on connections of their own, half on one; the daemon may be hardly more
            // than one event ahead of each.
            let mut streams = Vec::new();
            let shared = node.runtime_apart(1024)?;
            for number in 0..200 {
                let mut client = match number % 2 {
                    0 => node.runtime_apart(1024)?,
                    _ => shared.clone(),
                };
                let follow = client.get_container_events(GetEventsRequest {}).await;
                streams.push(follow.context("GetContainerEvents")?.into_inner());
            }
            for number in 0..PODS {
                let mut config = node.pod(&format!("p{number}"));
                config.hostname = String::new();
                let linux = config.linux.get_or_insert_default();
                let security = linux.security_context.get_or_insert_default();
                let namespaces = security.namespace_options.get_or_insert_default();
                namespaces.set_network(NamespaceMode::Node);
                let pod = node.run_pod(&config).await?;
                node.remove_pod(&pod).await?;
            }
            assert_eq!(followers(node).await?, 200);
            // Half of them go without a word, the others read at last.
            drop(streams.split_off(100));
            let mut answers = Vec::new();
            let all: Vec<_> = streams
                .into_iter()
                .map(|it| tokio::spawn(rest(it)))
                .collect();
            for one in all {
                let (heard, status) = one.await??;
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                let lost = status.message().split(' ').next();
                let lost: u64 = lost.context("no number")?.parse()?;
                assert_eq!(heard + lost + RING, PODS * 4, "heard {heard}, lost {lost}");
                answers.push(format!("{:?}", status.code()));
            }
            drop(shared);
            let what = "GetContainerEvents: 200 clients that read nothing of 2,000 events";
            watch.end(node, what, &tally(answers), 64 << 10).await?;
            until("their end", Duration::from_secs(5), async || {
                Ok((followers(node).await? == 0).then_some(()))
            })
            .await?;
            node.remove_pod(&target.pod).await
        },
    )
}
