//! Files, merging, endpoints and short names.
