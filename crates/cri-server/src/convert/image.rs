//! Images: what a request asks for, and how the store's images are shown.

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_image::{Image, ImageUser};
use pinpod_model::{Credentials, ImageSource};

use super::error::{ConvertError, without_nul};

/// The image that a container or mount uses.
pub(super) fn image_source(proto: cri::ImageSpec) -> Result<ImageSource, ConvertError> {
    if proto.image.is_empty() {
        return Err(ConvertError::missing("image"));
    }
    Ok(ImageSource {
        image: without_nul("image", proto.image)?,
        user_specified: proto.user_specified_image,
        runtime_handler: proto.runtime_handler,
        annotations: proto.annotations,
        image_ref: String::new(),
    })
}

/// The image as status shows it.
pub(super) fn image_spec(source: &ImageSource) -> cri::ImageSpec {
    cri::ImageSpec {
        image: source.image.clone(),
        annotations: source.annotations.clone(),
        user_specified_image: source.user_specified.clone(),
        runtime_handler: source.runtime_handler.clone(),
        image_ref: source.image_ref.clone(),
    }
}

/// An image of the store.
pub(crate) fn image(image: &Image) -> cri::Image {
    let (uid, username) = match &image.user {
        ImageUser::Unset => (None, String::new()),
        ImageUser::Uid(uid) => (
            Some(cri::Int64Value {
                value: (*uid).into(),
            }),
            String::new(),
        ),
        ImageUser::Username(name) => (None, name.clone()),
    };
    cri::Image {
        id: image.id.to_string(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        size: image.size,
        uid,
        username,
        spec: Some(cri::ImageSpec {
            annotations: image.annotations.clone(),
            ..cri::ImageSpec::default()
        }),
        pinned: image.pinned,
    }
}

/// The reference of a request to the image service.
pub(crate) fn image_reference(proto: Option<cri::ImageSpec>) -> Result<String, ConvertError> {
    match proto {
        Some(spec) if !spec.image.is_empty() => without_nul("image.image", spec.image),
        _ => Err(ConvertError::missing("image.image")),
    }
}

/// `None` where the request gives nothing to authenticate with.
pub(crate) fn credentials(
    proto: Option<cri::AuthConfig>,
) -> Result<Option<Credentials>, ConvertError> {
    let Some(proto) = proto else { return Ok(None) };
    let (mut username, mut password) = (proto.username, proto.password);
    if username.is_empty() && password.is_empty() && !proto.auth.is_empty() {
        (username, password) = decode_auth(&proto.auth).ok_or_else(|| {
            // The value is a secret, so the error must not show it.
            ConvertError::form("auth.auth", "<hidden>", "the base64 of user:password")
        })?;
    }
    let credentials = Credentials {
        username,
        password,
        identity_token: proto.identity_token,
        registry_token: proto.registry_token,
    };
    Ok((credentials != Credentials::default()).then_some(credentials))
}

/// Registries' tools pad the text with NUL or white space at times.
fn decode_auth(text: &str) -> Option<(String, String)> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((
        username.to_owned(),
        password.trim_end_matches('\0').to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(auth: &str) -> Option<cri::AuthConfig> {
        Some(cri::AuthConfig {
            auth: auth.into(),
            ..cri::AuthConfig::default()
        })
    }

    #[test]
    fn auth_is_base64_of_user_and_password() {
        let found = credentials(auth("dXNlcjpwYXNzOndvcmQ=")).unwrap().unwrap();
        assert_eq!(
            (found.username.as_str(), found.password.as_str()),
            ("user", "pass:word")
        );
    }

    #[test]
    fn a_bad_auth_is_refused_and_not_shown() {
        for bad in ["!", "dXNlcg==", "/w=="] {
            let error = credentials(auth(bad)).unwrap_err();
            assert_eq!(error.field(), "auth.auth", "{bad}");
            assert!(!error.to_string().contains(bad), "{error}");
        }
    }

    #[test]
    fn empty_is_none_and_tokens_are_kept() {
        assert_eq!(credentials(None), Ok(None));
        assert_eq!(credentials(auth("")), Ok(None));
        let token = cri::AuthConfig {
            registry_token: "t".into(),
            ..cri::AuthConfig::default()
        };
        assert_eq!(
            credentials(Some(token)).unwrap().unwrap().registry_token,
            "t"
        );
    }

    #[test]
    fn a_request_without_an_image_is_refused() {
        for none in [None, Some(cri::ImageSpec::default())] {
            assert_eq!(
                image_reference(none).unwrap_err().to_string(),
                "image.image is required"
            );
        }
    }
}
