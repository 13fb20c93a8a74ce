//! What the index of event ids costs as it grows: `cargo bench --bench ids [-- MILLIONS]` (10 where none are named).
#![allow(missing_docs, clippy::print_stdout, reason = "the figures are the purpose")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use ledger::disk::RealDisk;
use ledger::entry::IdKey;
use ledger::ids::{IdIndex, IdOptions};
use ledger::types::{LedgerUid, Position};

const LOOK_UPS: u64 = 200_000;

/// Scatters numbers over all 64 bits (the finaliser of SplitMix64), as keys of ids are.
fn key(number: u64) -> IdKey {
    let mut z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    IdKey(z ^ (z >> 31))
}

/// Looks new ids up and prints what that cost.
fn report(index: &IdIndex, runs_max: u64, nanos: f64) -> Result<(), Box<dyn Error>> {
    let (entries, before) = (index.covered().0, index.stats());
    let began = Instant::now();
    for number in entries..entries + LOOK_UPS {
        index.candidates(key(!number))?;
    }
    let each = began.elapsed().as_nanos() as f64 / LOOK_UPS as f64;
    let after = index.stats();
    println!(
        "{:>11} ids: {} runs (at most {runs_max} on the way); a new id asks {:.2} filters and {:.5} times the disk, in {each:.0} ns; an insert with its share of merges {nanos:.0} ns; {:.1} MB in memory",
        entries,
        after.runs,
        (after.filter_questions - before.filter_questions) as f64 / LOOK_UPS as f64,
        (after.disk_reads - before.disk_reads) as f64 / LOOK_UPS as f64,
        after.memory_bytes as f64 / 1e6,
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let millions = std::env::args().filter_map(|argument| argument.parse::<u64>().ok()).next().unwrap_or(10);
    let dir = tempfile::tempdir()?;
    let mut index = IdIndex::open(Arc::new(RealDisk), dir.path(), IdOptions::new(LedgerUid([7; 16])))?;
    let (mut runs_max, began) = (0, Instant::now());
    for number in 0..millions * 1_000_000 {
        index.insert(key(number), Position(number));
        if number % 65_536 == 0 {
            while index.maintain()? {}
            runs_max = runs_max.max(index.stats().runs);
        }
        if (number + 1) % 1_000_000 == 0 && ((number + 1) / 1_000_000).is_power_of_two()
            || number + 1 == millions * 1_000_000
        {
            let nanos = began.elapsed().as_nanos() as f64 / (number + 1) as f64;
            report(&index, runs_max, nanos)?;
        }
    }
    Ok(())
}
