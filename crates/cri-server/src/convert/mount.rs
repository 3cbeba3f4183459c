//! Mounts, devices and id mappings.

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_model::{Device, IdMapping, Mount, MountPropagation};

use super::error::{ConvertError, Problem, absolute_path, node_path, relative_path};
use super::image::{image_source, image_spec};

/// A mount of a path or of an image.
pub(super) fn mount(proto: cri::Mount) -> Result<Mount, ConvertError> {
    let image = match proto.image {
        Some(spec) if !spec.image.is_empty() => {
            Some(image_source(spec).map_err(|error| error.within("image"))?)
        }
        // A message with nothing in it is how some clients say "no image".
        Some(_) if proto.host_path.is_empty() => {
            return Err(ConvertError::missing("image.image"));
        }
        _ => None,
    };
    if image.is_some() && !proto.host_path.is_empty() {
        return Err(ConvertError::new(
            "host_path",
            Problem::Excluded { with: "image" },
        ));
    }
    if image.is_none() && !proto.image_sub_path.is_empty() {
        return Err(ConvertError::new(
            "image_sub_path",
            Problem::Needs { what: "image" },
        ));
    }
    let propagation = propagation(proto.propagation)?;
    // Images are never written to, whether the request says so or not.
    let readonly = proto.readonly || image.is_some();
    if proto.recursive_read_only {
        let what = "readonly and private propagation";
        if !readonly || propagation != MountPropagation::Private {
            return Err(ConvertError::new(
                "recursive_read_only",
                Problem::Needs { what },
            ));
        }
    }
    let host_path = match image {
        Some(_) => String::new(),
        None => node_path("host_path", proto.host_path)?,
    };
    let uid_mappings = id_mappings("uidMappings", proto.uid_mappings)?;
    let gid_mappings = id_mappings("gidMappings", proto.gid_mappings)?;
    match (uid_mappings.is_empty(), gid_mappings.is_empty()) {
        (true, false) => Err(ConvertError::missing("uidMappings")),
        (false, true) => Err(ConvertError::missing("gidMappings")),
        _ => Ok(()),
    }?;
    Ok(Mount {
        container_path: absolute_path("container_path", proto.container_path)?,
        host_path,
        readonly,
        recursive_read_only: proto.recursive_read_only,
        selinux_relabel: proto.selinux_relabel,
        propagation,
        uid_mappings,
        gid_mappings,
        image,
        image_sub_path: relative_path("image_sub_path", proto.image_sub_path)?,
    })
}

/// The mount as status shows it.
pub(super) fn to_cri(mount: &Mount) -> cri::Mount {
    let propagation = match mount.propagation {
        MountPropagation::Private => cri::MountPropagation::PropagationPrivate,
        MountPropagation::HostToContainer => cri::MountPropagation::PropagationHostToContainer,
        MountPropagation::Bidirectional => cri::MountPropagation::PropagationBidirectional,
    };
    cri::Mount {
        container_path: mount.container_path.clone(),
        host_path: mount.host_path.clone(),
        readonly: mount.readonly,
        selinux_relabel: mount.selinux_relabel,
        propagation: propagation.into(),
        uid_mappings: mount.uid_mappings.iter().map(id_mapping_to_cri).collect(),
        gid_mappings: mount.gid_mappings.iter().map(id_mapping_to_cri).collect(),
        recursive_read_only: mount.recursive_read_only,
        image: mount.image.as_ref().map(image_spec),
        image_sub_path: mount.image_sub_path.clone(),
    }
}

fn propagation(number: i32) -> Result<MountPropagation, ConvertError> {
    match cri::MountPropagation::try_from(number) {
        Ok(cri::MountPropagation::PropagationPrivate) => Ok(MountPropagation::Private),
        Ok(cri::MountPropagation::PropagationHostToContainer) => {
            Ok(MountPropagation::HostToContainer)
        }
        Ok(cri::MountPropagation::PropagationBidirectional) => Ok(MountPropagation::Bidirectional),
        Err(_) => Err(ConvertError::new(
            "propagation",
            Problem::Choice {
                value: number.to_string(),
                allowed: "PROPAGATION_PRIVATE, _HOST_TO_CONTAINER, _BIDIRECTIONAL",
            },
        )),
    }
}

/// A list of mappings, none of them empty or beyond the last id.
pub(super) fn id_mappings(
    field: &str,
    protos: Vec<cri::IdMapping>,
) -> Result<Vec<IdMapping>, ConvertError> {
    let check = |(index, proto): (usize, cri::IdMapping)| {
        id_mapping(proto).map_err(|error| error.at(field, index))
    };
    protos.into_iter().enumerate().map(check).collect()
}

fn id_mapping(proto: cri::IdMapping) -> Result<IdMapping, ConvertError> {
    let fits = |first: u32| first.checked_add(proto.length).is_some();
    if proto.length == 0 || !fits(proto.host_id) || !fits(proto.container_id) {
        let max = i64::from(u32::MAX - proto.host_id.max(proto.container_id));
        let value = i64::from(proto.length);
        return Err(ConvertError::new(
            "length",
            Problem::Range { value, min: 1, max },
        ));
    }
    Ok(IdMapping {
        host_id: proto.host_id,
        container_id: proto.container_id,
        length: proto.length,
    })
}

