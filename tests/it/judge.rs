use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::binary_harness::{Said, Served, data_of, files_below, say};
use crate::harness::{check_ledger, created, event};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A server that signs with the key in `dir`, which is made if need be, and keeps anchors there.
fn anchored(dir: tempfile::TempDir) -> Served {
    let (key, anchor, data) = (dir.path().join("key"), dir.path().join("anchors"), data_of(&dir));
    if !key.exists() {
        say(&["key", "generate", "--out", text(&key)]).ends(0);
    }
    let files = ["--key", text(&key), "--anchor", text(&anchor), "--data", text(&data)];
    let words = [&["serve", "--listen", "127.0.0.1:0"], &files[..]].concat();
    Served::run(dir, &words)
}

async fn told(server: &Served, accounts: std::ops::Range<u32>) {
    let clients = server.clients().await;
    for number in accounts {
        let account = format!("bot-{number}");
        clients.record(event(&account, created(&account))).await;
    }
}

fn copy(from: &Path, to: &Path) {
    for file in files_below(from) {
        let to = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
}

fn verify(data: &Path, given: &[&str]) -> Said {
    say(&[&["verify", text(data), "-o", "json"], given].concat())
}

fn checkpoints(said: &Said) -> Vec<(String, bool, String)> {
    let of = |one: &Value| {
        let word = |name: &str| one[name].as_str().unwrap().to_owned();
        assert_eq!(one["ok"] == json!(true), one["reason"].is_null());
        (word("source"), one["ok"] == json!(true), word("signature"))
    };
    said.json()["ledgers"][0]["checkpoints"].as_array().unwrap().iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_put_back_is_caught_by_the_anchors_and_by_one_old_checkpoint_and_only_by_them() {
    let server = anchored(tempfile::tempdir().unwrap());
    told(&server, 0..9).await;
    let dir = server.stop();
    let old = dir.path().join("old");
    copy(&data_of(&dir), &old);
    let old_note = dir.path().join("old-note");
    std::fs::copy(old.join("ledgers/default/checkpoint"), &old_note).unwrap();
    let server = anchored(dir);
    told(&server, 9..20).await;
    let dir = server.stop();
    let data = data_of(&dir);
    let (anchor, note) = (dir.path().join("anchors"), data.join("ledgers/default/checkpoint"));
    let key = say(&["key", "show", text(&dir.path().join("key"))]).ends(0).stdout.trim().to_owned();

    let all = ["--key", &key, "--anchor", text(&anchor), "--expect-checkpoint", text(&old_note)];
    let sound = verify(&data, &all).ends(0);
    let good = |source: &str| (source.to_owned(), true, "good".to_owned());
    assert_eq!(checkpoints(&sound), [good("kept"), good("anchor"), good("given")]);
    let unchecked = verify(&data, &all[2..]).ends(0);
    assert!(checkpoints(&unchecked).iter().all(|one| one.2.starts_with("not checked: no key")));

    // It agrees with itself, and its own checkpoint is signed.
    verify(&old, &["--key", &key]).ends(0);
    for given in [["--anchor", text(&anchor)], ["--expect-checkpoint", text(&note)]] {
        let said = verify(&old, &given).ends(3);
        let report = said.json();
        assert_eq!((&report["ok"], &report["ledgers"][0]["damage"]), (&json!(false), &json!([])));
        let entries = report["ledgers"][0]["entries"].as_u64().unwrap();
        let last = report["ledgers"][0]["checkpoints"][1]["size"].as_u64().unwrap() - 1;
        let missing = format!("the entries from position {entries} to {last} are missing");
        assert_eq!(report["ledgers"][0]["checkpoints"][1]["reason"], json!(missing));
        let people = say(&[&["verify", text(&old), "-o", "table"], &given[..]].concat()).ends(3);
        assert!(people.stdout.contains(&missing) && people.stdout.contains("contradicted"), "{people:?}");
    }
    // A key of somebody else, a ledger that is gone, and files that are none.
    let other = dir.path().join("other");
    let foreign = say(&["key", "generate", "--out", text(&other)]).ends(0).stdout.trim().to_owned();
    assert_eq!(checkpoints(&verify(&data, &["--key", &foreign]).ends(3))[0].2, "bad");
    let elsewhere = say(&["key", "show", text(&other), "--ledger", "gone"]).ends(0).stdout;
    let gone = verify(&data, &["--key", elsewhere.trim()]).ends(3).json();
    assert_eq!((&gone["ledgers"][1]["ledger"], &gone["ledgers"][0]["damage"]), (&json!("gone"), &json!([])));
    verify(&data, &["--key", text(&other)]).ends(2);
    verify(&data, &["--anchor", text(&note)]).ends(1);
    verify(&data, &["--expect-checkpoint", text(&dir.path().join("nowhere"))]).ends(1);
    check_ledger(&data, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_hash_of_the_stored_tree_or_checkpoint_is_named_and_a_lost_one_is_not_missed() {
    let server = anchored(tempfile::tempdir().unwrap());
    told(&server, 0..9).await;
    let dir = server.stop();
    let data = data_of(&dir);
    let in_ledger = |name: &str| -> PathBuf { data.join("ledgers/default").join(name) };
    let (level, kept) = (in_ledger("tree/level-0"), in_ledger("checkpoint"));
    let (hashes, note) = (std::fs::read(&level).unwrap(), std::fs::read(&kept).unwrap());
    assert!(hashes.len() > 9 * 32, "{}", hashes.len());

    let mut edited = hashes.clone();
    edited[3 * 32 + 7] ^= 1;
    std::fs::write(&level, &edited).unwrap();
    let said = verify(&data, &[]).ends(3).json();
    let damage = &said["ledgers"][0]["damage"];
    assert_eq!((&damage[0]["file"], &damage[0]["offset"]), (&json!("tree/level-0"), &json!(96)));
    assert_eq!((&damage[0]["position"], damage.as_array().unwrap().len()), (&json!(3), 1));
    std::fs::remove_file(&level).unwrap();
    verify(&data, &[]).ends(0);
    std::fs::write(&level, &hashes).unwrap();

    // Another root under the old signature.
    let text = String::from_utf8(note.clone()).unwrap();
    let root = text.lines().nth(2).unwrap();
    let other = match root.strip_prefix('A') {
        Some(rest) => format!("B{rest}"),
        None => format!("A{}", &root[1..]),
    };
    std::fs::write(&kept, text.replace(root, &other)).unwrap();
    let said = verify(&data, &[]).ends(3);
    assert_eq!(
        checkpoints(&said),
        [("kept".into(), false, "not checked: no key of the ledger was given".into())]
    );
    std::fs::remove_file(&kept).unwrap();
    let said = verify(&data, &[]).ends(0);
    assert_eq!(checkpoints(&said), []);
    std::fs::write(&kept, note).unwrap();
    check_ledger(&data, None).await;
}
