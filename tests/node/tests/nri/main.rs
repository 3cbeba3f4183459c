//! NRI plugins, built on NRI's own Go stub (`tests/nri/plugin`), with a real daemon and real
//! containers.

mod adjust;
mod events;
mod faults;
mod plugin;
mod wire;
