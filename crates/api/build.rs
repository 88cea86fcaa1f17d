//! Compiles the protobuf files with `protox`, so that no `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;

use protox::prost::Message;

const FILES: [&str; 2] = [
    "minidynamo/v1/minidynamo.proto",
    "minidynamo/internal/v1/datanode.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Reflection shows users the public package only.
    let public = protox::compile([FILES[0]], ["proto"])?;
    std::fs::write(out.join("descriptors.bin"), public.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
