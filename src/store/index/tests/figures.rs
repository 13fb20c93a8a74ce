//! What indexing costs: run with `--nocapture` to see the figures.

use std::fs;
use std::time::Instant;

use super::*;
use crate::store::{SledOptions, SledStore};

const BATCH: u64 = 4096;

/// Six keys: account, token, digest, actor, run, kind.
fn six_keys(position: u64) -> Vec<(u8, Vec<u8>)> {
    let mut dice = Dice(position * 2 + 1);
    dice.next();
    let digest: Vec<u8> = (0..4).flat_map(|_| dice.next().to_be_bytes()).collect();
    vec![
        (1, format!("123456789012:user:bot-{:05}", dice.below(20_000)).into_bytes()),
        (2, format!("token-{:012x}", dice.next() >> 16).into_bytes()),
        (3, digest),
        (4, format!("cron-worker-{:02}", dice.below(40)).into_bytes()),
        (5, format!("run-{:08}", position / 500).into_bytes()),
        (6, vec![dice.below(20) as u8]),
    ]
}

#[test]
fn indexing_events_with_six_keys_stays_cheap() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SledStore::open(dir.path(), SledOptions::default()).unwrap());
    let mut index = Index::open(store.clone(), "n").unwrap();
    let batches =
        std::env::var("TOKENLEDGER_FIGURES_BATCHES").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let events = batches * BATCH;
    let (mut adding, mut flushing, mut slowest) = (0.0, 0.0, 0.0_f64);
    for batch in 0..batches {
        let keys: Vec<_> = (batch * BATCH..(batch + 1) * BATCH).map(|p| (p, six_keys(p))).collect();
        let begun = Instant::now();
        keys.iter().for_each(|(position, keys)| index.add(*position, keys).unwrap());
        adding += begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        index.flush([0; 32]).unwrap();
        slowest = slowest.max(begun.elapsed().as_secs_f64());
        flushing += begun.elapsed().as_secs_f64();
    }
    let (pages, parts): (usize, usize) =
        (index.shared.levels().runs.iter().map(|r| r.pages()).sum(), index.shared.levels().runs.len());
    let begun = Instant::now();
    for n in 0..1000 {
        let account = format!("123456789012:user:bot-{:05}", n * 17 % 20_000);
        index.postings(1, account.as_bytes(), 0..u64::MAX, true, 20).unwrap();
    }
    let lookup = begun.elapsed().as_secs_f64() * 1e3;
    drop(index);
    drop(store);
    let bytes = bytes_under(dir.path());
    let begun = Instant::now();
    let store = Arc::new(SledStore::open(dir.path(), SledOptions::default()).unwrap());
    let sled_open = begun.elapsed();
    let index = Index::open(store, "n").unwrap();
    let index_open = begun.elapsed() - sled_open;
    println!(
        "{events} events of six keys: {:.1} us to add, {:.1} us to flush and merge each (slowest flush {:.0} ms); \
         {} bytes of disk each; {pages} pages in {parts} runs; {lookup:.0} us a lookup; \
         {sled_open:.0?} to open sled, {index_open:.0?} to open the index",
        adding * 1e6 / events as f64,
        flushing * 1e6 / events as f64,
        slowest * 1e3,
        bytes / events,
    );
    assert_eq!(index.cursor(), events);
    let per_event = (adding + flushing) * 1e6 / events as f64;
    assert!(per_event < 500.0, "{per_event} us an event: something became very slow");
    assert!(bytes / events < 2000, "{} bytes an event: something is not given back", bytes / events);
}

fn bytes_under(dir: &std::path::Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|e| if e.path().is_dir() { bytes_under(&e.path()) } else { e.metadata().unwrap().len() })
        .sum()
}
