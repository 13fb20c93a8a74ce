use std::path::Path;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, ReflectMessage, Value};
use tokenledger::wire::pb;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Clients, Server, at, created, event, granted, issued, token};

/// Sends bytes as they are, and takes answers as they come.
#[derive(Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = bytes::Buf::remaining(buffer);
        Ok(Some(bytes::Buf::copy_to_bytes(buffer, length).to_vec()))
    }
}

/// Calls a method with bytes.
async fn raw(server: &Server, method: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Status> {
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{}", server.address())).unwrap();
    let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let path = format!("/tokenledger.v1.{method}").parse().unwrap();
    Ok(grpc.unary(tonic::Request::new(bytes), path, Bytes).await?.into_inner())
}

/// Length-delimited field.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

/// A field that no version of the API has: number 1023, value 7.
const UNKNOWN: [u8; 3] = [0xf8, 0x3f, 7];

fn info(status: &Status) -> (String, String) {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    (info.reason, info.domain)
}

async fn nothing_was_recorded(clients: &Clients) {
    let ledgers = clients.admin.clone().list_ledgers(pb::ListLedgersRequest::default()).await.unwrap();
    assert!(ledgers.into_inner().ledgers.is_empty(), "a refusal makes no ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_refused_however_deep_they_stand() {
    let server = Server::start().await;
    let whole = event("bot-1", issued("t1")).encode_to_vec();
    let fact = token("t1").encode_to_vec();
    let bare = pb::Event { fact: None, ..event("bot-1", issued("t1")) }.encode_to_vec();
    let proposal = |event: &[u8]| field(1, event);
    let append = |proposal: &[u8]| field(2, proposal);
    let deep = [bare.clone(), field(32, &[fact, UNKNOWN.to_vec()].concat())].concat();
    let expiry = [bare, field(32, &[token("t1").encode_to_vec(), field(5, &UNKNOWN)].concat())].concat();
    let cases = [
        ("AppendRequest", [append(&proposal(&whole)), UNKNOWN.to_vec()].concat()),
        ("Proposal", append(&[proposal(&whole), UNKNOWN.to_vec()].concat())),
        ("Event", append(&proposal(&[whole.clone(), UNKNOWN.to_vec()].concat()))),
        ("TokenIssued", append(&proposal(&deep))),
        ("Expiry", append(&proposal(&expiry))),
    ];
    for (message, bytes) in cases {
        let refused = raw(&server, "AppendService/Append", bytes).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{message}: {refused}");
        assert!(refused.message().contains(&format!("1023 of tokenledger.v1.{message}")), "{refused}");
        assert_eq!(info(&refused), ("unknown_field".into(), "tokenledger".into()));
    }
    let batch = field(2, &proposal(&[whole.clone(), UNKNOWN.to_vec()].concat()));
    let refused = raw(&server, "AppendService/AppendBatch", batch).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let query = [field(2, b"bot-1"), UNKNOWN.to_vec()].concat();
    let refused = raw(&server, "QueryService/GetAccount", query).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "an unknown condition is not passed over: {refused}");
    nothing_was_recorded(&server.clients().await).await;
    raw(&server, "AppendService/Append", append(&proposal(&whole))).await.expect("without it all is well");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_refused() {
    let server = Server::start().await;
    let refused = raw(&server, "AppendService/Append", vec![0x12, 0xff, 0x01]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    nothing_was_recorded(&server.clients().await).await;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_enumerations_that_are_not_known_are_refused() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let mut kind = event("bot-1", created("bot-1"));
    if let Some(pb::event::Fact::AccountCreated(created)) = &mut kind.fact {
        created.kind = 77;
    }
    let mut actor = event("bot-1", created("bot-1"));
    actor.actor.as_mut().unwrap().kind = 9;
    let revoked = pb::TokenRevoked { token: "t".into(), reason: -1 };
    let reason = event("bot-1", pb::event::Fact::TokenRevoked(revoked));
    let changed = pb::PolicyChanged { namespace: String::new(), mode: 3 };
    let mode = event("", pb::event::Fact::PolicyChanged(changed));
    let cases = [
        (kind, "account_created.kind"),
        (actor, "actor.kind"),
        (reason, "token_revoked.reason"),
        (mode, "policy_changed.mode"),
    ];
    for (event, name) in cases {
        let refused = clients.try_record(event).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}: {refused}");
        assert!(refused.message().contains(name), "{refused}");
    }
    nothing_was_recorded(&clients).await;
    clients.record(event("bot-1", created("bot-1"))).await;
    let actor = Some(pb::Actor { kind: 9, id: "responder".into() });
    let request = pb::PlanRestoreRequest { accounts: vec!["bot-1".into()], actor, ..Default::default() };
    let refused = clients.restore.clone().plan_restore(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_missing_is_said_at_once() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let refused = clients.try_record(pb::Event::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(info(&refused), ("invalid_event".into(), "tokenledger".into()));
    let details = refused.get_details_bad_request().unwrap();
    let mut fields: Vec<&str> = details.field_violations.iter().map(|v| v.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["actor", "emitter", "event_id", "fact", "occurred_at"]);
    for field in fields {
        assert!(refused.message().contains(&format!("`{field}`")), "{refused}");
    }
    let bare = pb::event::Fact::TokenIssued(pb::TokenIssued::default());
    let refused =
        clients.try_record(pb::Event { account: String::new(), ..event("", bare) }).await.unwrap_err();
    for field in ["account", "token_issued.token", "token_issued.expiry"] {
        assert!(refused.message().contains(&format!("`{field}`")), "{refused}");
    }
    let empty = clients.append.clone().append(pb::AppendRequest::default()).await.unwrap_err();
    assert_eq!((empty.code(), info(&empty).0), (Code::InvalidArgument, "invalid_event".into()));
    nothing_was_recorded(&clients).await;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_ledger_writes_is_refused_from_others() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let own = pb::Event { emitter: "tokenledger".into(), ..event("bot-1", created("bot-1")) };
    let refused = clients.try_record(own).await.unwrap_err();
    assert_eq!((refused.code(), info(&refused).0), (Code::PermissionDenied, "emitter_reserved".into()));
    let uuid = uuid::Uuid::new_v4().to_string();
    let facts = [
        pb::event::Fact::LedgerCreated(pb::LedgerCreated { name: "default".into() }),
        pb::event::Fact::RequestRefused(pb::RequestRefused {
            refused_event_id: uuid.clone(),
            refused_emitter: "tests".into(),
            refused_kind: "AccountDeleted".into(),
            ..Default::default()
        }),
        pb::event::Fact::RestorePlanned(pb::RestorePlanned {
            plan: uuid.clone(),
            hash: vec![0; 32],
            ..Default::default()
        }),
        pb::event::Fact::KeyRotated(pb::KeyRotated { note: ledger::testing::rotation_note(1) }),
        pb::event::Fact::CheckpointOverridden(pb::CheckpointOverridden {
            source: "anchor".into(),
            note: ledger::testing::checkpoint_note(7),
        }),
        pb::event::Fact::RestoreCompleted(pb::RestoreCompleted {
            plan: uuid,
            hash: vec![0; 32],
            ..Default::default()
        }),
    ];
    for fact in facts {
        let refused = clients.try_record(event("", fact)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert_eq!(info(&refused).0, "kind_reserved", "{refused}");
    }
    let mut annotated = event("bot-1", created("bot-1"));
    annotated.annotations = Some(pb::Annotations { late: true, ..Default::default() });
    let refused = clients.try_record(annotated).await.unwrap_err();
    assert!(refused.message().contains("`annotations`"), "{refused}");
    nothing_was_recorded(&clients).await;
    // What came out of a ledger may go back into one.
    let own = pb::Event { emitter: "tokenledger".into(), ..event("bot-1", created("bot-1")) };
    let proposals = vec![pb::Proposal { event: Some(own), expected_version: None }];
    let request = pb::AppendBatchRequest { proposals, from_export: true, ..Default::default() };
    let results = clients.append.clone().append_batch(request).await.unwrap().into_inner().results;
    assert!(matches!(results[0].result, Some(pb::append_result::Result::Accepted(_))), "{results:?}");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_from_the_far_future() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let now = chrono::Utc::now().timestamp();
    let from = |seconds| pb::Event {
        occurred_at: Some(prost_types::Timestamp { seconds: now + seconds, nanos: 0 }),
        ..event("bot-1", created("bot-1"))
    };
    let refused = clients.try_record(from(24 * 3600 + 60)).await.unwrap_err();
    assert_eq!((refused.code(), info(&refused).0), (Code::InvalidArgument, "far_future".into()));
    nothing_was_recorded(&clients).await;
    clients.record(from(24 * 3600 - 60)).await;
    let mut far = event("bot-1", issued("t"));
    far.occurred_at = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
    assert_eq!(clients.try_record(far.clone()).await.unwrap_err().code(), Code::InvalidArgument);
    far.occurred_at = Some(prost_types::Timestamp { nanos: 1_000_000_000, ..at(0) });
    assert_eq!(clients.try_record(far).await.unwrap_err().code(), Code::InvalidArgument);
    server.check().await;
}

/// A token's value as a platform makes it, put together here so that no scanner of this file takes it for one.
fn secret() -> String {
    ["glp", "at-", "Zx9Qk2Lm8Vt4Rw6Yp1Bn"].concat()
}

fn descriptors() -> DescriptorPool {
    DescriptorPool::decode(tokenledger::wire::DESCRIPTORS).unwrap()
}

/// Every way to put one text into a message: the path of its field, and the message with it. Texts that the message
/// needs beside it stay as they are in `base`.
fn with_text(base: &DynamicMessage, text: &str) -> Vec<(String, DynamicMessage)> {
    let mut all = Vec::new();
    for field in base.descriptor().fields() {
        let mut put = |path: String, value: Value| {
            let mut message = base.clone();
            message.set_field(&field, value);
            all.push((path, message));
        };
        let name = field.name().to_owned();
        match field.kind() {
            Kind::String if field.is_list() => put(name, Value::List(vec![Value::String(text.into())])),
            Kind::String => put(name, Value::String(text.into())),
            Kind::Message(_) if field.is_map() => {
                let pair = |key: &str, value: &str| {
                    let key = prost_reflect::MapKey::String(key.into());
                    Value::Map([(key, Value::String(value.into()))].into())
                };
                put(name.clone(), pair(text, "v"));
                put(name, pair("k", text));
            }
            Kind::Message(inner) if inner.package_name() == "tokenledger.v1" => {
                let present = match base.get_field(&field).as_ref() {
                    Value::Message(message) if base.has_field(&field) => message.clone(),
                    _ => DynamicMessage::new(inner),
                };
                for (path, message) in with_text(&present, text) {
                    let value = Value::Message(message);
                    let value = if field.is_list() { Value::List(vec![value]) } else { value };
                    put(format!("{name}.{path}"), value);
                }
            }
            _ => {}
        }
    }
    all
}

fn dynamic(descriptor: MessageDescriptor, message: &impl Message) -> DynamicMessage {
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).unwrap()
}

fn files_with(dir: &Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|w| w == text.as_bytes()) {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_any_text_of_an_event_is_refused_and_never_repeated() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record(event("bot-1", created("bot-1"))).await;
    let base = dynamic(
        descriptors().get_message_by_name("tokenledger.v1.Event").unwrap(),
        &event("bot-1", granted("g", "dev")),
    );
    let cases = with_text(&base, &secret());
    assert!(cases.len() > 60, "every text of every kind of event: {}", cases.len());
    for (path, message) in cases {
        for from_export in [false, true] {
            let sent: pb::Event = message.transcode_to().unwrap();
            let proposals = vec![pb::Proposal { event: Some(sent), expected_version: None }];
            let request = pb::AppendBatchRequest { proposals, from_export, ..Default::default() };
            let results = clients.append.clone().append_batch(request).await.unwrap().into_inner().results;
            let Some(pb::append_result::Result::Refused(refused)) = &results[0].result else {
                panic!("a secret in `{path}` was taken: {results:?}")
            };
            assert!(!refused.message.contains(&secret()), "`{path}` is repeated: {}", refused.message);
            // What only the ledger sets is refused as a whole.
            let named = if path.starts_with("annotations.") { "annotations" } else { &path };
            assert!(refused.message.contains(&format!("`{named}`")), "{path}: {}", refused.message);
        }
    }
    let found = files_with(&server.data(), &secret());
    assert!(found.is_empty(), "{found:?}");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_question_is_never_repeated() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record(event("bot-1", created("bot-1"))).await;
    let pool = descriptors();
    let mut asked = 0;
    for service in pool.services().filter(|s| s.name() != "AppendService") {
        for method in service.methods().filter(|m| !m.is_server_streaming()) {
            for (path, message) in with_text(&DynamicMessage::new(method.input()), &secret()) {
                let name = format!("{}/{}", service.name(), method.name());
                asked += 1;
                if let Err(refused) = raw(&server, &name, message.encode_to_vec()).await {
                    assert!(!refused.message().contains(&secret()), "{name} `{path}`: {refused}");
                    let details = String::from_utf8_lossy(refused.details()).into_owned();
                    assert!(!details.contains(&secret()), "{name} `{path}`: {refused}");
                }
            }
        }
    }
    assert!(asked > 30, "{asked}");
    assert!(files_with(&server.data(), &secret()).is_empty());
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_a_reason_and_a_domain() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let first = event("bot-1", created("bot-1"));
    clients.record(first.clone()).await;
    let taken = clients.try_record(pb::Event { fact: Some(created("x")), ..first }).await.unwrap_err();
    let moved = pb::AppendRequest {
        proposal: Some(pb::Proposal { event: Some(event("bot-1", issued("t"))), expected_version: Some(9) }),
        ..Default::default()
    };
    let moved = clients.append.clone().append(moved).await.unwrap_err();
    let name = pb::AppendRequest { ledger: "Über".into(), ..Default::default() };
    let name = clients.append.clone().append(name).await.unwrap_err();
    let missing = clients.account("nobody", None).await.unwrap_err();
    let size = clients.append.clone().append_batch(pb::AppendBatchRequest::default()).await.unwrap_err();
    let page = pb::ListEventsRequest { page_token: "zz".into(), ..Default::default() };
    let page = clients.query.clone().list_events(page).await.unwrap_err();
    let plan = pb::GetPlanRequest { plan: uuid::Uuid::new_v4().to_string(), ..Default::default() };
    let plan = clients.restore.clone().get_plan(plan).await.unwrap_err();
    let expected = [
        (taken, Code::AlreadyExists, "event_id_taken"),
        (moved, Code::FailedPrecondition, "version_moved"),
        (name, Code::InvalidArgument, "invalid_request"),
        (missing, Code::NotFound, "not_found"),
        (size, Code::InvalidArgument, "batch_size"),
        (page, Code::InvalidArgument, "invalid_page_token"),
        (plan, Code::NotFound, "plan_not_found"),
    ];
    for (status, code, reason) in expected {
        assert_eq!((status.code(), info(&status)), (code, (reason.into(), "tokenledger".into())), "{status}");
    }
    server.check().await;
}
