//! The system calls that pinpod makes beyond files and sockets: namespaces, mounts, process
//! identities, spawning into namespaces, passing of descriptors.
//!
//! The only crate (with `pinpod-init`, which has no standard library to lean on) that holds
//! `unsafe`; each module that needs it says so. Everything here is synchronous and short; the
//! calls that change what a thread sees (`unshare`, `setns`) run on a thread that ends with them,
//! so that no caller's thread is ever left in a pod's namespace.

mod fork_exec;
pub mod mount;
pub mod mountinfo;
pub mod namespace;
pub mod path;
pub mod plugin;
pub mod process;
pub mod signal;
pub mod socket;
pub mod spawn;
mod throwaway;

#[cfg(test)]
mod testing;
