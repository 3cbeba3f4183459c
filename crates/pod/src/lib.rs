//! The engine: lifecycles of pod sandboxes and containers.
