//! Files, merging, endpoints and short names.

use super::*;
use crate::image_name::ImageName;
use crate::reference::ImageReference;

const HEX: &str = "4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1";

struct Files(tempfile::TempDir);

impl Files {
    /// `main` is `registries.conf`, if any; `drop_ins` go to its directory.
    fn new(main: Option<&str>, drop_ins: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if let Some(main) = main {
            std::fs::write(dir.path().join("registries.conf"), main).unwrap();
        }
        std::fs::create_dir(dir.path().join("d")).unwrap();
        for (name, text) in drop_ins {
            std::fs::write(dir.path().join("d").join(name), text).unwrap();
        }
        Self(dir)
    }

    fn load(&self) -> Result<RegistriesConf, RegistriesConfError> {
        let path = self.0.path();
        RegistriesConf::load(&path.join("registries.conf"), &path.join("d"))
    }
}

fn conf(main: &str) -> RegistriesConf {
    Files::new(Some(main), &[]).load().unwrap()
}

/// `[!~]reference` of each endpoint: `!` insecure, `~` mirror.
fn endpoints(conf: &RegistriesConf, reference: &str) -> Vec<String> {
    let reference: ImageReference = reference.parse().unwrap();
    let show = |endpoint: Endpoint| {
        let insecure = if endpoint.insecure { "!" } else { "" };
        let mirror = if endpoint.mirror { "~" } else { "" };
        format!("{insecure}{mirror}{}", endpoint.reference)
    };
    conf.endpoints(&reference)
        .unwrap()
        .into_iter()
        .map(show)
        .collect()
}

#[test]
fn the_longest_prefix_wins() {
    let conf = conf(
        r#"
        [[registry]]
        location = "quay.io"
        insecure = true
        [[registry]]
        prefix = "quay.io/org"
        location = "mirror.local:5000/quay"
        [[registry]]
        prefix = "quay.io/org/app:1"
        location = "pinned.local/app:2"
        [[registry]]
        prefix = "*.example.com"
        insecure = true
        [[registry]]
        prefix = "*.deep.example.com"
        location = "deep.local"
        [[registry]]
        prefix = "exact.example.com"
        location = "exact.local"
        [[registry]]
        prefix = "docker.io"
        location = "registry/hub"
    "#,
    );
    for (reference, expected) in [
        ("quay.io/x:1", "!quay.io/x:1"),
        ("quay.io/org/x:1", "mirror.local:5000/quay/x:1"),
        ("quay.io/organic/x:1", "!quay.io/organic/x:1"),
        ("quay.io/org/app:1", "pinned.local/app:2"),
        ("quay.io/org/app:10", "mirror.local:5000/quay/app:10"),
        ("quay.io:443/x", "!quay.io:443/x:latest"),
        ("a.example.com/x", "!a.example.com/x:latest"),
        ("a.b.example.com:5000/x", "!a.b.example.com:5000/x:latest"),
        ("example.com/x", "example.com/x:latest"),
        ("badexample.com/x", "badexample.com/x:latest"),
        ("a.deep.example.com:80/x", "deep.local:80/x:latest"),
        ("exact.example.com/x", "exact.local/x:latest"),
        ("docker.io/busybox", "registry/hub/library/busybox:latest"),
        ("other.io/x", "other.io/x:latest"),
    ] {
        assert_eq!(endpoints(&conf, reference), [expected], "{reference}");
    }
}

