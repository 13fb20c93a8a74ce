//! Other people's clients, in Go (`tests/independent/tiles`), read what is served and what is exported.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use serde_json::Value;
use tokio::net::TcpListener;

use super::export::exported;
use super::{ORIGIN, ask, files, grow, http, served, verifier};
use crate::binary_harness::Served;

/// Both must accept, and each must reject.
const CLIENTS: [&str; 2] = ["torchwood", "tessera"];

/// The program with the clients, built once; `None` where there is no Go to build it with.
fn reader() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let go = std::env::var("TOKENLEDGER_GO").unwrap_or_else(|_| "go".into());
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiles-reader");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent/tiles");
    let words = ["build", "-buildvcs=false", "-mod=readonly", "-o", program.to_str().unwrap(), "."];
    let built = Command::new(&go).args(words).current_dir(source).output();
    let why = match built {
        Ok(output) if output.status.success() => return Some(program),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("{go}: {error}"),
    };
    let missing = format!(
        "SKIPPED: other people's clients of tlog-tiles, as they can't be built (Go 1.24 or newer, in PATH or named by TOKENLEDGER_GO): {why}"
    );
    assert!(std::env::var_os("TOKENLEDGER_REQUIRE_ALL").is_none(), "{missing}");
    eprintln!("{missing}");
    None
}

/// How one client judges a log: `None` where it accepts it, and otherwise why not.
fn judged(reader: &Path, client: &str, log: &str) -> Option<String> {
    let key = verifier().to_string();
    let output =
        Command::new(reader).args(["-key", &key, "-by", client, "-time", "30s", log]).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(said["by"], client);
    match output.status.code() {
        Some(0) => {
            assert!(said["ok"] == true && said["entries"] == said["size"], "{said}");
            None
        }
        // Not merely because the time was up.
        Some(3) => Some(said["error"].as_str().unwrap().to_owned()),
        other => panic!("{client} ended with {other:?} on {log}: {said}"),
    }
}

fn accepts(reader: &Path, log: &str) {
    for client in CLIENTS {
        assert_eq!(judged(reader, client, log), None, "{client} on {log}");
    }
}

fn rejects(reader: &Path, log: &str, name: &str, edit: &str) {
    for client in CLIENTS {
        // It cuts a partial tile to its width, as it also reads full ones in their place: the hashes that it sees are right.
        if client == "tessera"
            && edit.ends_with("longer")
            && name.contains(".p/")
            && !name.contains("entries")
        {
            continue;
        }
        let why = judged(reader, client, log).unwrap_or_else(|| panic!("{client} accepts {edit}"));
        assert!(!why.is_empty(), "{client} on {edit}");
    }
}

/// Every file of a log once with its first, a middle and its last byte changed, cut short, longer by a byte, and missing;
/// and bundles with entries swapped, dropped and repeated.
fn edits(files: &std::collections::BTreeMap<String, Vec<u8>>) -> Vec<(String, String, Option<Vec<u8>>)> {
    let mut edits = Vec::new();
    for (name, bytes) in files {
        let mut add = |what: String, bytes: Option<Vec<u8>>| {
            edits.push((name.clone(), format!("{name}, {what}"), bytes))
        };
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            add(format!("byte {at} changed"), Some(changed));
        }
        add("cut short".to_owned(), Some(bytes[..bytes.len() - 1].to_vec()));
        add("longer".to_owned(), Some([bytes, &b"x"[..]].concat()));
        add("missing".to_owned(), None);
        if name.starts_with("tile/entries/") {
            for (what, bundle) in bundles(bytes) {
                add(what.to_owned(), Some(bundle));
            }
        }
    }
    edits
}

fn bundles(bytes: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    let entries = ledger::tiles::entries(bytes).unwrap();
    let bundle = |entries: &[&[u8]]| {
        let mut bundle = Vec::new();
        entries.iter().for_each(|entry| ledger::tiles::push_entry(&mut bundle, entry).unwrap());
        bundle
    };
    let (mut swapped, mut dropped, mut repeated) = (entries.clone(), entries.clone(), entries);
    swapped.swap(3, 4);
    dropped.remove(3);
    repeated[3] = repeated[4];
    [
        ("entries swapped", bundle(&swapped)),
        ("an entry dropped", bundle(&dropped)),
        ("an entry repeated", bundle(&repeated)),
    ]
}

