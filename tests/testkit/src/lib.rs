//! What root tests share: namespaces, daemon, registry, leak check.
