//! Content-addressed layers and root file systems.
