//! Generates the control interface from its protobuf description; needs no `protoc`.

use std::env;
use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["dropsonde/v1/control.proto"], ["proto"])?;
    // For reflection.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(out.join("control.descriptors"), files.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