#[test]
fn mirrors_come_first_and_serve_what_they_say() {
    let conf = conf(
        r#"
        [[registry]]
        location = "quay.io"
        [[registry.mirror]]
        location = "all.local/q"
        insecure = true
        [[registry.mirror]]
        location = "digests.local"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "tags.local"
        pull-from-mirror = "tag-only"
        [[registry]]
        location = "docker.io"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "hub.local"
    "#,
    );
    assert_eq!(
        endpoints(&conf, "quay.io/x:1"),
        ["!~all.local/q/x:1", "~tags.local/x:1", "quay.io/x:1"]
    );
    let at = format!("@sha256:{HEX}");
    let digest = endpoints(&conf, &format!("quay.io/x{at}"));
    assert_eq!(
        digest,
        [
            format!("!~all.local/q/x{at}"),
            format!("~digests.local/x{at}"),
            format!("quay.io/x{at}"),
        ]
    );
    assert_eq!(
        endpoints(&conf, "docker.io/x"),
        ["docker.io/library/x:latest"]
    );
    assert_eq!(endpoints(&conf, &format!("docker.io/x{at}")).len(), 2);
}

#[test]
fn a_blocked_reference_names_prefix_and_file() {
    let conf =
        conf("[[registry]]\nprefix = \"evil.io/a\"\nlocation = \"evil.io/a\"\nblocked = true\n");
    let error = conf
        .endpoints(&"evil.io/a/b".parse().unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("evil.io/a/b:latest") && error.contains("registries.conf"),
        "{error}"
    );
    assert_eq!(endpoints(&conf, "evil.io/b"), ["evil.io/b:latest"]);
}

#[test]
fn drop_ins_are_put_over_the_main_file() {
    let files = Files::new(
        Some(
            r#"
            unqualified-search-registries = ["one.io"]
            [[registry]]
            location = "a.io"
            insecure = true
            [[registry]]
            location = "b.io"
            insecure = true
            [aliases]
            app = "one.io/app"
            gone = "one.io/gone"
        "#,
        ),
        &[
            (
                "20-late.conf",
                "unqualified-search-registries = [\"three.io\"]",
            ),
            (
                "10-early.conf",
                "unqualified-search-registries = [\"two.io\"]
                [[registry]]\nlocation = \"a.io\"\n",
            ),
            (
                "30-names.conf",
                "[aliases]\napp = \"two.io/other\"\ngone = \"\"\n",
            ),
            ("README", "not = toml ="),
        ],
    );
    let conf = files.load().unwrap();
    assert_eq!(endpoints(&conf, "a.io/x:1"), ["a.io/x:1"]);
    assert_eq!(endpoints(&conf, "b.io/x:1"), ["!b.io/x:1"]);
    assert_eq!(candidates(&conf, "x").unwrap(), ["three.io/x"]);
    assert_eq!(candidates(&conf, "app:2").unwrap(), ["two.io/other:2"]);
    assert_eq!(candidates(&conf, "gone").unwrap(), ["three.io/gone"]);
}

fn candidates(conf: &RegistriesConf, name: &str) -> Result<Vec<String>, ShortNameError> {
    let ImageName::Unqualified(name) = name.parse().unwrap() else {
        panic!("{name} has a registry")
    };
    let found = conf.candidates(&name)?;
    Ok(found.iter().map(ToString::to_string).collect())
}

#[test]
fn short_names() {
    let none = Files::new(None, &[]).load().unwrap();
    assert_eq!(
        candidates(&none, "busybox:1").unwrap(),
        ["docker.io/library/busybox:1"]
    );
    let mirrors = Files::new(None, &[("m.conf", "[[registry]]\nlocation = \"a.io\"\n")]);
    let mirrors = mirrors.load().unwrap();
    assert_eq!(
        candidates(&mirrors, "busybox").unwrap(),
        ["docker.io/library/busybox"]
    );

    let error = candidates(&conf(""), "busybox").unwrap_err();
    assert!(matches!(error, ShortNameError::NoSearchRegistry { .. }));
    assert!(
        error.to_string().contains("unqualified-search-registries"),
        "{error}"
    );

    let search =
        r#"unqualified-search-registries = ["docker.io", "quay.io", "r:5000/sub", "quay.io"]"#;
    let ambiguous = candidates(&conf(search), "a/b").unwrap_err().to_string();
    assert!(
        ambiguous.contains("docker.io/a/b, quay.io/a/b"),
        "{ambiguous}"
    );
    let all = ["docker.io/library/b:1", "quay.io/b:1", "r:5000/sub/b:1"];
    for mode in ["permissive", "disabled"] {
        let conf = conf(&format!("short-name-mode = {mode:?}\n{search}"));
        assert_eq!(candidates(&conf, "b:1").unwrap(), all);
    }
    let mut set = conf(search);
    set.set_short_name_mode(ShortNameMode::Disabled);
    assert_eq!(candidates(&set, "b:1").unwrap(), all);

    let at = format!("@sha256:{HEX}");
    let alias = conf(&format!(
        "{search}\n[aliases]\n\"a/b\" = \"docker.io/busybox\"\n"
    ));
    let found = candidates(&alias, &format!("a/b:1{at}")).unwrap();
    assert_eq!(found, [format!("docker.io/library/busybox:1{at}")]);
}

