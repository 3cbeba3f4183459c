//! NRI: a runtime spec as plugins see it, and what they want put into it.
//!
//! Both work on the spec as JSON: what plugins may touch is nearly all of it, by the names that the
//! OCI runtime specification has.

mod adjust;
mod json;
mod limits;
mod linux;
mod view;

#[cfg(test)]
mod tests;

pub use adjust::{AdjustError, adjusted};
pub use limits::{from_limits, overlay, to_limits, update_document};
pub use view::view;
