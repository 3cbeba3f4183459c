//! Root tests of the daemon against the real kernel, one file in `tests/` for each subject. Each
//! test runs on a node of its own, which `pinpod-testkit` makes.
