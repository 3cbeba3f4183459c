//! The gRPC border: proto in, model out.
