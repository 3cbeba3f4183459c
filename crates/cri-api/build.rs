//! Generates the types, clients and servers of `proto/runtime/v1` without a protoc of the system,
//! and writes the descriptor set that the crate embeds.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let roots = [
        "runtime/v1/runtime_service.proto",
        "runtime/v1/image_service.proto",
    ];
    let descriptors = protox::compile(roots, ["proto"])?;

    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure()
        // The order of labels in an answer is then the same each time.
        .btree_map(".")
        // lib.rs prints it without its secrets.
        .skip_debug([".runtime.v1.AuthConfig"])
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
