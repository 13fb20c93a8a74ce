//! The read-only endpoint.

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use flate2::read::GzDecoder;
use ledger::tiles::TilePath;

use super::{ORIGIN, ask, count, expected, forge, get, grow, http, served, size_of, stored};
use crate::binary_harness::{Served, data_of, say};

const FOR_EVER: &str = "public, max-age=31536000, immutable";

#[tokio::test(flavor = "multi_thread")]
async fn every_tile_and_bundle_is_what_follows_from_the_stored_entries() {
    let server = served();
    let size = grow(&server, 600).await;
    let log = stored(&server, size).await;
    let note = get(&server, "checkpoint").body;
    assert_eq!(size_of(&note), size);
    let all = expected(&note, &log);
    assert_eq!(
        all.len(),
        8,
        "two full tiles and bundles, a partial one of each, of the next level, the checkpoint"
    );
    for (name, bytes) in &all {
        let got = get(&server, name);
        assert_eq!((got.status, &got.body), (200, bytes), "{name}");
    }
    // A partial one of any width, whether or not it was ever the end of a log.
    for width in [1, 2, 100, 255] {
        let hashes = get(&server, &format!("tile/0/001.p/{width}"));
        assert_eq!(hashes.body, all["tile/0/001"][..32 * width], "{width}");
        let bundle = get(&server, &format!("tile/entries/001.p/{width}")).body;
        assert!(all["tile/entries/001"].starts_with(&bundle) && count(&bundle) == width, "{width}");
    }
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_say_what_may_be_kept_and_for_how_long() {
    let server = served();
    grow(&server, 300).await;
    let (address, header) = (http(&server), |got: &super::Got, name: &str| got.headers.get(name).cloned());
    let is = |got: &super::Got, kind: &str, keep: &str| {
        assert_eq!(header(got, "content-type").as_deref(), Some(kind));
        assert_eq!(header(got, "cache-control").as_deref(), Some(keep));
        assert_eq!(header(got, "content-length"), Some(got.body.len().to_string()));
    };
    is(&get(&server, "checkpoint"), "text/plain; charset=utf-8", "no-cache");
    for name in ["tile/0/000", "tile/0/001.p/5", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/5"]
    {
        is(&get(&server, name), "application/octet-stream", FOR_EVER);
    }
    for (method, path, status) in [
        ("GET", format!("/{ORIGIN}/tile/0/002"), 404),
        ("GET", format!("/{ORIGIN}/"), 404),
        ("GET", "/".to_owned(), 404),
        ("GET", format!("/{ORIGIN}x/checkpoint"), 404),
        ("POST", format!("/{ORIGIN}/checkpoint"), 405),
        ("DELETE", format!("/{ORIGIN}/tile/0/000"), 405),
    ] {
        let got = ask(&address, method, &path, "");
        assert_eq!(got.status, status, "{method} {path}");
        is(&got, "text/plain; charset=utf-8", "no-store");
        assert_eq!(header(&got, "allow").as_deref(), (status == 405).then_some("GET, HEAD"));
    }
    for name in ["checkpoint", "tile/0/000", "tile/entries/000"] {
        let (whole, head) = (get(&server, name), ask(&address, "HEAD", &format!("/{ORIGIN}/{name}"), ""));
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(header(&head, "content-length"), Some(whole.body.len().to_string()), "{name}");
    }
    let (path, whole) = (format!("/{ORIGIN}/tile/entries/000"), get(&server, "tile/entries/000"));
    let packed = ask(&address, "GET", &path, "Accept-Encoding: br, gzip\r\n");
    assert_eq!(header(&packed, "content-encoding").as_deref(), Some("gzip"));
    assert_eq!(header(&packed, "vary").as_deref(), Some("accept-encoding"));
    let mut unpacked = Vec::new();
    GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == whole.body && packed.body.len() < whole.body.len());
    assert_eq!(header(&whole, "content-encoding"), None, "nobody asked for it");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_beyond_the_checkpoint_is_served_and_only_one_name_for_each() {
    let server = served();
    let size = grow(&server, 299).await;
    assert_eq!(size, 300);
    for beyond in [
        "tile/0/001.p/45",
        "tile/entries/001.p/45",
        "tile/0/001",
        "tile/0/002.p/1",
        "tile/1/000.p/2",
        "tile/2/000.p/1",
    ] {
        assert_eq!(get(&server, beyond).status, 404, "{beyond}");
    }
    for other in [
        "tile/0/0",
        "tile/0/x000/000",
        "tile/00/000",
        "tile/0/001.p/044",
        "tile/0/000/",
        "tile/8/0/000",
        "tile/0/000.p/256",
        "tile/0/%30%30%30",
        "checkpoint/",
        "../checkpoint",
    ] {
        assert_eq!(get(&server, other).status, 404, "{other}");
    }
    let largest: TilePath = "tile/0/001.p/44".parse().unwrap();
    assert_eq!(get(&server, &largest.to_string()).body.len(), 44 * 32);
    // A ledger that is not there is not made by asking for it.
    let other = ask(&http(&server), "GET", "/ledger.example.org/other/checkpoint", "");
    assert_eq!(other.status, 404);
    assert!(!server.data().join("ledgers/other").exists());
    server.check().await;
}

/// Turns one bit in a file, where it stands.
fn flip(path: &std::path::Path, offset: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_is_changed_beneath_a_running_server_is_never_served() {
    let server = served();
    grow(&server, 2_500).await;
    let names = ["tile/0/003", "tile/1/000.p/9", "tile/entries/003"];
    let sound = names.map(|name| get(&server, name).body);
    // A hash of the stored tree: it is made anew.
    flip(&server.data().join("ledgers/default/tree/level-0"), 32 * (3 * 256 + 7));
    for (name, sound) in names.iter().zip(&sound) {
        let got = get(&server, name);
        assert_eq!((got.status, &got.body), (200, sound), "{name}");
    }
    // An entry in the log, once by itself and once together with its checksums: nothing is there to make it from.
    let segment = server.data().join("ledgers/default/log/00000000000000000000.seg");
    let bytes = std::fs::read(&segment).unwrap();
    let mut forged = bytes.clone();
    forge(&mut forged, 3 * 256 + 9);
    let entry = ledger::tiles::entries(&sound[2]).unwrap()[9];
    let at = bytes.windows(entry.len()).position(|window| window == entry).unwrap();
    let mut changed = bytes.clone();
    changed[at + entry.len() - 1] ^= 1;
    for other in [changed, forged] {
        put(&segment, &other);
        let got = get(&server, "tile/entries/003");
        assert_eq!((got.status, got.headers["cache-control"].as_str()), (500, "no-store"));
        assert_eq!(get(&server, "tile/0/003").body, sound[0], "the rest goes on");
        put(&segment, &bytes);
        assert_eq!(get(&server, "tile/entries/003").body, sound[2]);
    }
    server.check().await;
}

/// Writes over a file in its place.
fn put(path: &std::path::Path, bytes: &[u8]) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, 0).unwrap();
}

#[test]
fn tiles_are_off_unless_asked_for_and_need_a_key_and_a_loopback() {
    let plain = Served::start();
    assert_eq!(plain.ready.get("http"), None);
    plain.stop();
    let dir = tempfile::tempdir().unwrap();
    let data = data_of(&dir);
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap(), "--http"];
    let said = say(&[&serve[..], &["127.0.0.1:0"]].concat()).ends(1);
    assert!(said.stderr.contains("--key FILE") && said.stdout.is_empty(), "{said:?}");
    let said = say(&[&serve[..], &["0.0.0.0:0"]].concat()).ends(1);
    assert!(said.stderr.contains("127.0.0.1"), "{said:?}");
    assert!(!data.exists(), "a server that may not start makes nothing");
    let help = say(&["serve", "--help"]).ends(0).stdout;
    assert!(help.contains("--http") && help.contains("entries name people"), "{help}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_reader_does_not_hold_a_stop_beyond_its_deadline() {
    let mut server = served();
    grow(&server, 3).await;
    let mut silent = TcpStream::connect(http(&server)).unwrap();
    let (ended, took) = server.terminate();
    assert!(ended.success(), "{ended}: {}", server.log());
    assert!(took < Duration::from_secs(15), "the drain has a deadline of 10 s, this took {took:?}");
    let _ = silent.read_to_end(&mut Vec::new());
    crate::harness::check_ledger(&server.data(), None).await;
}
