//! Times pods over gRPC, for pinpod and for any other CRI runtime.

fn main() {}
