//! Pod and container records on disk.
