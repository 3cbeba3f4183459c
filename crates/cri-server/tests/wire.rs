//! The services on a Unix socket with a real engine that has no pods, asked by a gRPC client:
//! codes and messages as clients see them.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pinpod_bundle::{NodeFacts, SpecDefaults};
use pinpod_cgroup::Hierarchy;
use pinpod_cri_api::runtime::v1 as cri;
use pinpod_cri_api::runtime::v1::image_service_client::ImageServiceClient;
use pinpod_cri_api::runtime::v1::runtime_service_client::RuntimeServiceClient;
use pinpod_cri_server::{HandlerReport, NodeReport, Parts as ServiceParts, services};
use pinpod_image::{Images, ImagesConfig};
use pinpod_model::CgroupDriver;
use pinpod_network::{Deadlines, Network, NetworkConfig};
use pinpod_pod::{Engine, Parts, Plugins, Settings};
use pinpod_stats::Meter;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};

fn settings(directory: &Path) -> Settings {
    Settings {
        runroot: directory.join("run"),
        namespaces_dir: directory.join("namespaces"),
        cgroup_driver: CgroupDriver::Cgroupfs,
        handlers: Vec::new(),
        default_handler: "runc".into(),
        monitor_binary: "pinpod-monitor".into(),
        init_binary: "pinpod-init".into(),
        default_sysctls: Vec::new(),
        seccomp_dir: directory.to_owned(),
        spec_defaults: SpecDefaults::default(),
        shm_size: 64 << 20,
        unfetched_grace: Duration::from_secs(120),
    }
}

fn report() -> NodeReport {
    let handler = |name: &str, user_namespaces| HandlerReport {
        name: name.into(),
        recursive_read_only_mounts: true,
        user_namespaces,
    };
    NodeReport {
        version: "0.1.0".into(),
        cgroup_driver: CgroupDriver::Cgroupfs,
        handlers: vec![handler("crun", true), handler("runc", false)],
        default_handler: "runc".into(),
        user_namespaces_host_network: false,
        info: [("config".to_owned(), "{}".to_owned())].into(),
    }
}

/// Serves until the test's runtime ends.
async fn serve(directory: &Path) -> Channel {
    let image_settings = ImagesConfig {
        root: directory.join("images"),
        registries_conf: directory.join("registries.conf"),
        registries_dir: directory.join("registries.conf.d"),
        ..ImagesConfig::default()
    };
    let images = Images::open(image_settings).unwrap();
    let network = Network::new(NetworkConfig {
        conf_template: None,
        conf_dir: directory.join("net.d"),
        plugin_dirs: Vec::new(),
        default_network: None,
        cache_dir: directory.join("cni-cache"),
        deadlines: Deadlines::default(),
    });
    let parts = Parts {
        settings: settings(directory),
        node: NodeFacts::default(),
        cgroups: Hierarchy::detect().unwrap(),
        images: images.clone(),
        network: network.clone(),
        plugins: Arc::new(Plugins::none()),
    };
    let engine = Engine::recover(parts).await.unwrap();
    let streaming = pinpod_streaming::Config::default();
    let streaming = pinpod_streaming::Server::bind(streaming, engine.clone()).unwrap();
    let meter = Meter::new(pinpod_stats::Parts {
        engine: engine.clone(),
        images: images.clone(),
        cgroups: Hierarchy::detect().unwrap(),
        cgroup_driver: CgroupDriver::Cgroupfs,
        settings: pinpod_stats::Settings::default(),
    });
    let (runtime, image) = services(ServiceParts {
        engine,
        images,
        network,
        node: report(),
        streaming,
        meter,
    });

    let socket = directory.join("cri.sock");
    let incoming = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    tokio::spawn(
        Server::builder()
            .add_service(runtime)
            .add_service(image)
            .serve_with_incoming(incoming),
    );
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            UnixStream::connect(socket)
                .await
                .map(hyper_util::rt::TokioIo::new)
        }
    });
    Endpoint::from_static("http://pinpod")
        .connect_with_connector(connect)
        .await
        .unwrap()
}

