//! Container configuration to OCI runtime spec.
