use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::binary_harness::{Served, files_below};

/// A real export of a simulated attack, which is no part of the product; its values stay where it lies. It is looked
/// for at `TOKENLEDGER_SHARED`, else at `../shared`.
fn export() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let path =
        std::env::var_os("TOKENLEDGER_SHARED").map_or_else(beside, PathBuf::from).join("data/cloudtrail");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: no CloudTrail export at {}; set TOKENLEDGER_SHARED", path.display());
    None
}

fn import(server: &Served, path: &Path) -> Value {
    server.json(&["import", "cloudtrail", path.to_str().unwrap()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_export_gives_the_known_events_once() {
    let Some(path) = export() else { return };
    let server = Served::start();
    let mut first = import(&server, &path);
    let introduced = first["introduced"].take().as_u64().unwrap();
    assert_eq!(
        first,
        json!({"records": 2900, "duplicates": 0, "failed_calls": 16, "unmapped": 2776, "introduced": null,
            "already_present": 0, "appended": {"AccountCreated": 17, "AccountDeleted": 17, "TokenIssued": 40,
            "TokenRevoked": 4, "GrantAdded": 12, "GrantRemoved": 10, "AccountUpdated": 2, "ConsumerDeclared": 3,
            "ConsumerReleased": 3}})
    );
    let entries = |server: &Served| server.json(&["ledgers", "describe"])["entries"].as_u64().unwrap();
    assert_eq!(
        entries(&server),
        1 + 108 + introduced,
        "the genesis, the events, and the accounts met in them"
    );
    assert_eq!(
        import(&server, &path),
        json!({"records": 2900, "duplicates": 0, "failed_calls": 16, "unmapped": 2776, "introduced": 0,
            "already_present": 108, "appended": {}})
    );
    assert_eq!(entries(&server), 1 + 108 + introduced);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_token_of_a_real_export_lies_in_any_file() {
    let Some(path) = export() else { return };
    let tokens = session_tokens(&path);
    assert_eq!(tokens.len(), 36);
    let server = Served::start();
    import(&server, &path);
    // An answer of every kind, so that whatever is kept beside the log is there too.
    server.json(&["account", "list"]);
    server.json(&["events", "list"]);
    let data = server.data();
    server.json(&["rebuild"]);
    let while_it_runs = files_below(&data);
    assert!(while_it_runs.iter().any(|file| file.starts_with(data.join("projections"))), "{while_it_runs:?}");
    assert_clean(&data, &tokens);
    let dir = server.stop();
    assert_clean(dir.path(), &tokens);
    crate::harness::check_ledger(&data, None).await;
}

fn session_tokens(path: &Path) -> BTreeSet<String> {
    let logs = files_below(path)
        .into_iter()
        .filter_map(|file| serde_json::from_str::<Value>(&std::fs::read_to_string(file).ok()?).ok());
    let records: Vec<Value> = logs.flat_map(|log| log["Records"].as_array().unwrap().clone()).collect();
    let token = |record: &Value| {
        Some(record.pointer("/responseElements/credentials/sessionToken")?.as_str()?.to_owned())
    };
    records.iter().filter_map(token).collect()
}

/// No file holds any of the secrets, nor the beginning of one.
fn assert_clean(dir: &Path, secrets: &BTreeSet<String>) {
    assert!(!holding(dir, b"malicious-iam-user").is_empty(), "what is recorded is found by this search");
    // 40 of hundreds of characters: many begin alike.
    let starts: BTreeSet<&[u8]> = secrets.iter().map(|secret| &secret.as_bytes()[..40]).collect();
    for start in starts {
        assert_eq!(holding(dir, start), Vec::<PathBuf>::new(), "they hold a secret");
    }
}

/// The files below a directory that hold these bytes.
fn holding(dir: &Path, wanted: &[u8]) -> Vec<PathBuf> {
    let holds = |file: &PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(wanted.len()).any(|window| window == wanted)
    };
    files_below(dir).into_iter().filter(holds).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attackers_user_comes_back_from_a_real_export_as_it_was() {
    let Some(path) = export() else { return };
    let server = Served::start();
    import(&server, &path);
    let user = "malicious-iam-user";

    let history = server.json(&["account", "history", user]);
    let story: Vec<(&str, &str)> =
        history.as_array().unwrap().iter().map(|e| (text(&e["kind"]), text(&e["occurred_at"]))).collect();
    let (born, keyed, gone) = ("2023-07-10T12:24:49Z", "2023-07-10T12:24:50Z", "2023-07-10T12:28:24Z");
    assert_eq!(
        story,
        [
            ("AccountCreated", born),
            ("GrantAdded", born),
            ("TokenIssued", keyed),
            ("TokenRevoked", gone),
            ("GrantRemoved", gone),
            ("AccountDeleted", gone)
        ]
    );

    let before = server.json(&["account", "show", user, "--at", "2023-07-10T12:26:00Z"]);
    assert_eq!(
        (text(&before["status"]), text(&before["account"])),
        ("live", "123837392027:user:malicious-iam-user")
    );
    assert_eq!(active(&before), ["AKIATFQR7NSCQLA2F4OD"]);
    assert_eq!(before["grants"].as_array().unwrap().len(), 1);
    assert_eq!(before["grants"][0]["grant"], "policy/arn:aws:iam::aws:policy/AdministratorAccess");
    let deleted = server.json(&["account", "show", user]);
    assert_eq!(deleted["status"], "deleted");
    assert_eq!(active(&deleted), [""; 0]);

    let found = server.json(&["deletions", "find", "--from", gone, "--to", "2023-07-10T12:28:25Z"]);
    assert_eq!(
        (text(&found[0]["account"]), &found[0]["active_tokens"]),
        (text(&before["account"]), &json!(1))
    );

    let plan = server.json(&["restore", "plan", user]);
    assert_eq!(plan["items"][0]["conflicts"], json!([]));
    let receipt = server.json(&["restore", "apply", text(&plan["plan"]), "--hash", text(&plan["hash"])]);
    let item = &receipt["items"][0];
    assert_eq!((text(&item["outcome"]), &item["differences"]), ("restored", &json!([])));
    assert_eq!(item["digest_before"], item["digest_after"]);
    assert_eq!(item["digest_after"], before["digest"], "the digest of the moment before");

    let after = server.json(&["account", "show", user]);
    for same in ["status", "digest", "grants", "account", "handle"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    assert_eq!(active(&after), active(&before));
    server.check().await;
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn active(account: &Value) -> Vec<&str> {
    let tokens = account["tokens"].as_array().unwrap().iter();
    tokens.filter(|token| token["status"] == "active").map(|token| text(&token["token"])).collect()
}

/// A record of a call about a user.
fn record(id: &str, second: u32, name: &str, parameters: Value) -> Value {
    json!({
        "eventVersion": "1.08", "eventSource": "iam.amazonaws.com", "eventName": name, "eventID": id,
        "eventTime": format!("2024-03-01T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60),
        "awsRegion": "us-east-1", "recipientAccountId": "111122223333", "requestParameters": parameters,
        "userIdentity": {"type": "IAMUser", "accountId": "111122223333", "userName": "alice",
            "arn": "arn:aws:iam::111122223333:user/alice"},
    })
}

fn create_user(number: u32) -> Value {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &number.to_be_bytes()).to_string();
    record(&id, number, "CreateUser", json!({"userName": format!("user-{number}")}))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_file_is_read_and_what_is_cut_off_is_named_while_the_rest_goes_on() {
    let input = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(input.path().join(name), bytes).unwrap();
    let wrapped = json!({"Records": [create_user(1), create_user(2)]}).to_string();
    write("1-wrapped.json", wrapped.as_bytes());
    write("2-bare.json", json!([create_user(3), create_user(1)]).to_string().as_bytes());
    write("3-one.json", create_user(4).to_string().as_bytes());
    write("4-packed.json.gz", &gzip(json!({"Records": [create_user(5)]}).to_string().as_bytes()));
    let cut = json!({"Records": [create_user(6), create_user(7)]}).to_string();
    write("5-cut.json", &cut.as_bytes()[..cut.len() - 20]);
    let packed = gzip(json!({"Records": [create_user(8)]}).to_string().as_bytes());
    write("6-cut.json.gz", &packed[..packed.len() - 12]);
    write("7-other.json", b"{\"name\":\"a package\"}");
    write("README.txt", b"is not read");
    let mut failed = create_user(9);
    failed["errorCode"] = "EntityAlreadyExists".into();
    write("8-failed.json", failed.to_string().as_bytes());

    let server = Served::start();
    let said = server.ask(&["import", "cloudtrail", input.path().to_str().unwrap(), "-o", "json"]).ends(1);
    let summary = said.json();
    for name in ["5-cut.json", "6-cut.json.gz", "7-other.json"] {
        assert!(said.stderr.contains(name), "{said:?}");
        let problems = summary["problems"].as_array().unwrap();
        assert!(problems.iter().any(|p| text(&p["file"]).ends_with(name)), "{name}: {summary}");
    }
    for sound in ["1-wrapped", "2-bare", "3-one", "4-packed", "8-failed", "README"] {
        assert!(!said.stderr.contains(sound), "{said:?}");
    }
    assert_eq!((&summary["duplicates"], &summary["failed_calls"]), (&json!(1), &json!(1)), "{summary}");
    let accounts = server.json(&["account", "list", "--prefix", "111122223333:user:user-"]);
    let users: BTreeSet<&str> = accounts.as_array().unwrap().iter().map(|a| text(&a["handle"])).collect();
    for number in 1..=5 {
        assert!(users.contains(&*format!("user-{number}")), "{users:?}");
    }
    assert!(!users.contains("user-9"), "a failed call is not recorded");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_small_files_are_one_import() {
    let input = tempfile::tempdir().unwrap();
    for number in 0..3_000 {
        let folder = input.path().join(format!("{}", number / 500));
        std::fs::create_dir_all(&folder).unwrap();
        // The names run against the time.
        let file = folder.join(format!("{:04}.json", 3_000 - number));
        std::fs::write(file, json!({"Records": [create_user(number)]}).to_string()).unwrap();
    }
    let server = Served::start();
    let summary = import(&server, input.path());
    assert_eq!((&summary["records"], &summary["appended"]), (&json!(3000), &json!({"AccountCreated": 3000})));
    let events = server.ask(&["events", "list", "--kind", "AccountCreated", "-o", "ndjson"]).ends(0).lines();
    assert_eq!(events.len(), 3_000);
    let times: Vec<&str> = events.iter().map(|event| text(&event["occurred_at"])).collect();
    assert!(times.is_sorted(), "they are recorded in the order of time");
    assert_eq!(import(&server, input.path())["already_present"], 3000);
    server.check().await;
}
