//! What a look-up costs.

use super::super::test_disk::TestDisk;
use super::super::{IdIndex, IdOptions, IdStats, table};
use super::{UID, key, open};
use crate::entry::IdKey;
use crate::types::Position;

const ENTRIES: u64 = 2_000_000;
const LOOK_UPS: u64 = 200_000;

/// 2 million ids in units of 4,096, with the jobs done in between: 488 units, one full run
/// and the row of runs at its longest on the way.
fn filled(disk: &TestDisk) -> (IdIndex, u64) {
    let options = IdOptions { memtable_entries_max: 4096, ..IdOptions::new(UID) };
    let mut index = open(disk, options);
    let mut runs_max = 0;
    for n in 0..ENTRIES {
        index.insert(key(n), Position(n));
        if n % 4096 == 4095 {
            while index.maintain().unwrap() {}
            runs_max = runs_max.max(index.stats().runs);
        }
    }
    (index, runs_max)
}

fn look_up(index: &IdIndex, keys: impl Iterator<Item = IdKey>) -> IdStats {
    let before = index.stats();
    let found = keys.map(|key| index.candidates(key).unwrap().len() as u64).sum::<u64>();
    let after = index.stats();
    let cost = IdStats {
        look_ups: after.look_ups - before.look_ups,
        filter_questions: after.filter_questions - before.filter_questions,
        disk_reads: after.disk_reads - before.disk_reads,
        ..after
    };
    assert!(found == 0 || found == cost.look_ups, "{found} of {}", cost.look_ups);
    cost
}

#[test]
fn a_new_id_asks_few_filters_of_12_and_a_half_bits_an_id_and_hardly_ever_reads_the_disk() {
    let (index, runs_max) = filled(&TestDisk::new());
    assert!(runs_max <= 5, "{runs_max} runs");
    let new = look_up(&index, (ENTRIES..ENTRIES + LOOK_UPS).map(key));
    let (filters, reads) = (new.filter_questions as f64, new.disk_reads as f64);
    let each = new.look_ups as f64;
    println!(
        "{} runs, at most {runs_max}; per new id: {} filters, {} disk reads; {} bytes in memory",
        new.runs,
        filters / each,
        reads / each,
        new.memory_bytes
    );
    assert!(filters / each <= 8.0);
    assert!(reads / each <= 0.02);
    assert!(reads / filters <= 0.002, "a filter errs with {}", reads / filters);

    let known = look_up(&index, (0..ENTRIES - 4096).step_by(17).map(key));
    println!("per known id: {} disk reads", known.disk_reads as f64 / known.look_ups as f64);
    assert!(known.disk_reads as f64 / known.look_ups as f64 <= 1.02);

    let filters = new.memory_bytes - new.memtable_entries * table::ENTRY_MEMORY_BYTES;
    let bits = 8.0 * filters as f64 / (new.entries - new.memtable_entries) as f64;
    println!("{bits:.2} bits of memory per id on disk");
    assert!(bits <= 12.5, "{bits} bits");
}
