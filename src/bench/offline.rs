//! What is measured on a directory while no server runs.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::disk::RealDisk;
use ledger::entry;
use ledger::log::{LogStore, SegmentLog, SegmentOptions};
use ledger::replay::replay;
use ledger::state::State;
use ledger::types::{Link, Position};
use ledger::verify::{self, Evidence};

use super::BenchError;

/// How much of a log is read at a time, in bytes.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// Some entries, and the time that went into them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Took {
    pub(super) entries: u64,
    pub(super) time: Duration,
}

fn open(ledger_dir: &Path) -> Result<SegmentLog, BenchError> {
    let opened = SegmentLog::open(Arc::new(RealDisk), ledger_dir, SegmentOptions::default());
    opened.map(|(log, _)| log).map_err(|e| BenchError::because("the log cannot be opened", e))
}

fn unread(error: impl std::fmt::Display) -> BenchError {
    BenchError::because("the log cannot be read", error)
}

/// Reads a log and folds every entry into a state: what a rebuild does without an index.
pub(super) fn fold(ledger_dir: &Path) -> Result<Took, BenchError> {
    let log = open(ledger_dir)?;
    let entries = log.tail().next;
    let (began, mut state) = (Instant::now(), State::default());
    replay(&log, Position(0), entries, |_, recorded| {
        state.apply(&recorded);
        true
    })
    .map_err(unread)?;
    if state.next() != entries {
        return Err(BenchError("the log ended before its end".to_owned()));
    }
    Ok(Took { entries: entries.0, time: began.elapsed() })
}

/// One thread that hashes `previous link || entry` of every entry of a log, and nothing else: what no judge can beat.
/// Reading is not counted.
pub(super) fn plain_hashes(ledger_dir: &Path) -> Result<Took, BenchError> {
    let log = open(ledger_dir)?;
    let (end, mut took) = (log.tail().next, Took::default());
    let (mut previous, mut bytes) = (Link::default(), Vec::with_capacity(entry::ENTRY_BYTES_MAX + 32));
    while took.entries < end.0 {
        let records = log.read(Position(took.entries), READ_BYTES).map_err(unread)?;
        if records.is_empty() {
            return Err(BenchError("the log ended before its end".to_owned()));
        }
        let began = Instant::now();
        for record in &records {
            bytes.clear();
            bytes.extend_from_slice(&previous.0);
            bytes.extend_from_slice(&record.entry);
            previous = Link(*blake3::hash(&bytes).as_bytes());
        }
        took.time += began.elapsed();
        took.entries += records.len() as u64;
    }
    std::hint::black_box(previous);
    Ok(took)
}

/// The judge over a data directory, with so many threads.
pub(super) fn judge(data: &Path, threads: NonZeroUsize) -> Result<Took, BenchError> {
    let began = Instant::now();
    let report = verify::verify_on(&RealDisk, data, threads, &Evidence::default(), &()).map_err(unread)?;
    let time = began.elapsed();
    if !report.ok() {
        return Err(BenchError("the log is not what was written: run `tokenledger verify`".to_owned()));
    }
    Ok(Took { entries: report.ledgers.iter().map(|ledger| ledger.entries.0).sum(), time })
}
