//! Compiles the services with protox: no `protoc` is needed. The messages of events.proto are those of the crate
//! `ledger`, which stores them.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tonic_build::manual::{Method, Service};

fn main() -> Result<(), Box<dyn Error>> {
    let names = ["events", "append", "query", "restore", "proof", "admin"];
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
    tonic_build::manual::Builder::new().build_client(false).compile(&[answers(&files)?]);
    let mut config = prost_build::Config::new();
    config.enable_type_names();
    config.bytes([STORED]);
    builder.compile_fds_with_config(files, config)?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}

/// Messages that hold so many stored bytes that these are handed on and not copied.
const STORED: &str = ".tokenledger.v1.StreamEntriesResponse";

/// Calls whose answers hold so many events that they are sent as bytes, without being made into messages first.
const ENCODED: [&str; 2] = ["ListEvents", "TailEvents"];

/// The server of `QueryService`, with answers that are encoded already where that counts.
fn answers(files: &FileDescriptorSet) -> Result<Service, Box<dyn Error>> {
    let services = files.file.iter().flat_map(|file| &file.service);
    let query =
        services.into_iter().find(|service| service.name() == "QueryService").ok_or("no QueryService")?;
    let service = Service::builder().name("QueryService").package("tokenledger.v1");
    let methods = query.method.iter().map(answered);
    Ok(methods.fold(service, tonic_build::manual::ServiceBuilder::method).build())
}

fn answered(method: &MethodDescriptorProto) -> Method {
    let type_of = |name: &str| format!("crate::wire::pb::{}", name.rsplit('.').next().unwrap_or(name));
    let encoded = ENCODED.contains(&method.name());
    let (output, codec) = match encoded {
        true => ("crate::wire::Encoded".to_owned(), "crate::wire::EncodedCodec"),
        false => (type_of(method.output_type()), "crate::wire::StrictCodec"),
    };
    let built = Method::builder()
        .name(snake_case(method.name()))
        .route_name(method.name())
        .input_type(type_of(method.input_type()))
        .output_type(output)
        .codec_path(codec);
    if method.server_streaming() { built.server_streaming().build() } else { built.build() }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
