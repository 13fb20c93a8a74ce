//! The independent checker is a third reading of the page, in another language. It must agree with the judge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::logs::{DIR, Dice, each_crash, groups, last_segment, tamper, written};
use super::verify_each_way;
use super::writer::{UID, open_segment, plan, sealed_segment, segment_header};
use crate::disk::RealDisk;
use crate::disk::testing::MemoryDisk;
use crate::types::Link;

/// What is said of one ledger: entries, head, torn bytes, and the positions that are damaged.
type Said = (u64, String, u64, Vec<u64>);

fn of_the_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A Python that has the packages the checker needs.
pub(super) fn python() -> Option<String> {
    let python = std::env::var("TOKENLEDGER_PYTHON").unwrap_or_else(|_| "python3".into());
    let usable = Command::new(&python).args(["-c", "import blake3, zstandard"]).output();
    if usable.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let missing =
        "SKIPPED: tests/independent/verify.py, since Python lacks a package (pip install blake3 zstandard)";
    assert!(std::env::var_os("TOKENLEDGER_REQUIRE_ALL").is_none(), "{missing}");
    eprintln!("{missing}");
    None
}

/// Puts the files of a ledger below a data directory, as the ledger `name`.
pub(super) fn put(data: &Path, name: &str, disk: &MemoryDisk) {
    for path in disk.paths() {
        let Ok(below) = path.strip_prefix(DIR) else { continue };
        let file = data.join("ledgers").join(name).join(below);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, disk.bytes(&path).unwrap()).unwrap();
    }
}

fn judge_says(data: &Path) -> BTreeMap<String, Said> {
    let report = verify_each_way(&RealDisk, data);
    let said = report.ledgers.into_iter().map(|ledger| {
        let mut positions: Vec<u64> = ledger.damage.iter().map(|damage| damage.position.0).collect();
        positions.sort_unstable();
        positions.dedup();
        (ledger.ledger, (ledger.entries.0, ledger.head.to_string(), ledger.torn_bytes, positions))
    });
    said.collect()
}

fn checker_says(python: &str, data: &Path) -> BTreeMap<String, Said> {
    let script = of_the_repository("tests/independent/verify.py");
    let output = Command::new(python).arg(script).arg(data).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut said = BTreeMap::<String, Said>::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split([' ', '=']).collect();
        match words[1] {
            "entries" => {
                let numbers = (words[2].parse().unwrap(), words[6].parse().unwrap());
                said.insert(words[0].into(), (numbers.0, words[4].into(), numbers.1, vec![]));
            }
            _ => said.get_mut(words[0]).unwrap().3.push(words[2].parse().unwrap()),
        }
    }
    for one in said.values_mut() {
        one.3.sort_unstable();
        one.3.dedup();
    }
    let damaged = said.values().any(|one| !one.3.is_empty());
    assert_eq!(output.status.code(), Some(i32::from(damaged)));
    said
}

/// Both say the same of every ledger below a directory; gives how many are torn, and how many damaged.
pub(super) fn agreed(python: &str, data: &Path) -> (usize, usize) {
    let judge = judge_says(data);
    let checker = checker_says(python, data);
    assert_eq!(judge.keys().collect::<Vec<_>>(), checker.keys().collect::<Vec<_>>());
    for (name, said) in &judge {
        assert_eq!(said, &checker[name], "{name}: the judge, and the checker");
    }
    let torn = judge.values().filter(|said| said.2 > 0).count();
    (torn, judge.values().filter(|said| !said.3.is_empty()).count())
}

#[test]
fn the_first_files_of_each_version_are_sound_to_the_independent_checker() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    for version in ["log-v1", "log-v2"] {
        let golden = MemoryDisk::new();
        for file in std::fs::read_dir(of_the_repository(&format!("tests/golden/{version}/log"))).unwrap() {
            let path = file.unwrap().path();
            let name = Path::new(DIR).join("log").join(path.file_name().unwrap());
            golden.put(&name, &std::fs::read(&path).unwrap());
        }
        put(dir.path(), version, &golden);
    }
    assert_eq!(agreed(&python, dir.path()), (0, 0));
    assert_eq!(judge_says(dir.path())["log-v1"].0, 8);
    assert!(judge_says(dir.path())["log-v2"].0 > 40);
}

#[test]
fn the_independent_checker_agrees_on_what_crashes_leave() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut n = 0;
    each_crash(8, &mut |disk| {
        put(dir.path(), &format!("crash-{n}"), &disk);
        n += 1;
    });
    let (torn, damaged) = agreed(&python, dir.path());
    assert!(torn > 20, "{torn} of {n}");
    assert_eq!(damaged, 0);
}

#[test]
fn the_independent_checker_agrees_on_what_was_changed() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let groups = groups();
    for count in 1..=groups.len() {
        let disk = MemoryDisk::new();
        written(disk.clone(), &groups[..count]);
        let path = last_segment(&disk);
        let bytes = disk.bytes(&path).unwrap();
        for seed in 0..25 {
            let mut changed = bytes.clone();
            tamper(&mut changed, &mut Dice(seed * 31 + count as u64));
            disk.put(&path, &changed);
            put(dir.path(), &format!("changed-{count}-{seed}"), &disk);
        }
    }
    let (torn, damaged) = agreed(&python, dir.path());
    assert!(torn > 30 && damaged > 100, "{torn} {damaged}");
}

#[test]
fn the_independent_checker_agrees_at_the_edges_of_the_rule() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let segment = |name: &str, bytes: &[u8]| {
        let disk = MemoryDisk::new();
        disk.put(&Path::new(DIR).join("log/00000000000000000000.seg"), bytes);
        put(dir.path(), name, &disk);
    };
    let (sealed, offsets) = sealed_segment(&plan(&[&[100], &[300], &[30]]), 4096);
    for length in (offsets[1] as usize..sealed.len()).step_by(11) {
        segment(&format!("ends-at-{length}"), &sealed[..length]);
    }
    segment("goes-on", &[&sealed[..], b"more"].concat());
    let (mut long, offsets) = open_segment(&plan(&[&[100], &[8000]]), 16_384);
    segment("two-bits", &[&long[..offsets[1] as usize + 512], &[3], &[0; 700]].concat());
    long.truncate(4096);
    long[..512].copy_from_slice(&segment_header(UID, 0, Link::default(), 4096));
    segment("longer", &long);
    let (mut early, offsets) = open_segment(&plan(&[&[100], &[300]]), 4096);
    early.truncate(offsets[2] as usize - 1);
    early[offsets[1] as usize + 150] ^= 1;
    segment("early", &early);
    let (torn, damaged) = agreed(&python, dir.path());
    assert!(torn > 50 && damaged >= 2, "{torn} {damaged}");
}

#[test]
fn the_independent_checker_finds_every_flipped_bit_where_the_judge_does() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let disk = MemoryDisk::new();
    written(disk.clone(), &groups());
    let mut ledgers = 0;
    for path in disk.paths().into_iter().filter(|path| path.extension().is_some()) {
        for bit in (3..disk.bytes(&path).unwrap().len() * 8).step_by(701) {
            disk.flip(&path, bit / 8, 1 << (bit % 8));
            put(dir.path(), &format!("bit-{ledgers}"), &disk);
            disk.flip(&path, bit / 8, 1 << (bit % 8));
            ledgers += 1;
        }
    }
    assert_eq!(agreed(&python, dir.path()), (0, ledgers));
}
