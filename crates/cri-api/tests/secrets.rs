//! What must not reach a log.

#[test]
fn secrets_are_not_printed() {
    let auth = pinpod_cri_api::runtime::v1::AuthConfig {
        username: "someone".into(),
        password: "hunter2".into(),
        ..Default::default()
    };
    let text = format!("{auth:?}");
    assert!(
        text.contains("someone") && !text.contains("hunter2"),
        "{text}"
    );
}