/// All kinds of files that a log of some 600 entries has.
fn all_kinds(files: &std::collections::BTreeMap<String, Vec<u8>>) {
    let kinds = [
        "checkpoint",
        "tile/0/000",
        "tile/0/002.p/",
        "tile/1/000.p/",
        "tile/entries/000",
        "tile/entries/002.p/",
    ];
    for kind in kinds {
        assert!(files.keys().any(|name| name.starts_with(kind)), "{kind} is not among {:?}", files.keys());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_accept_an_export_and_reject_it_after_any_edit() {
    let Some(reader) = reader() else { return };
    let server = served();
    grow(&server, 600).await;
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("log");
    exported(&server.data(), &dir);
    let log = dir.to_str().unwrap();
    accepts(reader, log);
    let sound = files(&dir);
    all_kinds(&sound);
    for (name, edit, bytes) in edits(&sound) {
        match bytes {
            Some(bytes) => std::fs::write(dir.join(&name), bytes).unwrap(),
            None => std::fs::remove_file(dir.join(&name)).unwrap(),
        }
        rejects(reader, log, &name, &edit);
        std::fs::write(dir.join(&name), &sound[&name]).unwrap();
    }
    accepts(reader, log);
    server.check().await;
}

/// What a proxy does to an answer: of which path, and what it says instead.
#[derive(Clone)]
struct Tampering {
    upstream: String,
    name: String,
    bytes: Option<Vec<u8>>,
}

/// A server that gives one answer of its own, and otherwise what another one says.
async fn proxy(tampering: Tampering) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(move |request: Request| {
        let (tampering, path) = (tampering.clone(), request.uri().path().to_owned());
        async move {
            let own = path.strip_prefix(&format!("/{ORIGIN}/")) == Some(&tampering.name);
            if own {
                return (
                    if tampering.bytes.is_some() { 200 } else { 404 },
                    tampering.bytes.unwrap_or_default(),
                );
            }
            let got = tokio::task::spawn_blocking(move || ask(&tampering.upstream, "GET", &path, ""))
                .await
                .unwrap();
            (got.status, got.body)
        }
        .then_response()
    });
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{address}/{ORIGIN}"), serving)
}

trait ThenResponse: Future<Output = (u16, Vec<u8>)> + Sized {
    async fn then_response(self) -> axum::response::Response {
        let (status, body) = self.await;
        axum::response::Response::builder().status(status).body(body.into()).unwrap()
    }
}

impl<F: Future<Output = (u16, Vec<u8>)>> ThenResponse for F {}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_accept_a_server_and_reject_one_that_edits_any_answer() {
    let Some(reader) = reader() else { return };
    let server = served();
    grow(&server, 600).await;
    let address = http(&server);
    accepts(reader, &format!("http://{address}/{ORIGIN}"));
    let sound = whole(&server);
    all_kinds(&sound);
    let honest = Tampering {
        upstream: address.clone(),
        name: "checkpoint".into(),
        bytes: sound.get("checkpoint").cloned(),
    };
    let (log, serving) = proxy(honest).await;
    accepts(reader, &log);
    serving.abort();
    for (name, edit, bytes) in edits(&sound) {
        let tampering = Tampering { upstream: address.clone(), name: name.clone(), bytes };
        let (log, serving) = proxy(tampering).await;
        rejects(reader, &log, &name, &edit);
        serving.abort();
    }
    server.check().await;
}

/// All that the server has of its log.
fn whole(server: &Served) -> std::collections::BTreeMap<String, Vec<u8>> {
    let note = super::get(server, "checkpoint").body;
    let names = ledger::tiles::TilePath::all(super::size_of(&note)).map(|path| path.to_string());
    let tiles = names.map(|name| (name.clone(), super::get(server, &name).body));
    tiles.chain([("checkpoint".to_owned(), note)]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_read_a_log_while_it_grows_served_and_exported() {
    let Some(reader) = reader() else { return };
    let server = served();
    grow(&server, 200).await;
    let out = tempfile::tempdir().unwrap();
    let clients = server.clients().await;
    let enough = Arc::new(AtomicBool::new(false));
    let is_enough = Arc::clone(&enough);
    let load = tokio::spawn(async move {
        for round in 0_u32.. {
            if is_enough.load(Ordering::Relaxed) {
                return;
            }
            let events: Vec<_> = (0..20).map(|n| format!("load-{round}-{n}")).collect();
            let events = events.iter().map(|id| crate::harness::event(id, crate::harness::created(id)));
            clients.batch(events.collect(), false).await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    let log = format!("http://{}/{ORIGIN}", http(&server));
    let mut sizes = Vec::new();
    for round in 0..8 {
        // fsck reads the checkpoint twice, and takes growth for an edit.
        assert_eq!(judged(reader, "torchwood", &log), None, "round {round}");
        let export = exported(&server.data(), &out.path().join("log"));
        accepts(reader, out.path().join("log").to_str().unwrap());
        sizes.push(export["size"].as_u64().unwrap());
    }
    // What is under way is waited for: the server would record it all the same.
    enough.store(true, Ordering::Relaxed);
    load.await.unwrap();
    assert!(sizes.is_sorted() && sizes[0] < sizes[7], "it grew: {sizes:?}");
    server.check().await;
}
