use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokenledger::wire::pb;
use tokenledger::wire::pb::prove_inclusion_request::Which;
use tonic::Code;

use crate::between::Between;
use crate::binary_harness::{Said, Served, data_of, feed, say};

/// A server that signs, its public key, and a directory for files.
struct Stage {
    server: Served,
    key: String,
    files: TempDir,
}

impl Stage {
    fn new() -> Self {
        let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let private = files.path().join("private");
        let private = private.to_str().unwrap();
        let key = say(&["key", "generate", "--out", private, "-o", "json"]).ends(0).json();
        let data = data_of(&dir);
        let data = data.to_str().unwrap();
        let server =
            Served::run(dir, &["serve", "--listen", "127.0.0.1:0", "--data", data, "--key", private]);
        Self { server, key: key["key"].as_str().unwrap().to_owned(), files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn record(&self, events: &[Value]) -> Value {
        let lines: Vec<String> = events.iter().map(Value::to_string).collect();
        self.server.feed(&["append", "-o", "json"], &(lines.join("\n") + "\n")).ends(0).json()
    }

    fn get(&self, words: &[&str], file: &str) -> Said {
        let out = self.path(file);
        self.server.ask(&[&["proof"], words, &["--out", out.to_str().unwrap(), "-o", "json"]].concat())
    }

    fn verify(&self, file: &str) -> Said {
        verify(&self.path(file), &self.key)
    }
}

fn verify(file: &Path, key: &str) -> Said {
    say(&["proof", "verify", file.to_str().unwrap(), "--key", key, "-o", "json"])
}

fn event(n: u32, emitter: &str, number: Option<u64>) -> Value {
    let mut event = json!({
        "event_id": id(n), "kind": "AccountCreated", "account": format!("{emitter}-bot-{n}"), "actor": "alice",
        "actor_kind": "human", "occurred_at": "2024-09-11T00:00:00Z", "emitter": emitter,
        "data": {"kind": "bot", "handle": format!("{emitter}-{n}")},
    });
    if let Some(number) = number {
        event["emitter_sequence"] = number.into();
    }
    event
}

fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_and_a_key_show_that_an_event_is_there() {
    let stage = Stage::new();
    stage.record(&[
        event(1, "hr", None),
        event(2, "hr", None),
        event(2, "jobs", None),
        event(3, "jobs", None),
    ]);
    let got = stage.get(&["get", "--event", &id(1), "--key", &stage.key], "one").ends(0).json();
    let proved = stage.verify("one").ends(0).json();
    assert_eq!((&proved["position"], &proved["kind"]), (&1.into(), &"AccountCreated".into()));
    assert_eq!((&proved["account"], &proved["emitter"]), (&"hr-bot-1".into(), &"hr".into()));
    assert_eq!(proved["origin"], "tokenledger.local/default");
    assert_eq!(got, proved);
    let listed = stage.server.json(&["events", "list", "--account", "hr-bot-1"]);
    for field in ["event_id", "link", "recorded_at", "position"] {
        assert_eq!(proved[field], listed[0][field], "{field}");
    }

    // What two emitters called the same, what nobody did, and what is not there.
    let ambiguous = stage.get(&["get", "--event", &id(2)], "two").ends(1);
    assert!(ambiguous.stderr.contains("hr, jobs") && !stage.path("two").exists(), "{ambiguous:?}");
    stage.get(&["get", "--event", &id(2), "--emitter", "jobs"], "two").ends(0);
    assert_eq!(stage.verify("two").ends(0).json()["account"], "jobs-bot-2");
    stage.get(&["get", "--event", &id(9)], "none").ends(4);
    stage.get(&["get", "--event", &id(3), "--emitter", "hr"], "none").ends(4);
    stage.get(&["get", "--position", "99"], "none").ends(4);
    stage.get(&["get"], "none").ends(2);
    assert!(!stage.path("none").exists());

    // Nothing is overwritten unless somebody says so.
    let taken = stage.get(&["get", "--position", "3"], "one").ends(1);
    assert!(taken.stderr.contains("--overwrite"), "{taken:?}");
    stage.get(&["get", "--position", "3", "--overwrite"], "one").ends(0);
    assert_eq!(stage.verify("one").ends(0).json()["position"], 3);
    let server = stage.server;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_edited_or_is_checked_by_another_key_proves_nothing() {
    let stage = Stage::new();
    stage.record(&[event(1, "hr", None), event(2, "hr", None)]);
    stage.get(&["get", "--event", &id(1)], "one").ends(0);
    let file = std::fs::read(stage.path("one")).unwrap();
    let edited = stage.path("edited");
    for at in (0..file.len()).step_by(file.len() / 12) {
        let mut changed = file.clone();
        changed[at] ^= 1;
        std::fs::write(&edited, changed).unwrap();
        let said = stage.verify("edited").ends(3);
        assert_eq!(said.json()["ok"], false);
    }
    std::fs::write(&edited, [&file[..], "— witness.example.org AAAAAQAAAAA=\n".as_bytes()].concat()).unwrap();
    stage.verify("edited").ends(3);
    let other = stage.path("other");
    let words = ["key", "generate", "--out", other.to_str().unwrap(), "-o", "json"];
    let stranger = say(&words).ends(0).json();
    verify(&stage.path("one"), stranger["key"].as_str().unwrap()).ends(3);
    // A file with the key is as good as its line; a private key is refused, and not repeated.
    let public = stage.path("public");
    std::fs::write(&public, format!("{}\n{}\n", stranger["key"].as_str().unwrap(), stage.key)).unwrap();
    verify(&stage.path("one"), public.to_str().unwrap()).ends(0);
    let private = std::fs::read_to_string(stage.path("private")).unwrap();
    let refused = verify(&stage.path("one"), private.trim()).ends(2);
    assert!(!refused.stderr.contains(&private[40..60]), "{refused:?}");
    verify(&stage.path("nowhere"), &stage.key).ends(1);
    let server = stage.server;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_gives_its_receipts_as_files() {
    let stage = Stage::new();
    let dir = stage.path("receipts");
    let lines = format!("{}\n{}\n", event(1, "hr", None), event(2, "hr", None));
    let words = ["append", "--receipts", dir.to_str().unwrap(), "-o", "json"];
    let answers = stage.server.feed(&words, &lines).ends(0).json();
    for answer in answers.as_array().unwrap() {
        let receipt = dir.join(format!("{}.tlog-proof", answer["position"]));
        let proved = verify(&receipt, &stage.key).ends(0).json();
        assert_eq!((&proved["event_id"], &proved["link"]), (&answer["event_id"], &answer["link"]));
    }
    // The same again finds them there.
    stage.server.feed(&words, &lines).ends(0);
    // What is there already must be a receipt of the same event, down to the last bit: its entry alone says nothing.
    let (first, second) = (dir.join("1.tlog-proof"), dir.join("2.tlog-proof"));
    let good = std::fs::read(&first).unwrap();
    let mut edited = good.clone();
    let root = edited.windows(2).position(|pair| pair == b"\n\n").unwrap() + 32;
    edited[root] = if edited[root] == b'A' { b'B' } else { b'A' };
    for wrong in [std::fs::read(&second).unwrap(), edited, Vec::new()] {
        std::fs::write(&first, &wrong).unwrap();
        let refused = stage.server.feed(&words, &lines).ends(1);
        assert!(
            refused.stderr.contains("are recorded") && refused.stderr.contains("1.tlog-proof"),
            "{refused:?}"
        );
        assert_eq!(refused.json().as_array().unwrap().len(), 2, "the list is whole");
        assert_eq!(std::fs::read(&first).unwrap(), wrong);
    }
    std::fs::write(&first, &good).unwrap();
    // With the key at once; with that of somebody else, and without a place for receipts, nothing is sent.
    let with_key = |key: &str, lines: &str| stage.server.feed(&[&words[..], &["--key", key]].concat(), lines);
    with_key(&stage.key, &lines).ends(0);
    let other = stage.path("other");
    let stranger = say(&["key", "generate", "--out", other.to_str().unwrap(), "-o", "json"]).ends(0).json();
    let third = format!("{}\n", event(3, "hr", None));
    let refused = with_key(stranger["key"].as_str().unwrap(), &third).ends(3);
    assert!(!dir.join("3.tlog-proof").exists() && refused.stderr.contains("not signed"), "{refused:?}");
    stage.server.feed(&["append", "--key", &stage.key], &third).ends(2);
    let server = stage.server;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_of_anything_but_what_was_sent_is_not_taken_and_one_that_fails_stops_nothing() {
    let stage = Stage::new();
    stage.record(&[event(1, "hr", None), event(1, "jobs", None)]);
    let clients = stage.server.clients().await;
    let append = |between: Between, dir: &'static str, n: u32| {
        let dir = stage.path(dir);
        let lines: String = (n..n + 3).map(|n| format!("{}\n", event(n, "hr", None))).collect();
        async move {
            let server = format!("http://{}", between.serve_at().await);
            let words = ["append", "--server", &server, "--receipts", dir.to_str().unwrap(), "-o", "json"];
            let words = words.map(str::to_owned);
            let said =
                tokio::task::spawn_blocking(move || feed(&words.each_ref().map(|word| &**word), &lines));
            (said.await.unwrap(), std::fs::read_dir(&dir).unwrap().count())
        }
    };
    // What the server claims to have recorded is what it proves, and both are something else.
    let swapped = Between {
        accepted: Arc::new(|accepted| {
            let receipt = accepted.receipt.as_mut().unwrap();
            receipt.position = 1;
        }),
        asked: Arc::new(|request| request.which = Some(Which::Position(1))),
        ..Between::of(&clients)
    };
    let others_event = Between {
        asked: Arc::new(|request| {
            let Some(Which::Key(key)) = &mut request.which else { panic!("asked by position") };
            (key.emitter, key.event_id) = ("jobs".to_owned(), id(1));
        }),
        ..Between::of(&clients)
    };
    let elsewhere = Between {
        accepted: Arc::new(|accepted| accepted.receipt.as_mut().unwrap().position += 1),
        ..Between::of(&clients)
    };
    let other_link = Between {
        accepted: Arc::new(|accepted| accepted.receipt.as_mut().unwrap().link[7] ^= 1),
        ..Between::of(&clients)
    };
    let edited = Between {
        inclusion: Arc::new(|answer: &mut pb::ProveInclusionResponse| *answer.entry.last_mut().unwrap() ^= 1),
        ..Between::of(&clients)
    };
    let lies = [swapped, others_event, elsewhere, other_link, edited];
    for (n, lie) in (0..).zip(lies) {
        let (said, files) = append(lie, ["a", "b", "c", "d", "e"][n as usize], 100 + 10 * n).await;
        let said = said.ends(3);
        assert_eq!((said.json().as_array().unwrap().len(), files), (3, 0), "{n}: {said:?}");
        assert!(said.stderr.contains("3 receipts could not be had"), "{n}: {said:?}");
    }
    // One that can't be had is missing, and the others are there.
    let fails = Between {
        fails: Arc::new(|name, before| (name == "inclusion" && before == 1).then_some(Code::Unavailable)),
        ..Between::of(&clients)
    };
    let (said, files) = append(fails, "f", 200).await;
    let said = said.ends(1);
    assert_eq!((said.json().as_array().unwrap().len(), files), (3, 2), "{said:?}");
    assert!(said.stderr.contains(&id(201)) && said.stderr.contains("1 receipt could"), "{said:?}");
    let (said, files) = append(Between::of(&clients), "f", 200).await;
    assert_eq!((said.ends(0).json().as_array().unwrap().len(), files), (3, 3));
    drop(clients);
    let server = stage.server;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_without_a_gap_is_proved_and_one_with_a_gap_is_not() {
    let stage = Stage::new();
    let mut events: Vec<Value> = (1..=1_100).map(|n| event(n, "hr", Some(u64::from(n)))).collect();
    events.retain(|event| event["emitter_sequence"] != 1_051);
    // Others count as well, and numbers may come late.
    events.insert(7, event(5_000, "jobs", Some(8)));
    events.swap(300, 301);
    stage.record(&events);
    let words =
        |from: &'static str, to: &'static str| ["sequence", "--emitter", "hr", "--from", from, "--to", to];
    let got = stage.get(&words("2", "1050"), "all").ends(0).json();
    assert_eq!(
        (&got["from"], &got["to"], got["positions"].as_array().unwrap().len()),
        (&2.into(), &1050.into(), 1049)
    );
    let proved = stage.verify("all").ends(0).json();
    assert_eq!(proved, got);
    stage.get(&words("8", "8"), "one").ends(0);
    let missing = stage.get(&words("1000", "1100"), "gap").ends(4);
    assert!(missing.stderr.contains("number 1051") && !stage.path("gap").exists(), "{missing:?}");
    stage.get(&words("1101", "1102"), "gap").ends(4);
    stage.get(&words("5", "4"), "gap").ends(2);
    stage.get(&words("1", "10001"), "gap").ends(2);
    stage.get(&["sequence", "--emitter", "nobody", "--from", "1", "--to", "2"], "gap").ends(4);

    // A file from which one event is taken proves nothing, whatever it says of itself.
    let file = std::fs::read_to_string(stage.path("all")).unwrap();
    let mut sections: Vec<&str> = file.split("\n\n").collect();
    sections.remove(500);
    let fewer = sections.join("\n\n");
    for text in [fewer.clone(), fewer.replacen("numbers 2 1050", "numbers 2 1049", 1)] {
        std::fs::write(stage.path("edited"), text).unwrap();
        stage.verify("edited").ends(3);
    }
    let server = stage.server;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_shows_that_the_log_went_on_between_two_checkpoints_that_somebody_kept() {
    let stage = Stage::new();
    let clients = stage.server.clients().await;
    // Notes of three sizes; the first one as a proof of an event has it.
    let mut sizes = Vec::new();
    for n in 1..4 {
        stage.record(&[event(3 * n, "hr", None), event(3 * n + 1, "hr", None)]);
        stage.get(&["get", "--event", &id(3 * n + 1)], &format!("event-{n}")).ends(0);
        let request = pb::GetCheckpointRequest::default();
        let answer = clients.proof.clone().get_checkpoint(request).await.unwrap().into_inner();
        std::fs::write(stage.path(&format!("note-{n}")), &answer.note).unwrap();
        sizes.push(answer.size);
    }
    let file = |name: &str| stage.path(name).to_str().unwrap().to_owned();
    let consistency = |from: &str, to: Option<&str>, more: &[&str], out: &str| {
        let (from, to) = (file(from), to.map(file));
        let mut words = vec!["consistency", "--from", &from];
        words.extend(to.iter().flat_map(|to| ["--to", to]));
        words.extend(more);
        stage.get(&words, out)
    };
    let got = consistency("note-1", Some("note-2"), &["--key", &stage.key], "both").ends(0).json();
    assert_eq!((&got["proves"], &got["size"]), (&"consistency".into(), &sizes[1].into()), "{got}");
    assert_eq!(got["goes_on_from"]["size"], sizes[0]);
    assert_eq!(stage.verify("both").ends(0).json(), got);
    let newest = consistency("event-1", None, &[], "newest").ends(0).json();
    assert_eq!((&newest["size"], &newest["goes_on_from"]["size"]), (&sizes[2].into(), &sizes[0].into()));
    assert_eq!(stage.verify("newest").ends(0).json(), newest);

    // Nothing to prove, nothing to go by, and what would be no proof.
    consistency("note-3", None, &[], "none").ends(1);
    consistency("note-2", Some("note-1"), &[], "none").ends(2);
    consistency("nowhere", None, &[], "none").ends(1);
    consistency("private", None, &[], "none").ends(3);
    let other = stage.path("other");
    let stranger = say(&["key", "generate", "--out", other.to_str().unwrap(), "-o", "json"]).ends(0).json();
    consistency("note-1", None, &["--key", stranger["key"].as_str().unwrap()], "none").ends(3);
    let lie =
        Between { consistency: Arc::new(|answer| answer.hashes[0][5] ^= 1), ..Between::new(&clients.proof) };
    let address = format!("http://{}", lie.serve_at().await);
    let [from, to, out] = ["note-1", "note-2", "none"].map(file);
    let words = ["proof", "consistency", "--from", &from, "--to", &to, "--server", &address, "--out", &out];
    let words = [&words[..], &["-o", "json"]].concat();
    let told = tokio::task::block_in_place(|| say(&words)).ends(3).json();
    assert!(told["reason"].as_str().unwrap().contains("do not lead"), "{told}");
    assert!(!stage.path("none").exists());

    // A checkpoint that was never this log's, and a file that was edited.
    let note = std::fs::read_to_string(stage.path("note-2")).unwrap();
    let smaller = note.replacen(&format!("\n{}\n", sizes[1]), &format!("\n{}\n", sizes[1] - 1), 1);
    std::fs::write(stage.path("forged"), smaller).unwrap();
    consistency("forged", None, &[], "none").ends(3);
    let bytes = std::fs::read(stage.path("both")).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 12) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(stage.path("edited"), changed).unwrap();
        assert_eq!(stage.verify("edited").ends(3).json()["ok"], false);
    }
    drop(clients);
    let server = stage.server;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emitter_that_repeats_its_numbers_has_no_gap_where_there_is_none() {
    let stage = Stage::new();
    let one = |n: u32| event(n, "hr", Some(1));
    let mut events: Vec<Value> = (1..1_500).map(one).collect();
    events.push(event(1_500, "hr", Some(2)));
    stage.record(&events);
    let words = ["sequence", "--emitter", "hr", "--from", "1", "--to", "2"];
    let got = stage.get(&words, "both").ends(0).json();
    assert_eq!(got["positions"].as_array().unwrap().len(), 2);
    stage.verify("both").ends(0);
    let missing = ["sequence", "--emitter", "hr", "--from", "2", "--to", "3"];
    stage.get(&missing, "none").ends(4);
    // Where there are too many to look at, nobody says that one is missing.
    let more: Vec<Value> = (1_501..18_000).map(one).collect();
    stage.record(&more);
    let refused = stage.get(&["sequence", "--emitter", "hr", "--from", "3", "--to", "3"], "none").ends(1);
    assert!(refused.stderr.contains("numbers_repeated") && !stage.path("none").exists(), "{refused:?}");
    stage.get(&["sequence", "--emitter", "hr", "--from", "1", "--to", "2"], "again").ends(0);
    let server = stage.server;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_more_in_it_than_was_asked_for_is_not_taken() {
    let stage = Stage::new();
    let events: Vec<Value> = (1..=5).map(|n| event(n, "hr", Some(u64::from(n)))).collect();
    stage.record(&events);
    let clients = stage.server.clients().await;
    let too_many = Between {
        sequence: Arc::new(|answer| {
            let again = answer.entries[0].clone();
            answer.entries.resize(1_000, again);
        }),
        // No entry is so long.
        inclusion: Arc::new(|answer| answer.entry.resize(3 * 1024 * 1024, 0)),
        ..Between::new(&clients.proof)
    };
    let address = format!("http://{}", too_many.serve_at().await);
    let out = stage.path("none");
    let ask = |words: &[&str]| {
        let words = [words, &["--server", &address, "--out", out.to_str().unwrap(), "-o", "json"]].concat();
        tokio::task::block_in_place(|| say(&words))
    };
    let told = ask(&["proof", "sequence", "--emitter", "hr", "--from", "1", "--to", "5"]).ends(3).json();
    assert!(told["reason"].as_str().unwrap().contains("more numbers"), "{told}");
    let told = ask(&["proof", "get", "--position", "2"]).ends(1);
    assert!(told.stderr.contains("too large") && !out.exists(), "{told:?}");
    drop(clients);
    let server = stage.server;
    server.check().await;
}
