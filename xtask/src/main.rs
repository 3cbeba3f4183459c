//! Repository checks: `cargo xtask tidy`.
//!
//! What a compiler, clippy and cargo-deny cannot say about this repository is checked here: the
//! direction between crates, what `ARCHITECTURE.md` and `docs/dependencies.md` claim, where
//! `unsafe` may be, and how long a file is. `cargo test -p xtask` runs the same.

mod graph;
mod sources;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("tidy"), None) => report(tidy()),
        _ => {
            say("usage: cargo xtask tidy");
            ExitCode::from(2)
        }
    }
}

fn tidy() -> anyhow::Result<Vec<String>> {
    let top = top()?;
    tidy::check(&top)
}

/// The root of the checkout.
fn top() -> anyhow::Result<PathBuf> {
    // As cargo says it now: checkouts that share a target directory share this binary too.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("run me by cargo xtask")?;
    let here = PathBuf::from(here);
    let top = here.parent().context("xtask lies in no directory")?;
    Ok(top.to_path_buf())
}

fn report(outcome: anyhow::Result<Vec<String>>) -> ExitCode {
    match outcome {
        Ok(complaints) if complaints.is_empty() => {
            say("tidy: nothing to complain about");
            ExitCode::SUCCESS
        }
        Ok(complaints) => {
            for complaint in &complaints {
                say(complaint);
            }
            say(&format!("tidy: {} complaints", complaints.len()));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("tidy: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command-line tool answers there")]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        let complaints = super::tidy().unwrap();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}
