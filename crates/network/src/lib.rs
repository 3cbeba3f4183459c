//! Pod networks through CNI.
