//! Which files are read, in which forms, and what becomes of broken ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn created(name: &str) -> Value {
    call("CreateUser", "2024-01-01T00:00:00Z", json!({ "userName": name }), Value::Null)
}

/// The samples that the product ships: an access key and a session of a role, and how they end.
#[tokio::test]
async fn the_samples_give_their_counts() {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cloudtrail");
    let mut ledger = FakeLedger::default();
    let summary = import(&[samples.as_ref()], &mut ledger).await;
    assert_eq!(
        serde_json::to_value(&summary).unwrap(),
        json!({"records": 14, "duplicates": 1, "failed_calls": 1, "unmapped": 2, "introduced": 1, "already_present": 0,
            "appended": {"AccountCreated": 2, "AccountDeleted": 1, "TokenIssued": 3, "TokenRevoked": 1,
                "GrantAdded": 1, "GrantRemoved": 1, "ConsumerDeclared": 1}})
    );
    let told: String = ledger.events.iter().map(|e| format!("{e:?}")).collect();
    assert!(told.contains("ASIASAMPLE0000000001") && !told.contains("sample-session-token"));
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn names(ledger: &FakeLedger) -> Vec<String> {
    told(ledger).iter().filter_map(|told| told.rsplit(':').next().map(str::to_owned)).collect()
}

#[tokio::test]
async fn of_a_directory_only_json_and_packed_json_are_read_at_any_depth() {
    let directory = directory(&[
        ("a.json", &log(&[created("a")])),
        ("b.txt", &log(&[created("b")])),
        ("us-east-1/2024/c.json.gz", &gz(&log(&[created("c")]))),
        ("d.gz", &gz(&log(&[created("d")]))),
        ("LICENSE", b"text"),
    ]);
    let mut ledger = FakeLedger::default();
    let summary = import(&[directory.path()], &mut ledger).await;
    assert!(summary.is_clean(), "{:?}", summary.problems);
    assert_eq!(names(&ledger), ["a", "c"]);
}

#[tokio::test]
async fn a_file_that_is_named_is_read_whatever_its_name() {
    let directory = directory(&[("log.txt", &log(&[created("a")])), ("packed", &gz(&log(&[created("b")])))]);
    let mut ledger = FakeLedger::default();
    let paths = [directory.path().join("packed"), directory.path().join("log.txt")];
    let summary = import(&[&paths[0], &paths[1]], &mut ledger).await;
    assert!(summary.is_clean());
    assert_eq!(names(&ledger), ["b", "a"], "equal times: the order of the files as named");
}

#[tokio::test]
async fn every_form_of_a_file_is_understood() {
    let pretty =
        serde_json::to_vec_pretty(&json!({"meta": {"deep": [1]}, "Records": [created("pretty")], "n": 1}));
    let mut two_members = gz(br#"{"Records":["#);
    two_members.extend(gz(format!("{}]}}\n", created("members")).as_bytes()));
    let files: [(&str, Vec<u8>); 7] = [
        ("1.json", json!([created("array")]).to_string().into_bytes()),
        ("2.json", created("single").to_string().into_bytes()),
        ("3.json", [b"\xEF\xBB\xBF", &log(&[created("marked")])[..]].concat()),
        ("4.json", pretty.unwrap()),
        ("5.json.gz", two_members),
        ("6.json.gz", log(&[created("not-packed")])),
        ("7.json", b"{\"Records\":[]}".to_vec()),
    ];
    let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
    let directory = directory(&borrowed);
    let mut ledger = FakeLedger::default();
    let summary = import(&[directory.path()], &mut ledger).await;
    assert!(summary.is_clean(), "{:?}", summary.problems);
    assert_eq!(names(&ledger), ["array", "single", "marked", "pretty", "members", "not-packed"]);
}

#[tokio::test]
async fn a_file_that_is_cut_off_is_named_its_records_before_are_used_and_the_rest_goes_on() {
    let whole = log(&[created("a"), created("b"), created("c")]);
    let at = String::from_utf8(whole.clone()).unwrap().rfind("userName\":\"c").unwrap();
    let noise: Vec<Value> = (0..3_000).map(|n| created(&format!("x{}", n * 7_919))).collect();
    let packed = gz(&log(&noise));
    let directory = directory(&[
        ("1.json", &whole[..at]),
        ("2.json.gz", &packed[..packed.len() / 2]),
        ("3.json", b""),
        ("4.json.gz", &packed[..9]),
        ("5.json", &log(&[created("last")])),
    ]);
    let mut ledger = FakeLedger::default();
    let summary = import(&[directory.path()], &mut ledger).await;
    let problems: Vec<String> = summary.problems.listed().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 4, "{problems:?}");
    for (problem, name) in problems.iter().zip(["1.json", "2.json.gz", "3.json", "4.json.gz"]) {
        assert!(problem.contains(name) && problem.contains("cut off"), "{problem}");
    }
    let names = names(&ledger);
    assert_eq!(&names[..2], ["a", "b"]);
    assert_eq!(names.last().unwrap(), "last");
    assert!(names.len() > 100, "of the packed file, what could be unpacked: {}", names.len());
    assert_eq!(summary.records, names.len() as u64);
}

#[tokio::test]
async fn a_file_that_is_not_cloudtrail_is_named_and_the_rest_goes_on() {
    let digest = br#"{"awsAccountId":"1","digestS3Object":"x","logFiles":[{"hashValue":"ab"}]}"#;
    let others: [&[u8]; 10] = [
        b"{}",
        digest,
        b"[1,2]",
        b"\"text\"",
        b"null",
        b"{\"Records\":null}",
        b"{\"Records\":{\"eventName\":1}}",
        b"<xml/>",
        b"{\"eventName\":\"CreateUser\"}",
        b"\xFF\xFE{\x00",
    ];
    for other in others {
        let directory = directory(&[("1.json", other), ("2.json", &log(&[created("a")]))]);
        let mut ledger = FakeLedger::default();
        let summary = import(&[directory.path()], &mut ledger).await;
        assert_eq!(summary.problems.count(), 1, "{}", String::from_utf8_lossy(other));
        assert!(summary.problems.listed()[0].file.as_ref().unwrap().ends_with("1.json"));
        assert_eq!((names(&ledger), summary.records), (vec!["a".to_owned()], 1));
    }
}

#[tokio::test]
async fn items_that_are_no_records_are_counted_and_the_records_between_are_used() {
    let list = json!({"Records": [1, created("a"), "x", [{}], {"b": 1}, null, created("c")]}).to_string();
    let directory = directory(&[("1.json", list.as_bytes())]);
    let mut ledger = FakeLedger::default();
    let summary = import(&[directory.path()], &mut ledger).await;
    assert_eq!(names(&ledger), ["a", "c"]);
    let problem = &summary.problems.listed()[0].problem;
    assert!(problem.contains("5 items") && problem.contains("first at 0"), "{problem}");
}

#[tokio::test]
async fn text_behind_the_records_is_named() {
    let directory = directory(&[("1.json", &[&log(&[created("a")])[..], b"{}"].concat())]);
    let mut ledger = FakeLedger::default();
    let summary = import(&[directory.path()], &mut ledger).await;
    assert!(summary.problems.listed()[0].problem.contains("not JSON in line 1"), "{:?}", summary.problems);
    assert_eq!(names(&ledger), ["a"]);
}

#[tokio::test]
async fn a_path_that_is_not_there_is_named_and_the_rest_goes_on() {
    let directory = directory(&[("1.json", &log(&[created("a")]))]);
    let missing = directory.path().join("missing");
    let mut ledger = FakeLedger::default();
    let summary = import(&[&missing, directory.path()], &mut ledger).await;
    assert_eq!(names(&ledger), ["a"]);
    assert!(
        summary.problems.listed()[0].to_string().contains("missing: cannot be read"),
        "{:?}",
        summary.problems
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_leads_upwards_ends_nowhere_and_one_to_a_file_is_followed() {
    let elsewhere = directory(&[("log", &log(&[created("linked")]))]);
    let directory = directory(&[("deep/1.json", &log(&[created("a")]))]);
    std::os::unix::fs::symlink(directory.path(), directory.path().join("deep/up")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("log"), directory.path().join("z.json")).unwrap();
    let mut ledger = FakeLedger::default();
    let summary = import(&[directory.path()], &mut ledger).await;
    assert_eq!((names(&ledger), summary.duplicates), (vec!["a".to_owned(), "linked".to_owned()], 0));
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_no_file_is_named_and_not_opened() {
    let directory = directory(&[("2.json", &log(&[created("a")]))]);
    std::os::unix::net::UnixListener::bind(directory.path().join("1.json")).unwrap();
    let mut ledger = FakeLedger::default();
    let summary = import(&[directory.path()], &mut ledger).await;
    assert!(summary.problems.listed()[0].to_string().ends_with("1.json: is neither a file nor a directory"));
    assert_eq!(names(&ledger), ["a"]);
}

#[tokio::test]
async fn thousands_of_small_files_go_into_full_batches() {
    let logs: Vec<(String, Vec<u8>)> =
        (0..1_200).map(|n| (format!("{n:04}.json"), log(&[created(&format!("u{n}"))]))).collect();
    let files: Vec<(&str, &[u8])> = logs.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
    let directory = directory(&files);
    let mut ledger = FakeLedger::default();
    let summary = import(&[directory.path()], &mut ledger).await;
    assert!(summary.is_clean());
    assert_eq!(ledger.batches, [500, 500, 200]);
    assert_eq!(names(&ledger)[..3], ["u0", "u1", "u2"]);
}
