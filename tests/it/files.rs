use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::binary_harness::{Served, data_of, files_below, say};
use crate::harness::{check_ledger, created, deleted, event, granted, issued};

/// A server with a few accounts, and their events.
async fn told(accounts: usize) -> Served {
    let server = Served::start();
    let clients = server.clients().await;
    for number in 0..accounts {
        let account = format!("bot-{number}");
        let facts = [created(&account), issued("t1"), granted("project-1", "maintainer"), deleted()];
        clients.batch(facts.map(|fact| event(&account, fact)).to_vec(), false).await;
    }
    server
}

fn verify(data: &Path) -> (Option<i32>, Value) {
    let said = say(&["verify", data.to_str().unwrap(), "-o", "json"]);
    (said.code, said.json())
}

fn segments(data: &Path) -> Vec<PathBuf> {
    files_below(data).into_iter().filter(|file| file.extension().is_some_and(|ext| ext == "seg")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_has_its_promised_shape_beside_a_server_and_after_it() {
    let server = told(3).await;
    let data = server.data();
    let head = server.json(&["ledgers", "describe"])["head"].clone();
    let uid = server.json(&["ledgers", "describe"])["uid"].clone();
    let sound = json!({"ok": true, "ledgers": [{"ledger": "default", "entries": 13, "head": head, "torn_bytes": 0,
        "damage": [], "damage_unlisted": 0, "uid": uid}]});
    let judged = |when: &str| {
        let (code, mut said) = verify(&data);
        let ledger = said["ledgers"][0].as_object_mut().unwrap();
        assert_eq!(ledger.remove("tree").unwrap().as_str().unwrap().len(), 64);
        assert!(ledger.remove("checkpoints").unwrap().is_array());
        assert_eq!((code, said), (Some(0), sound.clone()), "{when}");
    };
    judged("beside a server that runs");
    let dir = server.stop();
    judged("after it");
    check_ledger(&data_of(&dir), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_beside_a_server_under_load_never_cries_wolf() {
    let server = told(1).await;
    let clients = server.clients().await;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let load = tokio::spawn(async move {
        let mut number = 0;
        while !stopped.load(Ordering::Relaxed) {
            let account = format!("load-{number}");
            clients.record(event(&account, created(&account))).await;
            number += 1;
        }
    });
    let first = verify(&server.data()).1["ledgers"][0]["entries"].as_u64().unwrap();
    let mut last = first;
    // On a busy machine the load may be slow to begin: it is judged beside it until there was some.
    for round in 0.. {
        let (code, report) = verify(&server.data());
        assert_eq!(code, Some(0), "{report}");
        let entries = report["ledgers"][0]["entries"].as_u64().unwrap();
        assert!(entries >= last, "{report}");
        last = entries;
        if round >= 10 && last > first {
            break;
        }
        assert!(round < 2_000, "the load went on: {first} to {last}");
    }
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_is_named_with_code_3_by_its_position_file_and_offset() {
    let server = told(3).await;
    let data = server.data();
    // The middle of the third entry, as the program itself shows where it stands.
    let dir = server.stop();
    let place = inspect(&data, 3);
    let offset = place["offset"].as_u64().unwrap() + place["bytes"].as_u64().unwrap() / 2;
    let file = data.join("ledgers/default").join(place["file"].as_str().unwrap());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[offset as usize] ^= 0x10;
    std::fs::write(&file, &bytes).unwrap();

    let said = say(&["verify", data.to_str().unwrap(), "-o", "json"]).ends(3);
    let report = said.json();
    assert_eq!(report["ok"], false);
    let damage = &report["ledgers"][0]["damage"][0];
    assert_eq!(damage["position"], 3, "{report}");
    assert!(file.ends_with(damage["file"].as_str().unwrap()), "{report}");
    let named = damage["offset"].as_u64().unwrap();
    let frame = place["offset"].as_u64().unwrap();
    assert!((frame..frame + place["bytes"].as_u64().unwrap()).contains(&named), "{report}");
    assert!(!damage["reason"].as_str().unwrap().is_empty());

    // A server on it keeps serving what is sound, and takes nothing more.
    let server = Served::on(dir);
    let clients = server.clients().await;
    let refused = clients.try_record(event("bot-9", created("bot-9"))).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    assert_eq!(server.json(&["events", "get", "2"])["kind"], "TokenIssued");
    let described = server.json(&["ledgers", "describe"]);
    assert_eq!(described["damage"][0]["position"], 3, "{described}");
    assert!(described["stopped"].is_string(), "{described}");
    server.stop();
}

#[test]
fn verify_of_what_is_no_data_directory_fails_without_saying_that_it_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_path_buf(), dir.path().join("missing")] {
        let said = say(&["verify", path.to_str().unwrap(), "-o", "json"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains(path.to_str().unwrap()), "{said:?}");
    }
    // One that was never written to is sound.
    let dir = Served::start().stop();
    assert_eq!(verify(&data_of(&dir)), (Some(0), json!({"ok": true, "ledgers": []})));
}

fn inspect(data: &Path, position: u64) -> Value {
    say(&["log", "inspect", data.to_str().unwrap(), &position.to_string(), "-o", "json"]).ends(0).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_shown_byte_by_byte() {
    let server = told(1).await;
    let data = server.data();
    let link = server.json(&["events", "get", "2"])["link"].clone();
    for position in 0..5 {
        let shown = inspect(&data, position);
        assert_eq!(shown["position"], position);
        let file = std::fs::read(data.join("ledgers/default").join(shown["file"].as_str().unwrap())).unwrap();
        let offset = shown["offset"].as_u64().unwrap() as usize;
        let frame = &file[offset..offset + shown["bytes"].as_u64().unwrap() as usize];
        let fields = shown["fields"].as_array().unwrap();
        let all: String = fields.iter().map(|field| field["bytes"].as_str().unwrap()).collect();
        assert_eq!(all, hex::encode(frame), "every byte, once, in order");
        let mut at = 0;
        for field in fields {
            assert_eq!(field["offset"], at, "{field}");
            at += field["bytes"].as_str().unwrap().len() / 2;
        }
    }
    let next = inspect(&data, 3);
    let previous =
        next["fields"].as_array().unwrap().iter().find(|f| f["name"] == "entry.previous_link").unwrap();
    assert_eq!(previous["bytes"], link, "the chain");
    let missing = say(&["log", "inspect", data.to_str().unwrap(), "99"]).ends(4);
    assert_eq!(missing.stdout, "");
    say(&["log", "inspect", data.to_str().unwrap(), "0", "--ledger", "nowhere"]).ends(4);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_reads_the_files() {
    let server = told(2).await;
    server.json(&["rebuild"]);
    let data = server.data();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files = files_below(&data);
    assert!(
        !segments(&data).is_empty()
            && files.iter().any(|file| file.starts_with(data.join("projections/sled")))
    );
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
        for dir in file.ancestors().skip(1).take_while(|dir| dir.starts_with(&data)) {
            assert_eq!(mode(dir), 0o700, "{}", dir.display());
        }
    }
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_or_broken_projections_are_built_anew_from_the_log() {
    let mut server = told(5).await;
    let data = server.data();
    let expected = server.json(&["account", "list"]);
    for harm in ["removed", "overwritten"] {
        let dir = server.stop();
        let projections = files_below(&data.join("projections"));
        assert!(!projections.is_empty());
        for file in projections {
            match harm {
                "removed" => std::fs::remove_file(&file).unwrap(),
                _ => std::fs::write(&file, vec![0xA5; std::fs::metadata(&file).unwrap().len() as usize])
                    .unwrap(),
            }
        }
        server = Served::on(dir);
        assert_eq!(server.json(&["account", "list"]), expected, "{harm}");
        assert_eq!(server.json(&["account", "history", "bot-3"]).as_array().unwrap().len(), 4, "{harm}");
    }
    server.check().await;
}
