//! Tables and properties of the lookups.

use super::*;
use proptest::prelude::*;

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
# comment:x:9:9::/:
broken
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
1234:x:77:78::/home/digits:/bin/sh
default-user:x:1000:1000::/home/default-user:/bin/sh
nohome:x:5:6
";
const GROUP: &str = "\
root:x:0:
www-data:x:33:
group-defined-in-image:x:50000:default-user,other
staff:x:50: default-user , www-data
4321:x:99:
bad:x:many:default-user
";

fn security() -> ContainerSecurity {
    ContainerSecurity::default()
}

fn lookup(security: &ContainerSecurity, image_user: &str) -> Result<ResolvedUser, UserError> {
    resolve_in(PASSWD, GROUP, security, image_user)
}

#[test]
fn users_of_the_image() {
    for (image_user, uid, gid, groups, home) in [
        ("", 0, 0, vec![0], "/root"),
        ("0", 0, 0, vec![0], "/root"),
        ("root", 0, 0, vec![0], "/root"),
        ("www-data", 33, 33, vec![33, 50], "/var/www"),
        ("1002", 1002, 0, vec![0], "/"),
        ("1003:1003", 1003, 1003, vec![1003], "/"),
        ("www-data:www-data", 33, 33, vec![33, 50], "/var/www"),
        ("www-data:50000", 33, 50000, vec![50000, 50], "/var/www"),
        (
            "1000",
            1000,
            1000,
            vec![1000, 50000, 50],
            "/home/default-user",
        ),
        (
            "1000:staff",
            1000,
            50,
            vec![50, 50000],
            "/home/default-user",
        ),
        ("1234", 77, 78, vec![78], "/home/digits"),
        ("root:4321", 0, 99, vec![99], "/root"),
        ("nohome", 5, 6, vec![6], "/"),
        (":staff", 0, 50, vec![50], "/root"),
        ("root:", 0, 0, vec![0], "/root"),
    ] {
        let user = lookup(&security(), image_user).unwrap();
        assert_eq!((user.uid, user.gid), (uid, gid), "{image_user:?}");
        assert_eq!(user.additional_gids, groups, "{image_user:?}");
        assert_eq!(user.home, home, "{image_user:?}");
    }
}

#[test]
fn the_request_replaces_the_image() {
    let by_name = ContainerSecurity {
        run_as_username: Some("www-data".into()),
        ..security()
    };
    let user = lookup(&by_name, "default-user:staff").unwrap();
    assert_eq!(
        (user.uid, user.gid, user.username.as_str()),
        (33, 33, "www-data")
    );
    let by_number = ContainerSecurity {
        run_as_user: Some(1000),
        run_as_group: Some(7),
        supplemental_groups: vec![1234, 50000, 7],
        ..security()
    };
    let user = lookup(&by_number, "www-data").unwrap();
    assert_eq!((user.uid, user.gid), (1000, 7));
    assert_eq!(user.additional_gids, [7, 50000, 50, 1234]);
}

#[test]
fn strict_keeps_to_the_request() {
    let strict = ContainerSecurity {
        run_as_user: Some(1000),
        supplemental_groups: vec![1234],
        supplemental_groups_policy: SupplementalGroupsPolicy::Strict,
        ..security()
    };
    assert_eq!(lookup(&strict, "").unwrap().additional_gids, [1000, 1234]);
}

#[test]
fn what_is_missing_is_named() {
    for (image_user, text) in [
        (
            "nobody",
            "user \"nobody\" is not in the image's /etc/passwd",
        ),
        (
            "root:wheel",
            "group \"wheel\" is not in the image's /etc/group",
        ),
        ("-1", "user \"-1\" is not in the image's /etc/passwd"),
        (
            "4294967296",
            "user \"4294967296\" is not in the image's /etc/passwd",
        ),
    ] {
        assert_eq!(
            lookup(&security(), image_user).unwrap_err().to_string(),
            text
        );
    }
    let group_alone = ContainerSecurity {
        run_as_group: Some(5),
        ..security()
    };
    assert!(matches!(
        lookup(&group_alone, ""),
        Err(UserError::GroupWithoutUser(5))
    ));
}

#[test]
fn an_image_cannot_lead_out_of_its_root() {
    let dir = tempfile::tempdir().unwrap();
    let etc = dir.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("passwd"), "evil:x:1:1::/:\n").unwrap();
    std::os::unix::fs::symlink(outside.path().join("passwd"), etc.join("passwd")).unwrap();
    assert!(matches!(
        resolve(dir.path(), &security(), "evil"),
        Err(UserError::UnknownUser(_))
    ));
    std::fs::remove_file(etc.join("passwd")).unwrap();
    std::fs::write(dir.path().join("real"), "good:x:11:12::/home/good:\n").unwrap();
    std::os::unix::fs::symlink("/real", etc.join("passwd")).unwrap();
    let user = resolve(dir.path(), &security(), "good").unwrap();
    assert_eq!((user.uid, user.gid), (11, 12));
    std::fs::create_dir(etc.join("group")).unwrap();
    assert!(matches!(
        resolve(dir.path(), &security(), "good"),
        Err(UserError::Read {
            file: "/etc/group",
            ..
        })
    ));
}

proptest! {
    #[test]
    fn no_text_breaks_the_parsers(passwd in ".{0,200}", group in ".{0,200}", user in ".{0,20}") {
        // Any outcome is right as long as it is one.
        let _outcome = resolve_in(&passwd, &group, &security(), &user);
    }

    #[test]
    fn a_written_entry_is_found(name in "[a-z][a-z0-9-]{0,10}", uid: u32, gid: u32) {
        let passwd = format!("x:x:x\n{name}:x:{uid}:{gid}:gecos:/home/{name}:/bin/sh\n");
        let user = resolve_in(&passwd, "", &security(), &name).unwrap();
        prop_assert_eq!((user.uid, user.gid), (uid, gid));
        let by_number = resolve_in(&passwd, "", &security(), &uid.to_string()).unwrap();
        prop_assert_eq!(by_number.username, name);
    }
}
