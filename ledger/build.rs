//! Compiles the stored form of events with protox: no `protoc` is needed.

use std::io;

fn main() -> io::Result<()> {
    let files = protox::compile(["tokenledger/v1/events.proto"], ["../proto"]).map_err(io::Error::other)?;
    println!("cargo::rerun-if-changed=../proto");
    prost_build::Config::new().btree_map(["."]).compile_fds(files)
}
