//! Packed segments.

use std::path::Path;
use std::sync::Arc;

use super::checker::{agreed, put, python};
use super::logs::{DIR, Dice, groups, options, tamper, written};
use super::{Alone, fast, verify_each_way, verify_in_ways};
use crate::disk::testing::MemoryDisk;
use crate::log::SegmentLog;
use crate::types::Position;
use crate::verify::chain::Chain;
use crate::verify::crew::sound_ones;
use crate::verify::effort::Effort;
use crate::verify::names::segments;
use crate::verify::sought::Sought;
use crate::verify::{LedgerReport, Meter, Reached};

/// A log as the engine writes and packs it: all sealed segments but the newest are packed.
pub(super) fn packed() -> (MemoryDisk, Vec<String>) {
    let disk = MemoryDisk::new();
    written(disk.clone(), &groups());
    let log = opened(&disk);
    while log.pack_next(0, &|| true).unwrap().is_some() {}
    assert!(log.packed().segments >= 2);
    let mut names: Vec<String> =
        disk.paths().iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.retain(|name| name.ends_with(".seg"));
    names.sort();
    names.truncate(log.packed().segments as usize);
    (disk, names)
}

fn opened(disk: &MemoryDisk) -> SegmentLog {
    SegmentLog::open(Arc::new(disk.clone()), Path::new(DIR), options()).unwrap().0
}

