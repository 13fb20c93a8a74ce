//! CloudTrail as AWS writes it, in samples of our own.

mod files;
mod mapping;
mod real;
mod whole;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::gather;
use crate::import::fake::FakeLedger;
use crate::import::{Progress, Summary};

const AWS: &str = "111122223333";

/// A call by the user `alice`.
fn call(name: &str, time: &str, request: Value, response: Value) -> Value {
    let source = match name {
        n if n.starts_with("AssumeRole") || n.ends_with("Token") => "sts.amazonaws.com",
        _ => "iam.amazonaws.com",
    };
    let id =
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{name}{time}{request}{response}").as_bytes());
    json!({
        "eventVersion": "1.08",
        "userIdentity": {"type": "IAMUser", "principalId": "AIDAEXAMPLE", "accountId": AWS,
            "arn": format!("arn:aws:iam::{AWS}:user/alice"), "userName": "alice"},
        "eventTime": time, "eventSource": source, "eventName": name, "awsRegion": "us-east-1",
        "requestParameters": request, "responseElements": response,
        "requestID": "7a52cdd1-0000-4000-8000-000000000001", "eventID": id, "recipientAccountId": AWS
    })
}

fn with(mut record: Value, field: &str, value: Value) -> Value {
    record[field] = value;
    record
}

fn failed(record: Value) -> Value {
    with(record, "errorCode", "AccessDenied".into())
}

/// A directory with these files.
fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    directory
}

fn log(records: &[Value]) -> Vec<u8> {
    json!({ "Records": records }).to_string().into_bytes()
}

async fn import(paths: &[&Path], ledger: &mut FakeLedger) -> Summary {
    let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
    let mut nothing = |_: Progress| {};
    gather(&paths, &mut nothing).deliver(ledger, &mut nothing).await.unwrap()
}

async fn import_records(records: &[Value], ledger: &mut FakeLedger) -> Summary {
    let directory = directory(&[("log.json", &log(records))]);
    import(&[directory.path()], ledger).await
}

/// Kind and account of each event that was appended.
fn told(ledger: &FakeLedger) -> Vec<String> {
    let account = |e: &ledger::event::Event| e.account.as_ref().map_or(String::new(), ToString::to_string);
    ledger.events.iter().map(|e| format!("{} {}", e.fact.kind().name(), account(e))).collect()
}
