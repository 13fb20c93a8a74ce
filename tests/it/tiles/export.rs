//! `export tiles`.

use std::path::Path;

use serde_json::{Value, json};

use super::{expected, files, forge, get, grow, served, served_on, size_of, stored, verifier};
use crate::binary_harness::{Said, data_of, say};
use crate::harness::check_ledger;

fn export(data: &Path, out: &Path) -> Said {
    say(&["export", "tiles", data.to_str().unwrap(), "--out", out.to_str().unwrap(), "-o", "json"])
}

/// Exports, which must succeed: what it says.
pub fn exported(data: &Path, out: &Path) -> Value {
    export(data, out).ends(0).json()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_what_follows_from_the_entries_beside_a_server_and_without_it() {
    let server = served();
    let size = grow(&server, 600).await;
    let log = stored(&server, size).await;
    let note = get(&server, "checkpoint").body;
    let dir = tempfile::tempdir().unwrap();
    let (beside, without) = (dir.path().join("beside"), dir.path().join("a/b/without"));
    let said = exported(&server.data(), &beside);
    let root = hex::encode(verifier().open(&note).unwrap().tree.root);
    assert_eq!(
        said,
        json!({"ledger": "default", "origin": super::ORIGIN, "size": size, "signed": size, "root": root, "out": beside,
            "written": 7, "kept": 0, "replaced": 0, "removed": 0})
    );
    assert_eq!(files(&beside), expected(&note, &log));
    let kept = server.stop();
    exported(&data_of(&kept), &without);
    assert_eq!(files(&without), files(&beside));
    check_ledger(&data_of(&kept), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_on_where_it_stopped_and_cleans_up_what_is_replaced() {
    let (server, dir) = (served(), tempfile::tempdir().unwrap());
    let out = dir.path().join("log");
    let counts =
        |said: &Value| ["written", "kept", "replaced", "removed"].map(|name| said[name].as_u64().unwrap());
    assert_eq!(grow(&server, 99).await, 100);
    assert_eq!(counts(&exported(&server.data(), &out)), [2, 0, 0, 0]);
    assert_eq!(counts(&exported(&server.data(), &out)), [0, 2, 0, 0], "nothing is new");
    assert_eq!(grow(&server, 20).await, 120);
    // Whoever has the earlier checkpoint may still ask for what is partial in it.
    assert_eq!(counts(&exported(&server.data(), &out)), [2, 2, 0, 0]);
    assert!(out.join("tile/0/000.p/100").exists() && out.join("tile/entries/000.p/120").exists());
    std::fs::write(out.join("tile/0/000.p/100"), b"edited").unwrap();
    assert_eq!(counts(&exported(&server.data(), &out)), [0, 3, 1, 0], "as it must be again");
    std::fs::write(out.join("tile/0/000.p/200"), [0; 6400]).unwrap();
    std::fs::write(out.join("tile/0/000.p/note.txt"), b"somebody's").unwrap();
    let size = grow(&server, 400).await;
    // Two full tiles and bundles, a partial one of each, the next level; five that nobody needs.
    assert_eq!(counts(&exported(&server.data(), &out)), [7, 0, 0, 5]);
    std::fs::remove_file(out.join("tile/0/000.p/note.txt")).unwrap();
    std::fs::remove_dir(out.join("tile/0/000.p")).unwrap();
    let (note, log) = (get(&server, "checkpoint").body, stored(&server, size).await);
    assert_eq!(files(&out), expected(&note, &log), "as if it had been made at once");
    assert!(!out.join("tile/entries/000.p").exists());
    // An edit of a full one is put right and told of.
    std::fs::write(out.join("tile/entries/000"), b"edited").unwrap();
    let said = export(&server.data(), &out).ends(0);
    assert_eq!(counts(&said.json()), [0, 6, 1, 0]);
    assert!(said.stderr.contains("1 file in"), "{said:?}");
    assert_eq!(files(&out), expected(&note, &log));
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_log_that_was_signed_is_not_exported_and_harms_no_earlier_export() {
    let (server, dir) = (served(), tempfile::tempdir().unwrap());
    let (out, early, late) = (dir.path().join("log"), dir.path().join("early"), dir.path().join("late"));
    grow(&server, 300).await;
    let stopped = server.stop();
    copy(&data_of(&stopped), &early);
    let server = served_on(stopped);
    grow(&server, 300).await;
    let stopped = server.stop();
    copy(&data_of(&stopped), &late);
    exported(&late, &out);
    let sound = files(&out);
    let refused = |data: &Path, why: &str| {
        let said = export(data, &out).ends(3);
        assert!(said.stdout.is_empty() && said.stderr.contains(why), "{said:?}");
        assert_eq!(files(&out), sound, "nothing was touched");
    };
    refused(&early, "older copy");
    // Another history from the early copy on, signed with the same key and longer.
    let fork = tempfile::tempdir().unwrap();
    copy(&early, &data_of(&fork));
    let forked = served_on(fork);
    grow(&forked, 400).await;
    let forked = forked.stop();
    refused(&data_of(&forked), "are others than those that were exported before");
    // A checkpoint of another history; one that is cut; an entry that was changed; a log that was cut.
    let checkpoint = late.join("ledgers/default/checkpoint");
    let note = std::fs::read(&checkpoint).unwrap();
    std::fs::copy(data_of(&forked).join("ledgers/default/checkpoint"), &checkpoint).unwrap();
    refused(&late, "the log ends at position 601");
    std::fs::write(&checkpoint, &note[..note.len() - 1]).unwrap();
    refused(&late, "no signed checkpoint");
    std::fs::write(&checkpoint, &note).unwrap();
    let segment = late.join("ledgers/default/log/00000000000000000000.seg");
    let bytes = std::fs::read(&segment).unwrap();
    let mut changed = bytes.clone();
    changed[5_000] ^= 1;
    std::fs::write(&segment, changed).unwrap();
    refused(&late, "damage at position");
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(exported(&late, &out)["written"], 0);
    check_ledger(&data_of(&stopped), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_changed_together_with_its_checksums_is_found_by_the_root() {
    let (server, dir) = (served(), tempfile::tempdir().unwrap());
    grow(&server, 40).await;
    let stopped = server.stop();
    let copied = dir.path().join("data");
    copy(&data_of(&stopped), &copied);
    let segment = copied.join("ledgers/default/log/00000000000000000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    forge(&mut bytes, 7);
    std::fs::write(&segment, bytes).unwrap();
    let said = export(&copied, &dir.path().join("log")).ends(3);
    assert!(said.stderr.contains("do not lead to its checkpoint"), "{said:?}");
    assert!(files(&dir.path().join("log")).is_empty());
    check_ledger(&data_of(&stopped), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_says_why_and_leaves_the_checkpoint_that_was_there() {
    let (server, dir) = (served(), tempfile::tempdir().unwrap());
    let (data, out) = (server.data(), dir.path().join("log"));
    grow(&server, 99).await;
    exported(&data, &out);
    let before = std::fs::read(out.join("checkpoint")).unwrap();
    let size = grow(&server, 10).await;
    // The last file of all can't be written.
    let blocked = out.join(format!("tile/0/000.p/{size}"));
    std::fs::create_dir(&blocked).unwrap();
    let said = export(&data, &out).ends(1);
    assert!(said.stderr.contains(blocked.to_str().unwrap()), "{said:?}");
    assert_eq!(std::fs::read(out.join("checkpoint")).unwrap(), before, "it is replaced last");
    std::fs::remove_dir(&blocked).unwrap();
    exported(&data, &out);
    assert_eq!(size_of(&std::fs::read(out.join("checkpoint")).unwrap()), size);

    let words = |more: &[&str]| {
        let out = dir.path().join("other");
        let words = ["export", "tiles", data.to_str().unwrap(), "--out", out.to_str().unwrap(), "-o", "json"];
        say(&[&words[..], more].concat())
    };
    assert!(words(&["--ledger", "nowhere"]).ends(4).stderr.contains("no ledger nowhere"));
    words(&["--key", &verifier().to_string()]).ends(0);
    let other = crate::harness::key().verifier(&"other".parse().unwrap()).to_string();
    words(&["--key", &other]).ends(3);
    words(&["--key", "nonsense"]).ends(2);
    let within =
        say(&["export", "tiles", data.to_str().unwrap(), "--out", data.join("log").to_str().unwrap()])
            .ends(1);
    assert!(within.stderr.contains("outside") && !data.join("log").exists(), "{within:?}");
    // An export of another log is not written over.
    std::fs::write(out.join("checkpoint"), before.replace_once(b"default", b"another")).unwrap();
    assert!(export(&data, &out).ends(1).stderr.contains("holds the log"), "it names the other");
    server.check().await;
}

trait ReplaceOnce {
    fn replace_once(&self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl ReplaceOnce for Vec<u8> {
    fn replace_once(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = self.windows(from.len()).position(|window| window == from).unwrap();
        [&self[..at], to, &self[at + from.len()..]].concat()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_without_a_checkpoint_is_not_exported_and_the_refusal_says_what_to_do() {
    let server = crate::binary_harness::Served::start();
    server.clients().await.record(crate::harness::event("bot-1", crate::harness::created("bot-1"))).await;
    let dir = tempfile::tempdir().unwrap();
    let said = export(&server.data(), &dir.path().join("log")).ends(1);
    assert!(said.stderr.contains("--key FILE"), "{said:?}");
    assert!(!dir.path().join("log").exists());
    server.check().await;
}