fn judged(disk: &MemoryDisk) -> LedgerReport {
    verify_each_way(disk, Path::new("d")).ledgers.pop().unwrap()
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The blocks of a packed file: first position, that behind the last, and the bytes; and where the footer begins.
fn blocks(bytes: &[u8], first: u64) -> (Vec<(u64, u64, usize, usize)>, usize) {
    let (mut at, mut position, mut blocks) = (512, first, Vec::new());
    while bytes[at..at + 8] != *b"TKLFOOT2" {
        let (end, next) = (at + 16 + number(bytes, at), position + number(bytes, at + 8) as u64);
        blocks.push((position, next, at, end));
        (at, position) = (end, next);
    }
    (blocks, at)
}

#[test]
fn a_packed_log_is_as_sound_as_it_was() {
    let plain = MemoryDisk::new();
    written(plain.clone(), &groups());
    let (disk, _) = packed();
    let (before, after) = (judged(&plain), judged(&disk));
    assert!(after.ok(), "{after:?}");
    assert_eq!(after, before);
    disk.put(&Path::new(DIR).join("log/pack.tmp"), b"left behind");
    assert_eq!(judged(&disk), before);
}

#[test]
fn a_sound_packed_log_is_accepted_the_fast_way_however_it_is_cut() {
    let (disk, _) = packed();
    let (report, dir) = (judged(&disk), Path::new(DIR));
    let segments = segments(&disk, dir).unwrap();
    for effort in [fast(1, 512 * 1024), fast(1, 1), fast(1, 300), fast(2, 300), fast(3, 2000)] {
        let meter = Meter::new(&Alone);
        let reached = Reached::new(&meter);
        let (sought, start) = (Sought::default(), Chain::start());
        let (accepted, chain, _) = sound_ones(&disk, dir, &segments, start, &effort, &reached, &sought);
        let found = (accepted, chain.next, chain.head);
        assert_eq!(found, (segments.len(), report.entries, report.head), "{effort:?}");
    }
}

#[test]
fn every_single_flipped_bit_of_a_packed_file_is_found_where_it_is() {
    let (disk, names) = packed();
    let sound = judged(&disk);
    for name in names {
        let (path, first) = (Path::new(DIR).join("log").join(&name), name[..20].parse().unwrap());
        let bytes = disk.bytes(&path).unwrap();
        let (blocks, footer) = blocks(&bytes, first);
        let next = blocks.last().unwrap().1;
        for bit in 0..bytes.len() * 8 {
            let at = bit / 8;
            disk.flip(&path, at, 1 << (bit % 8));
            // Starting threads takes longer than judging such a small log.
            let ways: &[Effort] = if bit % 61 == 0 { &[fast(1, 300), fast(2, 700)] } else { &[] };
            let report = verify_in_ways(&disk, Path::new("d"), ways).ledgers.pop().unwrap();
            disk.flip(&path, at, 1 << (bit % 8));
            let block = blocks.iter().find(|block| (block.2..block.3).contains(&at));
            let (positions, offsets) = match block {
                Some((from, _, start, _)) => (*from..from + 1, *start..start + 1),
                None if at < 512 => (first..first + 1, 0..1),
                None => (first..next, at.saturating_sub(31).max(footer)..at + 1),
            };
            let located = report.damage.iter().any(|damage| {
                damage.file == format!("log/{name}")
                    && positions.contains(&damage.position.0)
                    && offsets.contains(&(damage.offset as usize))
            });
            assert!(located, "{name} bit {bit} at {at}: {:?}", report.damage);
            assert!(report.damage.len() <= 2, "{name} bit {bit} at {at}: {:?}", report.damage);
            assert_eq!((report.torn_bytes, report.entries, report.head), (0, sound.entries, sound.head));
        }
    }
}

#[test]
fn whatever_is_done_to_a_packed_file_is_found_and_never_torn() {
    let (disk, names) = packed();
    let mut dice = Dice(5);
    for name in &names {
        let path = Path::new(DIR).join("log").join(name);
        let bytes = disk.bytes(&path).unwrap();
        for cut in (0..bytes.len()).step_by(3) {
            disk.put(&path, &bytes[..cut]);
            assert!(!judged(&disk).ok(), "{name} cut at {cut}");
        }
        for behind in [&[0_u8][..], &[0; 512], b"more", &bytes[bytes.len() - 16..], &bytes[512..]] {
            disk.put(&path, &[&bytes, behind].concat());
            assert!(!judged(&disk).ok(), "{name} with {} bytes behind it", behind.len());
        }
        for round in 0..300 {
            let mut changed = bytes.clone();
            tamper(&mut changed, &mut dice);
            disk.put(&path, &changed);
            let report = judged(&disk);
            assert_eq!(report.ok(), changed == bytes, "{name} round {round}: {report:?}");
            assert_eq!(report.torn_bytes, 0);
        }
        disk.put(&path, &bytes);
    }
}

/// Replaces the frames of a block by others, and everything over them that a forger could make right.
fn forged(bytes: &[u8], first: u64, nth: usize, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let (blocks, footer) = blocks(bytes, first);
    let (position, _, start, end) = blocks[nth];
    let mut frames = zstd::bulk::decompress(&bytes[start + 16..end], 1 << 20).unwrap();
    change(&mut frames);
    let zstd = zstd::bulk::compress(&frames, 3).unwrap();
    let mut block = Vec::new();
    for field in [zstd.len() as u32, frames.len() as u32, number(bytes, start + 8) as u32] {
        block.extend(field.to_le_bytes());
    }
    let uid = &bytes[12..28];
    let crc = crc32fast::hash(&[uid, &position.to_le_bytes(), &block, &zstd].concat());
    block.extend(crc.to_le_bytes());
    block.extend(zstd);
    let grown = block.len() as i64 - (end - start) as i64;
    let mut out = [&bytes[..start], &block, &bytes[end..]].concat();
    let footer = (footer as i64 + grown) as usize;
    let places = footer + 104 + number(&out, footer + 80);
    for later in nth + 1..blocks.len() {
        let at = places + 8 * later + 4;
        let offset = (number(&out, at) as i64 + grown) as u32;
        out[at..at + 4].copy_from_slice(&offset.to_le_bytes());
    }
    let head = places + 8 * blocks.len();
    let crc = crc32fast::hash(&out[footer..head]);
    out[head..head + 4].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Has the first block claim an entry more than it holds, and makes everything right that follows from it.
fn overstated(bytes: &[u8], first: u64) -> Vec<u8> {
    let (blocks, footer) = blocks(bytes, first);
    let (mut out, uid) = (bytes.to_vec(), bytes[12..28].to_vec());
    let places = footer + 104 + number(bytes, footer + 80);
    for (nth, (position, _, start, end)) in blocks.iter().copied().enumerate() {
        let claimed = number(bytes, start + 8) as u32 + u32::from(nth == 0);
        out[start + 8..start + 12].copy_from_slice(&claimed.to_le_bytes());
        let position = position + u64::from(nth > 0);
        let parts = [&uid, &position.to_le_bytes()[..], &out[start..start + 12], &out[start + 16..end]];
        let crc = crc32fast::hash(&parts.concat());
        out[start + 12..start + 16].copy_from_slice(&crc.to_le_bytes());
        let (at, listed) = (places + 8 * nth, (position - first) as u32);
        out[at..at + 4].copy_from_slice(&listed.to_le_bytes());
    }
    let head = places + 8 * blocks.len();
    let crc = crc32fast::hash(&out[footer..head]);
    out[head..head + 4].copy_from_slice(&crc.to_le_bytes());
    out
}

#[test]
fn a_block_that_claims_more_entries_than_it_holds_is_found() {
    let (disk, names) = packed();
    for name in &names {
        let path = Path::new(DIR).join("log").join(name);
        let bytes = disk.bytes(&path).unwrap();
        let first = u64::from_le_bytes(bytes[28..36].try_into().unwrap());
        disk.put(&path, &overstated(&bytes, first));
        assert!(!judged(&disk).ok(), "{name}");
        disk.put(&path, &bytes);
    }
}

/// Something that is done to the frames of a block.
type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

/// Gives the first frame of some frames its CRCs anew.
fn sealed_anew(frames: &mut [u8], uid: &[u8], position: u64) {
    let entry = 20..20 + u16::from_le_bytes([frames[2], frames[3]]) as usize;
    let crc = crc32fast::hash(&frames[entry]).to_le_bytes();
    frames[12..16].copy_from_slice(&crc);
    let crc = crc32fast::hash(&[uid, &position.to_le_bytes(), &frames[..16]].concat()).to_le_bytes();
    frames[16..20].copy_from_slice(&crc);
}

#[test]
fn an_entry_that_was_forged_before_it_was_packed_breaks_the_chain() {
    let (disk, names) = packed();
    let path = Path::new(DIR).join("log").join(&names[1]);
    let first: u64 = names[1][..20].parse().unwrap();
    let bytes = disk.bytes(&path).unwrap();
    let (blocks, _) = blocks(&bytes, first);
    assert_eq!(forged(&bytes, first, 0, |_| {}), bytes, "as it was");
    for (nth, (position, _, start, _)) in blocks.iter().copied().enumerate() {
        let entry_changed = |frames: &mut Vec<u8>| {
            frames[20 + 86 + 3] ^= 1;
            sealed_anew(frames, &bytes[12..28], position);
        };
        let frame_changed = |frames: &mut Vec<u8>| frames[5] ^= 1;
        let mark_lost = |frames: &mut Vec<u8>| *frames.last_mut().unwrap() = 0;
        let more = |frames: &mut Vec<u8>| frames.push(0xB7);
        // What the entry itself says wrongly is told at its block too: nothing else has an offset.
        let lag_too_large = |frames: &mut Vec<u8>| {
            frames[8..12].fill(0xFF);
            sealed_anew(frames, &bytes[12..28], position);
        };
        let changes: [Change<'_>; 5] = [&entry_changed, &frame_changed, &mark_lost, &more, &lag_too_large];
        for (which, change) in changes.into_iter().enumerate() {
            disk.put(&path, &forged(&bytes, first, nth, change));
            let report = judged(&disk);
            let here = |d: &crate::log::Damage| d.offset == start as u64 && d.file.ends_with(&names[1]);
            assert!(report.damage.iter().any(here), "block {nth}, change {which}: {:?}", report.damage);
            assert_eq!(report.torn_bytes, 0);
            if which == 0 {
                assert!(
                    report.damage.iter().any(|d| d.position == Position(position)),
                    "{:?}",
                    report.damage
                );
            }
        }
    }
}

#[test]
fn the_independent_checker_agrees_on_packed_files() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (disk, names) = packed();
    put(dir.path(), "sound", &disk);
    let mut dice = Dice(77);
    let mut n = 0;
    for name in &names {
        let path = Path::new(DIR).join("log").join(name);
        let bytes = disk.bytes(&path).unwrap();
        let (_, footer) = blocks(&bytes, name[..20].parse().unwrap());
        let of_footer = (footer..bytes.len()).map(|at| at * 8 + at % 8);
        for bit in (0..bytes.len() * 8).step_by(1009).chain(of_footer.step_by(5)) {
            disk.flip(&path, bit / 8, 1 << (bit % 8));
            put(dir.path(), &format!("flip-{n}"), &disk);
            disk.flip(&path, bit / 8, 1 << (bit % 8));
            n += 1;
        }
        for _ in 0..60 {
            let mut changed = bytes.clone();
            tamper(&mut changed, &mut dice);
            disk.put(&path, &changed);
            put(dir.path(), &format!("tampered-{n}"), &disk);
            n += 1;
        }
        disk.put(&path, &bytes);
    }
    let (torn, damaged) = agreed(&python, dir.path());
    assert_eq!(torn, 0);
    assert!(damaged >= n - 5, "{damaged} of {n}");
}
