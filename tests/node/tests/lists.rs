//! The Stream… calls say what the List… calls say, in messages that every client takes.

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1 as cri;
use pinpod_testkit::{Node, Options, Result, busybox, container, on_node, tiny};
use tonic::Streaming;

/// Most entries of one message.
const CHUNK: usize = 500;

/// A pod that takes no network plugin to make.
fn quick_pod(node: &Node, name: &str) -> cri::PodSandboxConfig {
    let mut config = node.pod(name);
    config.hostname = String::new();
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    let namespaces = security.namespace_options.get_or_insert_default();
    namespaces.set_network(cri::NamespaceMode::Node);
    config
}

/// What a stream brings, with the lengths of its messages.
async fn all<M, T>(
    mut stream: Streaming<M>,
    entries: fn(M) -> Vec<T>,
) -> Result<(Vec<T>, Vec<usize>)> {
    let (mut found, mut lengths) = (Vec::new(), Vec::new());
    while let Some(message) = stream.message().await? {
        let part = entries(message);
        lengths.push(part.len());
        found.extend(part);
    }
    Ok((found, lengths))
}

/// The identifiers of pods by both calls.
async fn pods(node: &Node, filter: Option<cri::PodSandboxFilter>) -> Result<usize> {
    let mut client = node.runtime();
    let request = cri::ListPodSandboxRequest {
        filter: filter.clone(),
    };
    let listed = client.list_pod_sandbox(request).await?.into_inner().items;
    let request = cri::StreamPodSandboxesRequest { filter };
    let stream = client.stream_pod_sandboxes(request).await?.into_inner();
    let (streamed, lengths) = all(stream, |it| it.pod_sandboxes).await?;
    assert_eq!(streamed, listed);
    assert_lengths(&lengths, listed.len());
    Ok(listed.len())
}

async fn containers(node: &Node, filter: Option<cri::ContainerFilter>) -> Result<Vec<String>> {
    let mut client = node.runtime();
    let request = cri::ListContainersRequest {
        filter: filter.clone(),
    };
    let listed = client
        .list_containers(request)
        .await?
        .into_inner()
        .containers;
    let request = cri::StreamContainersRequest { filter };
    let stream = client.stream_containers(request).await?.into_inner();
    let (streamed, lengths) = all(stream, |it| it.containers).await?;
    assert_eq!(streamed, listed);
    assert_lengths(&lengths, listed.len());
    let names = listed.into_iter().filter_map(|it| it.metadata);
    let mut names: Vec<_> = names.map(|it| it.name).collect();
    names.sort_unstable();
    Ok(names)
}

/// Whole messages, and the rest.
fn assert_lengths(lengths: &[usize], count: usize) {
    let whole = vec![CHUNK; count / CHUNK];
    let rest = Some(count % CHUNK).filter(|rest| *rest > 0);
    let expected: Vec<usize> = whole.into_iter().chain(rest).collect();
    assert_eq!(lengths, expected, "{count} entries");
}

#[test]
fn streams_say_what_lists_say() -> Result {
    on_node(
        "streams_say_what_lists_say",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            node.import(tiny().await?).await?;
            ensure!(pods(node, None).await? == 0);
            ensure!(containers(node, None).await?.is_empty());
            let mut configs = [quick_pod(node, "one"), quick_pod(node, "two")];
            configs[0]
                .labels
                .insert("app".to_owned(), "first".to_owned());
            let mut ids = Vec::new();
            for config in &configs {
                ids.push(node.run_pod(config).await?);
            }
            for name in ["runs", "waits", "ended"] {
                let mut main = container(name, &image, &["sleep", "1000"]);
                main.labels.insert("role".to_owned(), name.to_owned());
                let id = node.create_container(&ids[0], &configs[0], main).await?;
                if name != "waits" {
                    node.start_container(&id).await?;
                }
                if name == "ended" {
                    node.stop_container(&id, 0).await?;
                }
            }
            node.stop_pod(&ids[1]).await?;

            let labelled = cri::PodSandboxFilter {
                label_selector: configs[0].labels.clone(),
                ..Default::default()
            };
            let ready = cri::PodSandboxFilter {
                state: Some(cri::PodSandboxStateValue::default()),
                ..Default::default()
            };
            ensure!(pods(node, None).await? == 2);
            ensure!(pods(node, Some(labelled)).await? == 1);
            ensure!(pods(node, Some(ready)).await? == 1);
            assert_eq!(containers(node, None).await?, ["ended", "runs", "waits"]);
            let role = ("role".to_owned(), "waits".to_owned());
            let labelled = cri::ContainerFilter {
                label_selector: [role].into(),
                ..Default::default()
            };
            assert_eq!(containers(node, Some(labelled)).await?, ["waits"]);
            let exited = cri::ContainerFilter {
                state: Some(cri::ContainerStateValue {
                    state: cri::ContainerState::ContainerExited.into(),
                }),
                ..Default::default()
            };
            assert_eq!(containers(node, Some(exited)).await?, ["ended"]);
            images(node).await?;
            measured(node, &ids[0]).await?;
            for id in &ids {
                node.remove_pod(id).await?;
            }
            Ok(())
        },
    )
}