#[test]
fn errors_name_file_and_line() {
    for (text, line, word) in [
        ("\nx = = 1", 2, "registries.conf"),
        (
            "\n\n[[registry]]\ninsecure = 1\nlocation = \"a.io\"",
            4,
            "bool",
        ),
        ("\n[[registry]]\ninsecure = true", 2, "location or a prefix"),
        ("[[registry]]\nprefix = \"a.io\"", 1, "no location"),
        ("[[registry]]\nprefix = \"*.a.io/x\"", 1, "*.<host>"),
        (
            "[[registry]]\nprefix = \"a b\"\nlocation = \"a.io\"",
            1,
            "host",
        ),
        ("[[registry]]\nlocation = \"https://a.io\"", 1, "host"),
        (
            "[[registry]]\nlocation = \"a.io\"\n[[registry.mirror]]\n",
            3,
            "mirror",
        ),
        (
            "[[registry]]\nlocation = \"a.io\"\nmirror-by-digest-only = true\n[[registry.mirror]]\n\
             location = \"b.io\"\npull-from-mirror = \"all\"",
            4,
            "exclude",
        ),
        (
            "[[registry]]\nlocation = \"a.io\"\n\n[[registry]]\nlocation = \"a.io\"\nblocked = true",
            4,
            "twice",
        ),
        ("\nunqualified-search-registries = [\"a/\"]", 2, "host"),
        ("short-name-mode = \"maybe\"", 1, "maybe"),
        ("[aliases]\nx = \"y\"", 2, "registry"),
        ("[aliases]\nx = \"a.io/y:1\"", 2, "tag"),
        (
            "[registries.search]\nregistries = [\"a.io\"]",
            1,
            "version 1",
        ),
    ] {
        let error = Files::new(Some(text), &[]).load().unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(word), "{text:?}: {shown}");
        let RegistriesConfError::Invalid { line: got, .. } = error else {
            panic!("{shown}")
        };
        assert_eq!(got, line, "{text:?}: {shown}");
    }
}

#[test]
fn changed_files_are_read_again() {
    let files = Files::new(Some("unqualified-search-registries = [\"a.io\"]"), &[]);
    let mut conf = files.load().unwrap();
    assert!(!conf.reload_if_changed().unwrap());
    let drop_in = files.0.path().join("d/x.conf");
    std::fs::write(&drop_in, "unqualified-search-registries = [\"drop-in.io\"]").unwrap();
    assert!(conf.reload_if_changed().unwrap());
    assert_eq!(candidates(&conf, "x").unwrap(), ["drop-in.io/x"]);
    std::fs::write(&drop_in, "broken").unwrap();
    assert!(conf.reload_if_changed().is_err());
    assert_eq!(candidates(&conf, "x").unwrap(), ["drop-in.io/x"]);
    std::fs::remove_file(&drop_in).unwrap();
    assert!(conf.reload_if_changed().unwrap());
    assert_eq!(candidates(&conf, "x").unwrap(), ["a.io/x"]);
}
