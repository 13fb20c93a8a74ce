//! Compiles the services with protox: no `protoc` is needed. The messages of events.proto are those of the crate
//! `ledger`, which stores them.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let names = ["events", "append", "query", "restore", "admin"];
    let files = protox::compile(names.map(|name| format!("tokenledger/v1/{name}.proto")), ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    let mut builder = tonic_prost_build::configure()
        .btree_map(".")
        .codec_path("crate::wire::StrictCodec")
        .build_transport(true);
    for file in files.file.iter().filter(|file| file.name().ends_with("/events.proto")) {
        let messages = file.message_type.iter().map(|m| m.name());
        for name in messages.chain(file.enum_type.iter().map(|e| e.name())) {
            builder = builder.extern_path(format!(".tokenledger.v1.{name}"), format!("::ledger::pb::{name}"));
        }
    }
    let mut config = prost_build::Config::new();
    config.enable_type_names();
    builder.compile_fds_with_config(files, config)?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}
