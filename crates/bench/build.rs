//! Compiles the protobuf files of what is compared, with `protox` as in the crate `api`.

use std::error::Error;

const FILES: [&str; 2] = ["etcd.proto", "ceiling.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
