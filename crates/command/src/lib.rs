//! Runs helper programs with a deadline.
