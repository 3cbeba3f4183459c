//! The monitor of a pod: stdio, logs, exits.

fn main() {}
