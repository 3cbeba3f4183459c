//! What every source file must be: short, introduced, and free of `unsafe` outside its two homes.

/// Lines above which a file is refused.
const LONGEST: usize = 800;

/// Where `unsafe` may be written.
const UNSAFE_HOMES: &[&str] = &["crates/kernel/", "crates/pod-init/"];

/// Directories of one developer's machine, which mean nothing on another. Written in two halves
/// so that this file passes its own check.
const PRIVATE_PATHS: &[&str] = &[concat!("/wor", "k/")];

/// Everything wrong with one tracked text file. `path` is relative to the checkout.
pub(crate) fn check(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for private in PRIVATE_PATHS {
            if line.contains(private) {
                complaints.push(format!("{path}:{}: names {private}", number + 1));
            }
        }
    }
    if path.ends_with(".rs") {
        complaints.extend(rust(path, text));
    }
    complaints
}

fn rust(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST {
        complaints.push(format!("{path}: {lines} lines, {LONGEST} at most"));
    }
    if !text.starts_with("//!") {
        complaints.push(format!("{path}: does not begin with //! saying what it is"));
    }
    if !UNSAFE_HOMES.iter().any(|home| path.starts_with(home)) {
        for (number, line) in text.lines().enumerate() {
            if has_unsafe(line) {
                complaints.push(format!(
                    "{path}:{}: unsafe outside crates/kernel",
                    number + 1
                ));
            }
        }
    }
    complaints
}

/// Whether a line of code opens an `unsafe` block, function, trait or impl. Comments do not count.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["{", "fn", "impl", "trait", "extern"]
        .iter()
        .any(|next| code.contains(&format!("{} {next}", "unsafe")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_complains_once() {
        let unsafe_line = format!("//! Doc.\n{} {{ f() }}\n", "unsafe");
        let long = format!("//! Doc.\n{}", "x\n".repeat(LONGEST));
        let private = format!("# see {}x\n", PRIVATE_PATHS[0]);
        for (path, text, count) in [
            (
                "crates/a/src/lib.rs",
                "//! Doc.\n// an unsafe { in a comment\n",
                0,
            ),
            ("crates/a/src/lib.rs", "fn main() {}\n", 1),
            ("crates/a/src/lib.rs", unsafe_line.as_str(), 1),
            ("crates/kernel/src/lib.rs", unsafe_line.as_str(), 0),
            ("crates/a/src/lib.rs", long.as_str(), 1),
            ("README.md", private.as_str(), 1),
        ] {
            assert_eq!(check(path, text).len(), count, "{path}: {text:.40}");
        }
    }
}
