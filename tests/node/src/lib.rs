//! Root tests against the real kernel.
