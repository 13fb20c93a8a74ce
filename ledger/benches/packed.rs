//! What packing sealed segments costs and saves, one thread: `cargo bench -p ledger --bench packed`, on a log of its own, or
//! `cargo bench -p ledger --bench packed -- LEDGER_DIR`, on a copy of a ledger's directory, which it packs.
#![allow(missing_docs, clippy::print_stdout, reason = "the figures are the purpose")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ledger::disk::RealDisk;
use ledger::entry::{self, Header, Record};
use ledger::log::{LogStore, SegmentLog, SegmentOptions};
use ledger::pb;
use ledger::types::{LedgerUid, Position};
use prost::Message;

const ENTRIES: u64 = 1_000_000;
const READS: u64 = 50_000;
const ROUNDS: usize = 5;

type Fallible<T> = Result<T, Box<dyn Error>>;

fn scattered(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn event(n: u64) -> Vec<u8> {
    let used = pb::TokenUsed {
        token: format!("token-{:05}", scattered(n) % 5_000),
        uses: 1,
        consumer: "ci-runner".into(),
    };
    let message = pb::Event {
        occurred_at: Some(prost_types::Timestamp {
            seconds: 1_726_012_800,
            nanos: (scattered(n) % 1_000_000) as i32,
        }),
        actor: Some(pb::Actor { kind: pb::ActorKind::Automation.into(), id: "token-service".into() }),
        cause: Some(pb::Cause { run: "usage/2024-09-11".into(), ..Default::default() }),
        account: format!("project-{:04}-bot", scattered(n) % 5_000),
        fact: Some(pb::event::Fact::TokenUsed(used)),
        ..Default::default()
    };
    message.encode_to_vec()
}

fn fill(log: &SegmentLog) -> Fallible<()> {
    while log.tail().next.0 < ENTRIES {
        let mut tail = log.tail();
        let expected = tail.next;
        let mut group = Vec::new();
        for _ in 0..1_000 {
            let header = Header {
                uid: LedgerUid([7; 16]),
                position: tail.next,
                epoch: 0,
                previous: tail.link,
                recorded_at: ledger::types::Time(
                    1_726_012_800_000_000_000 + 5_000 * i64::try_from(tail.next.0)?,
                ),
                event_id: uuid::Uuid::from_u64_pair(scattered(tail.next.0), scattered(!tail.next.0)),
                emitter: "bench".parse()?,
            };
            let entry = bytes::Bytes::from(entry::encode(&header, &event(tail.next.0))?);
            let link = entry::link(&entry);
            (tail.next, tail.link) = (tail.next.next(), link);
            group.push(Record::new(entry, link, (0, 1)));
        }
        log.append(expected, &group)?;
    }
    Ok(())
}

/// Entries a second, read from the first to `end`.
fn in_order(log: &SegmentLog, end: u64) -> Fallible<f64> {
    let (began, mut at) = (Instant::now(), 0);
    while at < end {
        at += log.read(Position(at), 256 * 1024)?.len() as u64;
    }
    Ok(at as f64 / began.elapsed().as_secs_f64())
}

/// Microseconds for an entry, read at random before `end`.
fn at_random(log: &SegmentLog, end: u64, seed: u64) -> Fallible<f64> {
    let began = Instant::now();
    for n in 0..READS {
        log.read(Position(scattered(seed + n) % end), 1)?;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / READS as f64)
}

fn reading(form: &str, log: &SegmentLog, end: u64) -> Fallible<()> {
    let (mut fastest, mut least) = (0_f64, f64::MAX);
    for round in 0..ROUNDS {
        fastest = fastest.max(in_order(log, end)?);
        least = least.min(at_random(log, end, round as u64 * READS)?);
    }
    println!(
        "{form}: {fastest:>10.0} entries/s in order, {least:.2} us for one at random (best of {ROUNDS})"
    );
    Ok(())
}

fn measure(dir: &Path) -> Fallible<()> {
    let (log, _) = SegmentLog::open(Arc::new(RealDisk), dir, SegmentOptions::default())?;
    if log.tail().next.0 == 0 {
        fill(&log)?;
    }
    drop(log);
    let (mut packed, mut end, began) = (Vec::new(), 0, Instant::now());
    let (log, _) = SegmentLog::open(Arc::new(RealDisk), dir, SegmentOptions::default())?;
    println!("opened in {:?}", began.elapsed());
    let mut times = Vec::new();
    reading("hot   ", &log, first_open(dir)?)?;
    loop {
        let began = Instant::now();
        let Some(segment) = log.pack_next(0, &|| true)? else { break };
        times.push(began.elapsed().as_secs_f64());
        end = segment.first.0 + segment.entries;
        packed.push(segment);
    }
    reading("packed", &log, end)?;
    for (segment, seconds) in packed.iter().zip(&times) {
        let entries = segment.entries as f64;
        println!(
            "{:>9} entries: {:.1} bytes each, {:.1} before; {:.0} entries/s",
            segment.entries,
            segment.bytes as f64 / entries,
            segment.bytes_before as f64 / entries,
            entries / seconds
        );
    }
    let began = Instant::now();
    let again = SegmentLog::open(Arc::new(RealDisk), dir, SegmentOptions::default())?.0;
    println!("opened in {:?}, {:?}", began.elapsed(), again.packed());
    Ok(())
}

/// The position behind all that is sealed.
fn first_open(dir: &Path) -> Fallible<u64> {
    let mut firsts = Vec::new();
    for file in std::fs::read_dir(dir.join("log"))? {
        let name = file?.file_name().into_string().unwrap_or_default();
        firsts.extend(name.strip_suffix(".seg").and_then(|first| first.parse::<u64>().ok()));
    }
    firsts.sort_unstable();
    Ok(firsts.get(firsts.len().saturating_sub(1)).copied().unwrap_or(0))
}

fn main() -> Fallible<()> {
    let temporary = tempfile::tempdir()?;
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    measure(given.as_ref().map_or(temporary.path(), Path::new))
}
