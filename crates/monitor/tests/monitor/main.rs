//! The monitor as the daemon meets it: the real binary, the real runc, root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends at its first surprise, in its helper functions too"
)]

mod containers;
mod exec;
mod pod;
mod size;