async fn images(node: &Node) -> Result {
    let mut client = node.images();
    let request = cri::ListImagesRequest::default();
    let listed = client.list_images(request).await?.into_inner().images;
    ensure!(listed.len() == 2, "{listed:?}");
    let request = cri::StreamImagesRequest::default();
    let stream = client.stream_images(request).await?.into_inner();
    let (streamed, _) = all(stream, |it| it.images).await?;
    assert_eq!(streamed, listed);
    let filter = Some(cri::ImageFilter {
        image: Some(cri::ImageSpec {
            image: listed[0].id.clone(),
            ..Default::default()
        }),
    });
    let request = cri::StreamImagesRequest { filter };
    let stream = client.stream_images(request).await?.into_inner();
    let (streamed, _) = all(stream, |it| it.images).await?;
    assert_eq!(streamed, listed[..1]);
    Ok(())
}

/// Numbers differ from one call to the next, so only of whom they are is compared.
async fn measured(node: &Node, pod: &str) -> Result {
    let mut client = node.runtime();
    let of = |it: &cri::ContainerStats| it.attributes.clone();
    for filter in [
        None,
        Some(cri::ContainerStatsFilter {
            label_selector: [("role".to_owned(), "runs".to_owned())].into(),
            ..Default::default()
        }),
    ] {
        let request = cri::ListContainerStatsRequest {
            filter: filter.clone(),
        };
        let listed = client.list_container_stats(request).await?.into_inner();
        let listed: Vec<_> = listed.stats.iter().map(of).collect();
        ensure!(
            listed.len() == if filter.is_some() { 1 } else { 3 },
            "{listed:?}"
        );
        let request = cri::StreamContainerStatsRequest { filter };
        let stream = client.stream_container_stats(request).await?.into_inner();
        let (streamed, _) = all(stream, |it| it.container_stats).await?;
        assert_eq!(streamed.iter().map(of).collect::<Vec<_>>(), listed);
    }
    let of = |it: &cri::PodSandboxStats| it.attributes.clone();
    for filter in [
        None,
        Some(cri::PodSandboxStatsFilter {
            id: pod.to_owned(),
            ..Default::default()
        }),
    ] {
        let request = cri::ListPodSandboxStatsRequest {
            filter: filter.clone(),
        };
        let listed = client.list_pod_sandbox_stats(request).await?.into_inner();
        let listed: Vec<_> = listed.stats.iter().map(of).collect();
        ensure!(!listed.is_empty(), "no statistics of pods");
        let request = cri::StreamPodSandboxStatsRequest { filter };
        let stream = client.stream_pod_sandbox_stats(request).await?.into_inner();
        let (streamed, _) = all(stream, |it| it.pod_sandbox_stats).await?;
        assert_eq!(streamed.iter().map(of).collect::<Vec<_>>(), listed);
    }
    let of = |it: &cri::PodSandboxMetrics| {
        let containers = it.container_metrics.iter();
        let containers = containers.map(|it| it.container_id.clone());
        (it.pod_sandbox_id.clone(), containers.collect::<Vec<_>>())
    };
    let request = cri::ListPodSandboxMetricsRequest {};
    let listed = client.list_pod_sandbox_metrics(request).await?.into_inner();
    let listed: Vec<_> = listed.pod_metrics.iter().map(of).collect();
    ensure!(listed.iter().any(|(id, _)| id == pod), "{listed:?}");
    let request = cri::StreamPodSandboxMetricsRequest {};
    let stream = client
        .stream_pod_sandbox_metrics(request)
        .await?
        .into_inner();
    let (streamed, _) = all(stream, |it| it.pod_sandbox_metrics).await?;
    assert_eq!(streamed.iter().map(of).collect::<Vec<_>>(), listed);
    Ok(())
}

#[test]
fn more_pods_than_a_message_has() -> Result {
    on_node(
        "more_pods_than_a_message_has",
        Options::default(),
        async |node| {
            let mut ids = Vec::new();
            for number in 0..=CHUNK {
                let config = quick_pod(node, &format!("p{number}"));
                ids.push(node.run_pod(&config).await?);
            }
            ensure!(pods(node, None).await? == CHUNK + 1);
            let mut client = node.runtime();
            let request = cri::StreamPodSandboxStatsRequest::default();
            let stream = client.stream_pod_sandbox_stats(request).await?.into_inner();
            let (streamed, lengths) = all(stream, |it| it.pod_sandbox_stats).await?;
            assert_lengths(&lengths, CHUNK + 1);
            let attributes = streamed.into_iter().filter_map(|it| it.attributes);
            let mut seen: Vec<_> = attributes.map(|it| it.id).collect();
            seen.sort_unstable();
            let mut expected = ids.clone();
            expected.sort_unstable();
            ensure!(seen == expected, "each pod once");
            for id in ids {
                node.remove_pod(&id).await.context(id)?;
            }
            Ok(())
        },
    )
}
