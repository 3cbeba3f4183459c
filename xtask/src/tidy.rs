//! All checks over one checkout, in one list of complaints.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::{graph, sources};

/// Files that the README or the code points at, and that must therefore be there.
const REQUIRED: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "deny.toml",
    "docs/configuration.md",
    "docs/cri.md",
    "docs/dependencies.md",
];

/// Everything wrong with the checkout at `top`.
///
/// # Errors
/// If cargo or git cannot be run, or a tracked file cannot be read.
pub(crate) fn check(top: &Path) -> anyhow::Result<Vec<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let metadata = run(
        top,
        &cargo,
        &["metadata", "--no-deps", "--format-version", "1"],
    )?;
    let (names, edges) = graph::parse(&metadata)?;
    let mut complaints = graph::check(&names, &edges);

    let listed = run(top, "git", &["ls-files"])?;
    let files: Vec<&str> = listed.lines().collect();
    for path in &files {
        // A file that is deleted but not committed yet, a link, or not text: nothing to read.
        if let Ok(text) = std::fs::read_to_string(top.join(path)) {
            complaints.extend(sources::check(path, &text));
        }
    }
    for required in REQUIRED {
        if !files.contains(required) {
            complaints.push(format!("{required}: is missing"));
        }
    }
    complaints.extend(architecture(
        &read(top, "ARCHITECTURE.md"),
        &crate_dirs(&files),
    ));
    complaints.extend(dependencies(
        &read(top, "Cargo.toml"),
        &read(top, "docs/dependencies.md"),
    )?);
    Ok(complaints)
}

fn read(top: &Path, path: &str) -> String {
    std::fs::read_to_string(top.join(path)).unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "pinpod-command is for the daemon"
)]
fn run(top: &Path, program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(args)
        .current_dir(top)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).with_context(|| format!("output of {program}"))
}

/// Directories with a `Cargo.toml`, but the root.
fn crate_dirs<'a>(files: &[&'a str]) -> BTreeSet<&'a str> {
    files
        .iter()
        .filter_map(|path| path.strip_suffix("/Cargo.toml"))
        .collect()
}

/// Every crate is named as `dir` in backquotes, and every such name under `crates/` is a crate.
fn architecture(text: &str, dirs: &BTreeSet<&str>) -> Vec<String> {
    let named: BTreeSet<&str> = text.split('`').skip(1).step_by(2).collect();
    let missing = dirs.iter().filter(|dir| !named.contains(*dir));
    let mut complaints: Vec<String> = missing
        .map(|dir| format!("ARCHITECTURE.md: does not name `{dir}`"))
        .collect();
    for name in named {
        let is_crate = name
            .strip_prefix("crates/")
            .is_some_and(|rest| !rest.contains(['/', '.']));
        if is_crate && !dirs.contains(name) {
            complaints.push(format!("ARCHITECTURE.md: names `{name}`, which is gone"));
        }
    }
    complaints
}

/// Every foreign dependency of the workspace has its line, and every line its dependency.
fn dependencies(manifest: &str, document: &str) -> anyhow::Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse().context("Cargo.toml")?;
    let table = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"))
        .and_then(toml::Value::as_table)
        .context("Cargo.toml has no [workspace.dependencies]")?;
    let used: BTreeSet<&str> = table
        .keys()
        .map(String::as_str)
        .filter(|name| !name.starts_with("pinpod"))
        .collect();
    let explained: BTreeSet<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let unexplained = used.difference(&explained);
    let stale = explained.difference(&used);
    Ok(unexplained
        .map(|name| format!("docs/dependencies.md: does not say why {name} is there"))
        .chain(stale.map(|name| format!("docs/dependencies.md: explains {name}, which is gone")))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_and_the_crates_agree_both_ways() {
        let dirs = BTreeSet::from(["crates/model", "xtask"]);
        assert!(
            architecture("`crates/model`, `xtask`, `crates/model/src/id.rs`", &dirs).is_empty()
        );
        assert_eq!(architecture("`crates/model`", &dirs).len(), 1);
        assert_eq!(
            architecture("`crates/model` `xtask` `crates/old`", &dirs).len(),
            1
        );
    }

    #[test]
    fn dependencies_are_explained_and_explanations_used() {
        let manifest = "[workspace.dependencies]\npinpod-model = \"1\"\nserde = \"1\"\n";
        assert!(
            dependencies(manifest, "| `serde` | why |")
                .unwrap()
                .is_empty()
        );
        assert_eq!(dependencies(manifest, "").unwrap().len(), 1);
        assert_eq!(
            dependencies(manifest, "| `serde` | |\n| `old` | |")
                .unwrap()
                .len(),
            1
        );
    }
}
