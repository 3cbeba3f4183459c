//! The CRI contract, `runtime.v1`, as Kubernetes 1.36 has it: messages, clients and servers,
//! generated from `proto/runtime/v1`. By hand are only this file and the proto files; the test
//! `contract` compares them with the Go module `k8s.io/cri-api`.

/// All files of the contract as an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Packages of the contract, named as in the proto files.
pub mod runtime {
    /// CRI version 1.
    #[allow(
        missing_docs,
        clippy::too_many_lines,
        clippy::allow_attributes_without_reason,
        reason = "generated; the proto files hold a comment for each message and RPC"
    )]
    pub mod v1 {
        tonic::include_proto!("runtime.v1");

        /// User name and registry only: requests end up in logs.
        impl std::fmt::Debug for AuthConfig {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("AuthConfig")
                    .field("username", &self.username)
                    .field("server_address", &self.server_address)
                    .finish_non_exhaustive()
            }
        }
    }
}
