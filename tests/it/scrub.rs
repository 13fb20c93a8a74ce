use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokenledger::wire::pb;

use crate::binary_harness::{Served, data_of, files_below};
use crate::harness::{created, event, issued};
use crate::serve::http_get;

const SEGMENT: &str = "ledgers/default/log/00000000000000000000.seg";

/// A server that scrubs as fast as it can.
fn scrubbing(rate: &str) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let data = data_of(&dir);
    let listen = ["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--scrub-rate", rate];
    Served::run(dir, &[&listen[..], &["--data", data.to_str().unwrap()]].concat())
}

fn metrics(server: &Served) -> String {
    http_get(server.ready["metrics"].as_str().unwrap(), "/metrics")
}

/// Waits until a line of the metrics begins so; what stands behind it.
async fn metric(server: &Served, name: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = metrics(server);
        if let Some(value) = text.lines().find_map(|line| line.strip_prefix(name)) {
            return value.trim().to_owned();
        }
        assert!(Instant::now() < deadline, "no {name} in {text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_of_the_stored_tree_that_was_changed_is_named_and_made_anew_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (key, data) = (dir.path().join("key"), data_of(&dir));
    crate::binary_harness::say(&["key", "generate", "--out", key.to_str().unwrap()]).ends(0);
    let words = ["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--scrub-rate", "1000"];
    let files = ["--data", data.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let server = Served::run(dir, &[&words[..], &files[..]].concat());
    seal_a_segment(&server).await;
    // Whoever signs reads the stored tree, and mends what is wrong with it: not before the scrub has seen it.
    let clients = server.clients().await;
    let entries = clients.root(None).await.entries;
    let request = pb::GetCheckpointRequest { min_size: Some(entries), ..Default::default() };
    clients.proof.clone().get_checkpoint(request).await.unwrap();
    drop(clients);
    let level = data.join("ledgers/default/tree/level-0");
    let mut hashes = std::fs::read(&level).unwrap();
    let sound = hashes.clone();
    assert!(hashes.len() >= 2_048 * 32);
    hashes[100 * 32] ^= 1;
    std::fs::write(&level, hashes).unwrap();
    let damage = r#"tokenledger_scrub_damage{ledger="default"}"#;
    metric(&server, &format!("{damage} 1")).await;
    let log = server.log();
    assert!(log.contains("tree/level-0") && log.contains("position=100"), "{log}");
    // Appends go on, and with the next checkpoint it is made anew.
    let clients = server.clients().await;
    clients.record(event("bot-2", created("bot-2"))).await;
    metric(&server, &format!("{damage} 0")).await;
    assert!(std::fs::read(&level).unwrap().starts_with(&sound[..2_048 * 32]));
    server.check().await;
}

/// Records until the first segment is sealed.
async fn seal_a_segment(server: &Served) -> PathBuf {
    let clients = server.clients().await;
    clients.record(event("bot-0", created("bot-0"))).await;
    clients.record(event("bot-1", created("bot-1"))).await;
    for _ in 0..20 {
        let batch: Vec<_> = (0..300).map(|n| event("bot-1", issued(&format!("token-{n}")))).collect();
        clients.batch(batch, false).await;
    }
    let segments = files_below(&server.data().join("ledgers/default/log"));
    assert!(segments.iter().filter(|path| path.extension().is_some_and(|e| e == "seg")).count() > 1);
    server.data().join(SEGMENT)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_flips_while_the_server_runs_is_found_named_and_stops_appends() {
    let server = scrubbing("1000");
    let path = seal_a_segment(&server).await;
    let damage = r#"tokenledger_scrub_damage{ledger="default"}"#;
    let checked = r#"tokenledger_scrub_last_complete_timestamp_seconds{ledger="default"}"#;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(metric(&server, checked).await.parse::<u64>().unwrap().abs_diff(now) < 60);
    assert_eq!(metric(&server, damage).await, "0");
    assert!(metric(&server, "tokenledger_scrub_checked_bytes_total").await.parse::<u64>().unwrap() > 1 << 20);

    let mut bytes = std::fs::read(&path).unwrap();
    bytes[300_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let found = format!("{damage} 1");
    metric(&server, &found).await;
    metric(&server, r#"tokenledger_log_stopped{ledger="default"} 1"#).await;
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("the scrub found damage")).collect();
    let [line] = lines[..] else { panic!("{log}") };
    for part in ["ERROR", "position=", "offset=", "log/00000000000000000000.seg", "ledger=default"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let clients = server.clients().await;
    let refused = clients.try_record(event("bot-2", created("bot-2"))).await.unwrap_err();
    assert!(refused.message().contains("damage"), "{refused}");
    assert_eq!(clients.account("bot-0", None).await.unwrap().handle, "bot-0", "what is sound is served");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_can_be_turned_off_and_a_slow_one_does_not_hold_a_stop() {
    let off = scrubbing("0");
    seal_a_segment(&off).await;
    let mut slow = scrubbing("1");
    seal_a_segment(&slow).await;
    let bytes = "tokenledger_scrub_checked_bytes_total";
    while metric(&slow, bytes).await == "0" {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(metric(&off, bytes).await, "0");
    let (ended, took) = slow.terminate();
    assert!(ended.success() && took < Duration::from_secs(9), "{ended} after {took:?}");
    off.check().await;
}
