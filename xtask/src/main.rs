//! Repository checks and release tasks.

fn main() {}