/// A mapping as status shows it.
pub(super) fn id_mapping_to_cri(mapping: &IdMapping) -> cri::IdMapping {
    cri::IdMapping {
        host_id: mapping.host_id,
        container_id: mapping.container_id,
        length: mapping.length,
    }
}

/// A device of the node.
pub(super) fn device(proto: cri::Device) -> Result<Device, ConvertError> {
    let letters = &proto.permissions;
    let once = |letter: char| letters.matches(letter).count() <= 1;
    let good = letters
        .chars()
        .all(|letter| "rwm".contains(letter) && once(letter));
    if letters.is_empty() || !good {
        return Err(ConvertError::form(
            "permissions",
            letters,
            "letters of \"rwm\"",
        ));
    }
    Ok(Device {
        container_path: absolute_path("container_path", proto.container_path)?,
        host_path: node_path("host_path", proto.host_path)?,
        permissions: proto.permissions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut cri::Mount);

    fn good() -> cri::Mount {
        let mapping = cri::IdMapping {
            host_id: 65_536,
            container_id: 0,
            length: 65_536,
        };
        cri::Mount {
            container_path: "/data".into(),
            host_path: "/srv/data".into(),
            readonly: true,
            recursive_read_only: true,
            selinux_relabel: true,
            uid_mappings: vec![mapping],
            gid_mappings: vec![mapping],
            ..cri::Mount::default()
        }
    }

    fn image(reference: &str) -> Option<cri::ImageSpec> {
        Some(cri::ImageSpec {
            image: reference.into(),
            ..cri::ImageSpec::default()
        })
    }

    #[test]
    fn what_is_good_comes_back_the_same() {
        let changes: [Change; 5] = [
            |_| {},
            |m| {
                m.recursive_read_only = false;
                m.propagation = 2;
            },
            |m| {
                m.host_path.clear();
                m.image = image("sha256:00");
                m.image_sub_path = "a/b".into();
            },
            |m| {
                m.uid_mappings.clear();
                m.gid_mappings.clear();
            },
            |m| m.container_path = "/with space/:colon".into(),
        ];
        for change in changes {
            let mut proto = good();
            change(&mut proto);
            assert_eq!(to_cri(&mount(proto.clone()).unwrap()), proto);
        }
    }

    #[test]
    fn images_are_read_only_and_an_empty_image_is_none() {
        let proto = cri::Mount {
            container_path: "/image".into(),
            image: image("busybox"),
            ..cri::Mount::default()
        };
        assert!(mount(proto).unwrap().readonly);
        let proto = cri::Mount {
            image: image(""),
            ..good()
        };
        assert_eq!(mount(proto).unwrap().image, None);
    }

    #[test]
    fn what_is_bad_is_named() {
        let rro = "recursive_read_only needs readonly and private propagation";
        let cases: [(Change, &str); 14] = [
            (
                |m| m.container_path.clear(),
                "container_path is \"\", not an absolute path",
            ),
            (
                |m| m.container_path = "data".into(),
                "container_path is \"data\", not an absolute path",
            ),
            (
                |m| m.host_path = "/a/../b".into(),
                "host_path is \"/a/../b\", not a path without `..`",
            ),
            (
                |m| m.host_path.clear(),
                "host_path is \"\", not an absolute path",
            ),
            (
                |m| m.host_path = "/a\0".into(),
                "host_path is \"/a\\0\", not free of NUL",
            ),
            (|m| m.readonly = false, rro),
            (|m| m.propagation = 1, rro),
            (
                |m| m.propagation = 3,
                "propagation is 3, which is not one of PROPAGATION_PRIVATE, _HOST_TO_CONTAINER, _BIDIRECTIONAL",
            ),
            (
                |m| m.image = image("busybox"),
                "host_path cannot be set together with image",
            ),
            (
                |m| {
                    m.image = image("");
                    m.host_path.clear();
                },
                "image.image is required",
            ),
            (
                |m| m.image_sub_path = "a".into(),
                "image_sub_path needs image",
            ),
            (|m| m.uid_mappings.clear(), "uidMappings is required"),
            (|m| m.gid_mappings.clear(), "gidMappings is required"),
            (
                |m| m.gid_mappings[0].length = u32::MAX,
                "gidMappings[0].length is 4294967295, outside 1 to 4294901759",
            ),
        ];
        for (change, text) in cases {
            let mut proto = good();
            change(&mut proto);
            assert_eq!(mount(proto).unwrap_err().to_string(), text);
        }
        let climbing = cri::Mount {
            container_path: "/image".into(),
            image: image("busybox"),
            image_sub_path: "../etc".into(),
            ..cri::Mount::default()
        };
        assert_eq!(mount(climbing).unwrap_err().field(), "image_sub_path");
    }

    #[test]
    fn device_permissions() {
        for (letters, good) in [
            ("rwm", true),
            ("mrw", true),
            ("r", true),
            ("", false),
            ("rr", false),
            ("rx", false),
        ] {
            let proto = cri::Device {
                container_path: "/dev/a".into(),
                host_path: "/dev/b".into(),
                permissions: letters.into(),
            };
            assert_eq!(device(proto).is_ok(), good, "{letters:?}");
        }
        let relative = cri::Device {
            permissions: "r".into(),
            ..cri::Device::default()
        };
        assert_eq!(device(relative).unwrap_err().field(), "container_path");
    }
}
