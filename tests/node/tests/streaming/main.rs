//! Exec, attach and port-forward with real clients: Kubernetes' own library (`stream-client`),
//! `crictl`, and sockets on which the test itself speaks.

mod client;
mod exec;
mod leaving;
mod port_forward;
mod pressure;
mod tls;
mod users;
