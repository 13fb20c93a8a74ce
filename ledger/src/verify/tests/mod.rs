//! What the judge promises.

use std::path::Path;
use std::time::Duration;

use super::effort::Effort;
use super::{Evidence, LedgerReport, Progress, Report, judge_all, verify};
use crate::disk::Disk;
use crate::entry::link;

mod checker;
mod crashes;
mod damages;
mod engine;
mod entries;
mod fast;
mod flips;
mod known;
mod logs;
mod packed;
mod servers;
pub(crate) mod writer;

use writer::{Built, Files, build, plan};

/// No server is writing.
struct Alone;

impl Progress for Alone {
    fn bytes(&self, done: u64, total: u64) {
        assert!(done <= total);
    }
    fn wait(&self, _: Duration) -> bool {
        false
    }
}

/// Everything is walked: no fast way.
const WALK: Effort = Effort { threads: 1, piece_bytes: None, shared_bytes_min: 0 };
/// The fast way, on so many threads, in pieces of so many bytes.
const fn fast(threads: usize, piece_bytes: usize) -> Effort {
    Effort { threads, piece_bytes: Some(piece_bytes), shared_bytes_min: 0 }
}

/// Walks a log, and goes the fast way on one thread and on two: all must say the same.
fn verify_each_way(disk: &dyn Disk, data_dir: &Path) -> Report {
    verify_in_ways(disk, data_dir, &[fast(1, 16 * 1024), fast(1, 300), fast(2, 700)])
}

fn verify_in_ways(disk: &dyn Disk, data_dir: &Path, ways: &[Effort]) -> Report {
    verify_by(disk, data_dir, ways, &Evidence::default())
}

fn verify_by(disk: &dyn Disk, data_dir: &Path, ways: &[Effort], evidence: &Evidence) -> Report {
    let report = judge_all(disk, data_dir, &WALK, evidence, &Alone).unwrap();
    for effort in ways {
        let other = judge_all(disk, data_dir, effort, evidence, &Alone).unwrap();
        assert_eq!(other, report, "{effort:?} against a walk");
    }
    report
}

fn judged(files: &Files) -> LedgerReport {
    judged_in_ways(files, &[fast(1, 16 * 1024), fast(1, 300), fast(2, 700)])
}

fn judged_in_ways(files: &Files, ways: &[Effort]) -> LedgerReport {
    let report = verify_in_ways(files, Path::new("d"), ways);
    let [ledger] = <[LedgerReport; 1]>::try_from(report.ledgers).unwrap();
    ledger
}

/// Two sealed segments and an open one, with batches of one and of several.
fn small() -> Built {
    build(&plan(SMALL), &[6, 5], 4096)
}

const SMALL: &[&[usize]] = &[
    &[40],
    &[300],
    &[1, 2, 3],
    &[700], // sealed
    &[90],
    &[10, 600],
    &[33],
    &[200], // sealed
    &[64],
    &[120, 30, 500],
    &[77],
];

#[test]
fn a_log_as_it_was_written_is_sound() {
    let report = judged(&small().files);
    assert_eq!(report.damage, []);
    assert!(report.ok());
    assert_eq!((report.entries.0, report.torn_bytes), (16, 0));
    let entries: Vec<_> = plan(SMALL).iter().map(writer::Planned::entry).collect();
    assert_eq!(report.head, link(entries.last().unwrap()));
    assert_eq!(report.uid, Some(writer::UID));
}

#[test]
fn more_than_one_stride_of_offsets_is_sound() {
    let sizes = vec![30; 200];
    let batches: Vec<&[usize]> = sizes.chunks(1).collect();
    let report = judged(&build(&plan(&batches), &[150], 65536).files);
    assert_eq!((report.damage, report.entries.0), (vec![], 200));
}

#[test]
fn a_directory_without_ledgers_is_sound() {
    let report = verify(&Files::default(), Path::new("d"), &()).unwrap();
    assert_eq!(report, Report { ledgers: vec![], strangers: vec![] });
    assert!(report.ok());
}

#[test]
fn progress_ends_at_the_total() {
    use std::sync::Mutex;
    struct Watch(Mutex<(u64, u64)>);
    impl Progress for Watch {
        fn bytes(&self, done: u64, total: u64) {
            *self.0.lock().unwrap() = (done, total);
        }
    }
    let watch = Watch(Mutex::default());
    let built = small();
    verify(&built.files, Path::new("d"), &watch).unwrap();
    let bytes: usize = built.segments.iter().map(|file| built.files.get(file).len()).sum();
    assert_eq!(*watch.0.lock().unwrap(), (bytes as u64, bytes as u64));
}
