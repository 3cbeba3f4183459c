//! References by table and by property.

use super::*;
use crate::image_name::ImageName;

const HEX: &str = "4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1";

#[test]
fn names_and_what_they_mean() {
    let at = format!("@sha256:{HEX}");
    for (text, expected) in [
        ("docker.io/busybox", "docker.io/library/busybox"),
        ("docker.io/org/app:1", "docker.io/org/app:1"),
        ("index.docker.io/busybox", "docker.io/library/busybox"),
        ("quay.io/busybox", "quay.io/busybox"),
        ("localhost/a", "localhost/a"),
        ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
        ("registry:5000/a", "registry:5000/a"),
        ("[::1]:5000/a", "[::1]:5000/a"),
        ("[fd00::1]/a", "[fd00::1]/a"),
        ("UPPER/a", "UPPER/a"),
        ("a.b/x-y/z__w/v.u:T_a.g-1", "a.b/x-y/z__w/v.u:T_a.g-1"),
        ("a.b/x---y", "a.b/x---y"),
    ] {
        for suffix in ["", at.as_str()] {
            let parsed = format!("{text}{suffix}").parse::<ImageReference>();
            let parsed = parsed.map(|reference| reference.to_string());
            assert_eq!(parsed, Ok(format!("{expected}{suffix}")), "{text}");
        }
    }
}

#[test]
fn names_without_a_registry() {
    for text in ["busybox", "busybox:1.36", "org/app", "a/b/c:x"] {
        let name = text.parse::<ImageName>().unwrap();
        assert!(matches!(name, ImageName::Unqualified(_)), "{text}");
        assert_eq!(name.to_string(), text);
        let error = text.parse::<ImageReference>().unwrap_err();
        assert_eq!(error, ReferenceError::NoRegistry(text.to_owned()));
    }
}

#[test]
fn what_is_no_reference() {
    use ReferenceError as E;
    let long_tag = format!("a.b/x:{}", "t".repeat(129));
    let long = format!("a.b/{}", "x/".repeat(128) + "x");
    let sha512 = format!("a.b/x@sha512:{HEX}{HEX}");
    let id = format!("sha256:{HEX}");
    type Row<'a> = (&'a str, fn(String) -> E);
    let table: &[Row<'_>] = &[
        ("https://quay.io/x", E::Scheme),
        ("docker://quay.io/x", E::Scheme),
        ("-a.b/x", E::Registry),
        ("a.b:/x", E::Registry),
        ("a.b:99999/x", E::Registry),
        ("a.b:80:90/x", E::Registry),
        ("a..b/x", E::Registry),
        ("a_b.c/x", E::Registry),
        ("[::1/x", E::Registry),
        ("[nonsense]/x", E::Registry),
        ("user@a.b/x", E::Registry),
        ("a.b/", E::Repository),
        ("a.b/X", E::Repository),
        ("a.b//x", E::Repository),
        ("a.b/x/", E::Repository),
        ("a.b/x..y", E::Repository),
        ("a.b/x___y", E::Repository),
        ("a.b/x_-y", E::Repository),
        ("a.b/_x", E::Repository),
        ("a.b/../x", E::Repository),
        ("a.b/x y", E::Repository),
        ("a.b/é", E::Repository),
        ("busybox/", E::Repository),
        ("Busybox", E::Repository),
        ("a.b/x:", E::Tag),
        ("a.b/x:.t", E::Tag),
        ("a.b/x:a/b", E::Tag),
        ("a.b/x:t\n", E::Tag),
        (&long_tag, E::Tag),
        (&long, E::TooLong),
        ("a.b/x@sha256:00", E::Digest),
        ("a.b/x@", E::Digest),
        (&sha512, E::Digest),
        (HEX, E::ImageId),
        (&id, E::ImageId),
    ];
    for (text, error) in table {
        let got = text.parse::<ImageName>();
        assert_eq!(got, Err(error((*text).to_owned())), "{text}");
    }
    assert_eq!("".parse::<ImageName>(), Err(E::Empty));
}

#[test]
fn parts_and_short_forms() {
    let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
    let both: ImageReference = format!("docker.io/busybox:1.36@{digest}").parse().unwrap();
    assert_eq!(both.selector(), digest.as_str());
    assert_eq!(both.name(), "docker.io/library/busybox");
    assert_eq!(
        both.tag_only().unwrap().to_string(),
        "docker.io/library/busybox:1.36"
    );
    let at = both.at_digest(digest.clone());
    assert_eq!(
        at.to_string(),
        format!("docker.io/library/busybox@{digest}")
    );
    assert_eq!(at.tag_only(), None);
    assert_eq!(at.clone().or_latest(), at);
    for (text, familiar) in [
        ("docker.io/busybox:1", "busybox:1"),
        ("docker.io/library/a/b", "library/a/b"),
        ("docker.io/org/app", "org/app"),
        ("quay.io/library/app", "quay.io/library/app"),
    ] {
        let reference: ImageReference = text.parse().unwrap();
        assert_eq!(reference.familiar(), familiar);
    }
}

#[test]
fn a_record_keeps_the_text() {
    let reference: ImageReference = "quay.io/a:1".parse().unwrap();
    let json = serde_json::to_string(&reference).unwrap();
    assert_eq!(json, "\"quay.io/a:1\"");
    assert_eq!(
        serde_json::from_str::<ImageReference>(&json).unwrap(),
        reference
    );
}

proptest::proptest! {
    #[test]
    fn what_parses_prints_as_what_parses_to_the_same(
        host in "([a-z0-9]{1,8}\\.[a-z]{2,3}|localhost)(:[1-9][0-9]{0,3})?",
        path in "[a-z0-9]{1,6}((\\.|_|__|-{1,3}|/)[a-z0-9]{1,6}){0,4}",
        tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?",
        digest in "(@sha256:[0-9a-f]{64})?",
    ) {
        let text = format!("{host}/{path}{tag}{digest}");
        let reference: ImageReference = text.parse().unwrap();
        proptest::prop_assert_eq!(reference.to_string(), text);
        let familiar: ImageName = reference.familiar().parse().unwrap();
        proptest::prop_assert_eq!(familiar, ImageName::Qualified(reference));
    }

    #[test]
    fn no_text_breaks_the_parser(text in "\\PC{0,80}") {
        if let Ok(name) = text.parse::<ImageName>() {
            proptest::prop_assert_eq!(name.to_string().parse::<ImageName>(), Ok(name));
        }
    }
}
