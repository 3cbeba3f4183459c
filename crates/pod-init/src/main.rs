//! PID 1 of a pod that shares its PID namespace.

fn main() {}
