use std::collections::BTreeSet;
use std::path::Path;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tokenledger::wire::DESCRIPTORS;
use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::ServerReflectionRequest;

use crate::harness::Server;

fn field(field: &FieldDescriptorProto) -> String {
    let label = match field.label() {
        Label::Repeated => "repeated ",
        _ if field.proto3_optional() => "optional ",
        _ => "",
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().to_owned(),
        other => other.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    let one_of = field.oneof_index.filter(|_| !field.proto3_optional()).map_or("", |_| " (oneof)");
    format!("{} = {} : {label}{kind}{one_of}", field.name(), field.number())
}

fn message(package: &str, message: &DescriptorProto, lines: &mut BTreeSet<String>) {
    let name = format!("{package}.{}", message.name());
    lines.insert(format!("message {name}"));
    lines.extend(message.field.iter().map(|f| format!("field {name}.{}", field(f))));
    message.nested_type.iter().for_each(|nested| self::message(&name, nested, lines));
    message.enum_type.iter().for_each(|nested| values(&name, nested, lines));
}

fn values(package: &str, values: &prost_types::EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    let name = format!("{package}.{}", values.name());
    lines.extend(values.value.iter().map(|v| format!("value {name}.{} = {}", v.name(), v.number())));
}

/// The whole API, one line for each thing that a client relies on.
fn lines() -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut lines = BTreeSet::new();
    for file in files.file.iter().filter(|file| file.package().starts_with("tokenledger")) {
        file.message_type.iter().for_each(|m| message(file.package(), m, &mut lines));
        file.enum_type.iter().for_each(|e| values(file.package(), e, &mut lines));
        for service in &file.service {
            for method in &service.method {
                let stream = |streaming: bool| if streaming { "stream " } else { "" };
                lines.insert(format!(
                    "rpc {}.{}.{} ({}{}) -> {}{}",
                    file.package(),
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type()
                ));
            }
        }
    }
    lines
}

#[test]
fn nothing_is_removed_renumbered_or_retyped() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/api-v1.txt");
    let now = lines();
    let promised: BTreeSet<String> =
        std::fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
    let broken: Vec<&String> = promised.difference(&now).collect();
    assert!(broken.is_empty(), "clients rely on these, and they are gone or have changed: {broken:#?}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text: String = now.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let new: Vec<&String> = now.difference(&promised).collect();
    assert!(new.is_empty(), "new in the API; promise it with UPDATE_GOLDEN=1: {new:#?}");
}

async fn channel(server: &Server) -> tonic::transport::Channel {
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{}", server.address())).unwrap();
    endpoint.connect().await.unwrap()
}

const SERVICES: [&str; 4] = ["AppendService", "QueryService", "RestoreService", "AdminService"];

#[tokio::test(flavor = "multi_thread")]
async fn every_service_says_that_it_is_healthy() {
    let server = Server::start().await;
    let mut health = HealthClient::new(channel(&server).await);
    let names = SERVICES.map(|name| format!("tokenledger.v1.{name}"));
    for name in names.into_iter().chain([String::new()]) {
        let mut serving = 0;
        // It is set just after the server begins to listen.
        for _ in 0..50 {
            let asked = health.check(HealthCheckRequest { service: name.clone() }).await;
            serving = asked.map_or(0, |answer| answer.into_inner().status);
            if serving == 1 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(serving, 1, "{name}");
    }
    let unknown = health.check(HealthCheckRequest { service: "tokenledger.v1.None".into() }).await;
    assert_eq!(unknown.unwrap_err().code(), tonic::Code::NotFound);
    drop(health);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_every_service() {
    let server = Server::start().await;
    let mut client = ServerReflectionClient::new(channel(&server).await);
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let asked = ServerReflectionRequest { host: String::new(), message_request };
    let mut answers =
        client.server_reflection_info(tokio_stream::once(asked)).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: BTreeSet<String> = list.service.into_iter().map(|s| s.name).collect();
    for name in SERVICES {
        assert!(names.contains(&format!("tokenledger.v1.{name}")), "{names:?}");
    }
    assert!(names.contains("grpc.health.v1.Health"), "{names:?}");
    drop((answers, client));
    server.check().await;
}
