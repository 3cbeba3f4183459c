//! The CRI contract, runtime.v1.
