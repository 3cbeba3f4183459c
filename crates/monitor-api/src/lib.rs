//! Frames between the daemon and a pod's monitor.
