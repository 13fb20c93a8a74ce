mod export;
mod server;
mod strangers;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use ledger::checkpoint::{Checkpoint, VerifierKey};
use ledger::tiles::{TilePath, entries};
use ledger::types::LedgerName;
use tempfile::TempDir;

use crate::binary_harness::{Served, data_of};
use crate::harness::{created, event, key};

/// The log's name, and so its path on the server.
const ORIGIN: &str = "ledger.example.org/default";

fn verifier() -> VerifierKey {
    key().verifier(&LedgerName::default())
}

/// A server that signs, and serves its logs as tiles.
fn served() -> Served {
    served_on(tempfile::tempdir().unwrap())
}

fn served_on(dir: TempDir) -> Served {
    let file = dir.path().join("key");
    if !file.exists() {
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).unwrap();
        writeln!(file, "{}", key().to_secret_line()).unwrap();
    }
    let data = data_of(&dir);
    let words =
        ["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--checkpoint-every", "20ms", "--key"];
    let words = [&words[..], &[file.to_str().unwrap(), "--data", data.to_str().unwrap()]].concat();
    Served::run(dir, &words)
}

fn http(server: &Served) -> String {
    server.ready["http"].as_str().unwrap().to_owned()
}

/// Records so many events, and waits for the checkpoint that covers them: how many entries it does.
async fn grow(server: &Served, events: usize) -> u64 {
    let events: Vec<_> = (0..events).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    let events: Vec<_> = events.iter().map(|id| event(id, created(id))).collect();
    server.clients().await.record_all(&events).await;
    let entries = server.json(&["ledgers", "describe"])["entries"].as_u64().unwrap();
    for _ in 0..500 {
        let got = get(server, "checkpoint");
        if got.status == 200 && verifier().open(&got.body).unwrap().tree.size == entries {
            return entries;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no checkpoint covers {entries} entries: {}", server.log());
}

/// An answer over HTTP.
struct Got {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Asks for a part of the log.
fn get(server: &Served, what: &str) -> Got {
    ask(&http(server), "GET", &format!("/{ORIGIN}/{what}"), "")
}

fn ask(address: &str, method: &str, path: &str, headers: &str) -> Got {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n")
        .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let (first, rest) = head.split_once("\r\n").unwrap();
    let headers = rest.lines().filter_map(|line| line.split_once(": "));
    Got {
        status: first.split(' ').nth(1).unwrap().parse().unwrap(),
        headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        body: bytes[end + 4..].to_vec(),
    }
}

/// Everything that an export holds, by its name.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |file: &Path| file.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
    let files = crate::binary_harness::files_below(dir);
    files.iter().map(|file| (name(file), std::fs::read(file).unwrap())).collect()
}

/// The log as it follows from its entries: every file that a stranger may ask for.
fn expected(note: &[u8], log: &[Vec<u8>]) -> BTreeMap<String, Vec<u8>> {
    use ledger::tiles::{BadBundle, Tiler};
    let tree = verifier().open(note).unwrap().tree;
    let (mut tiler, mut all) = (Tiler::default(), BTreeMap::from([("checkpoint".to_owned(), note.to_vec())]));
    let mut put = |path: TilePath, bytes: &[u8]| {
        all.insert(path.to_string(), bytes.to_vec());
        Ok::<(), BadBundle>(())
    };
    for entry in &log[..usize::try_from(tree.size).unwrap()] {
        tiler.push(entry, &mut put).unwrap();
    }
    tiler.partial(&mut put).unwrap();
    assert_eq!(tiler.head(), tree);
    all
}

/// The stored entries, as gRPC gives them.
async fn stored(server: &Served, count: u64) -> Vec<Vec<u8>> {
    use tokenledger::wire::pb::{GetEventRequest, get_event_request::Which};
    let mut query = server.clients().await.query;
    let mut log = Vec::new();
    for position in 0..count {
        let which = Some(Which::Position(position));
        let request = GetEventRequest { ledger: "default".into(), which };
        log.push(query.get_event(request).await.unwrap().into_inner().entry);
    }
    log
}

fn size_of(note: &[u8]) -> u64 {
    Checkpoint::unverified(note).unwrap().tree.size
}

/// How many entries a bundle has.
fn count(bundle: &[u8]) -> usize {
    entries(bundle).unwrap().len()
}

/// Changes the entry at a position of a log's first segment, together with its CRC and that of its frame.
fn forge(segment: &mut [u8], position: u64) {
    let uid: [u8; 16] = segment[12..28].try_into().unwrap();
    let bytes = |at: usize| usize::from(u16::from_le_bytes([segment[at + 2], segment[at + 3]]));
    let at = (0..position).fold(512, |at, _| at + 21 + bytes(at));
    let entry = at + 20..at + 20 + bytes(at);
    segment[entry.end - 1] ^= 1;
    let crc = crc32fast::hash(&segment[entry]);
    segment[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
    let covered = [&uid[..], &position.to_le_bytes(), &segment[at..at + 16]].concat();
    segment[at + 16..at + 20].copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
}
