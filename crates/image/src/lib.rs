//! Images: pull, list, remove, root file systems.
