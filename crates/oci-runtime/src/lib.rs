//! Drives OCI runtimes by their command line.