fn code_and_message(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

#[tokio::test]
async fn version_status_and_settings() {
    let directory = tempfile::tempdir().unwrap();
    let mut runtime = RuntimeServiceClient::new(serve(directory.path()).await);

    let version = runtime
        .version(cri::VersionRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (version.runtime_name, version.runtime_api_version),
        ("pinpod".into(), "v1".into())
    );

    let request = cri::StatusRequest { verbose: true };
    let answer = runtime.status(request).await.unwrap().into_inner();
    let conditions = answer.status.unwrap().conditions;
    let ready: Vec<_> = conditions
        .iter()
        .map(|c| (c.r#type.as_str(), c.status))
        .collect();
    assert_eq!(ready, [("RuntimeReady", true), ("NetworkReady", false)]);
    assert!(
        !conditions[1].message.is_empty(),
        "no conflist, and no word about it"
    );
    let names: Vec<_> = answer
        .runtime_handlers
        .iter()
        .map(|h| h.name.as_str())
        .collect();
    assert_eq!(names, ["", "crun", "runc"]);
    let default = answer.runtime_handlers[0].features.unwrap();
    assert!(!default.user_namespaces, "the default handler is runc");
    assert_eq!(answer.info.keys().collect::<Vec<_>>(), ["config", "events"]);

    let settings = runtime
        .runtime_config(cri::RuntimeConfigRequest {})
        .await
        .unwrap();
    let driver = settings.into_inner().linux.unwrap().cgroup_driver;
    assert_eq!(driver, i32::from(cri::CgroupDriver::Cgroupfs));
}

#[tokio::test]
async fn what_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let channel = serve(directory.path()).await;
    let mut runtime = RuntimeServiceClient::new(channel.clone());

    let missing = "5d9f".to_owned();
    let request = cri::PodSandboxStatusRequest {
        pod_sandbox_id: missing.clone(),
        verbose: false,
    };
    let status = runtime.pod_sandbox_status(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    assert!(status.message().contains(&missing), "{status:?}");
    let request = cri::ContainerStatusRequest {
        container_id: missing.clone(),
        verbose: false,
    };
    assert_eq!(
        runtime.container_status(request).await.unwrap_err().code(),
        Code::NotFound
    );
    let request = cri::StartContainerRequest {
        container_id: missing.clone(),
    };
    assert_eq!(
        runtime.start_container(request).await.unwrap_err().code(),
        Code::NotFound
    );

    // Ending what is not there is no error.
    let request = cri::StopPodSandboxRequest {
        pod_sandbox_id: missing.clone(),
    };
    runtime.stop_pod_sandbox(request).await.unwrap();
    let request = cri::RemovePodSandboxRequest {
        pod_sandbox_id: missing.clone(),
    };
    runtime.remove_pod_sandbox(request).await.unwrap();
    let request = cri::StopContainerRequest {
        container_id: missing.clone(),
        timeout: 1,
    };
    runtime.stop_container(request).await.unwrap();
    let request = cri::RemoveContainerRequest {
        container_id: missing,
    };
    runtime.remove_container(request).await.unwrap();

    let list = runtime
        .list_pod_sandbox(cri::ListPodSandboxRequest::default())
        .await
        .unwrap();
    assert!(list.into_inner().items.is_empty());
    let stream = runtime
        .stream_containers(cri::StreamContainersRequest::default())
        .await
        .unwrap();
    assert_eq!(stream.into_inner().message().await.unwrap(), None);

    let mut images = ImageServiceClient::new(channel);
    let spec = cri::ImageSpec {
        image: "busybox".into(),
        ..Default::default()
    };
    let request = cri::ImageStatusRequest {
        image: Some(spec.clone()),
        verbose: true,
    };
    assert_eq!(
        images
            .image_status(request)
            .await
            .unwrap()
            .into_inner()
            .image,
        None
    );
    images
        .remove_image(cri::RemoveImageRequest { image: Some(spec) })
        .await
        .unwrap();
    let usage = images
        .image_fs_info(cri::ImageFsInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        usage.image_filesystems[0].fs_id,
        usage.container_filesystems[0].fs_id
    );
}

#[tokio::test]
async fn what_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let channel = serve(directory.path()).await;
    let mut runtime = RuntimeServiceClient::new(channel.clone());
    let mut images = ImageServiceClient::new(channel);

    let status = runtime
        .run_pod_sandbox(cri::RunPodSandboxRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        code_and_message(&status),
        (Code::InvalidArgument, "config is required")
    );
    let request = cri::PullImageRequest::default();
    let status = images.pull_image(request).await.unwrap_err();
    assert_eq!(
        code_and_message(&status),
        (Code::InvalidArgument, "image.image is required")
    );

    let unknown_handler = cri::RunPodSandboxRequest {
        config: Some(cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata {
                name: "web".into(),
                uid: "1".into(),
                namespace: "default".into(),
                attempt: 0,
            }),
            ..Default::default()
        }),
        runtime_handler: "nothing".into(),
    };
    let status = runtime.run_pod_sandbox(unknown_handler).await.unwrap_err();
    assert!(status.message().contains("nothing"), "{status:?}");

    let request = cri::CheckpointContainerRequest::default();
    let status = runtime.checkpoint_container(request).await.unwrap_err();
    let expected = (
        Code::InvalidArgument,
        "location is \"\", not an absolute path",
    );
    assert_eq!(code_and_message(&status), expected);
}
