//! One flipped bit, anywhere.

use std::path::PathBuf;

use super::*;
use crate::log::{AppendError, ReadError};

/// About 64 KiB: sealed segments and an open one.
fn log() -> (MemoryDisk, Vec<Record>) {
    let disk = MemoryDisk::new();
    let (log, _) = open_on(disk.clone());
    let mut chain = Chain::new();
    let mut records = Vec::new();
    while records.len() < 260 {
        let group = chain.group(&[1, 1, 2, 3], 110);
        log.append(log.tail().next, &group).unwrap();
        records.extend(group);
    }
    (disk, records)
}

struct File {
    path: PathBuf,
    bytes: Vec<u8>,
    first: u64,
    next: u64,
    frames: Vec<(u64, usize)>,
    end: usize,
}

fn files(disk: &MemoryDisk, records: &[Record]) -> Vec<File> {
    let mut paths: Vec<_> = disk.paths().into_iter().filter(|p| p.extension().is_some()).collect();
    paths.sort();
    let firsts: Vec<u64> =
        paths.iter().map(|p| p.file_stem().unwrap().to_str().unwrap().parse().unwrap()).collect();
    let nexts = firsts[1..].iter().copied().chain([records.len() as u64]);
    let all = paths.into_iter().zip(firsts.clone()).zip(nexts);
    all.map(|((path, first), next)| {
        let mut end = 512;
        let mut frames = Vec::new();
        for position in first..next {
            frames.push((position, end));
            end += records[position as usize].entry.len() + 21;
        }
        File { bytes: disk.bytes(&path).unwrap(), path, first, next, frames, end }
    })
    .collect()
}

#[test]
fn a_flipped_bit_in_a_sealed_frame_fails_the_reads_of_that_entry_and_no_other() {
    let (disk, records) = log();
    let files = files(&disk, &records);
    assert!(files.len() >= 4);
    let (log, _) = open_on(disk.clone());
    for file in &files {
        for (n, (position, start)) in file.frames.iter().enumerate() {
            let end = file.frames.get(n + 1).map_or(file.end, |f| f.1);
            for bit in start * 8..end * 8 {
                disk.flip(&file.path, bit / 8, 1 << (bit % 8));
                match log.read(Position(*position), 1) {
                    Err(ReadError::Damaged(d)) => {
                        assert_eq!((d.position.0, d.offset), (*position, *start as u64));
                        assert!(file.path.ends_with(&d.file));
                    }
                    other => panic!("bit {bit} of {position}: {other:?}"),
                }
                let many = log.read_many(&[Position(*position)]);
                assert!(matches!(many, Err(ReadError::Damaged(d)) if d.position.0 == *position), "bit {bit}");
                if bit % 97 == 0 {
                    neighbours_are_served(&log, &records, *position);
                }
                disk.flip(&file.path, bit / 8, 1 << (bit % 8));
            }
        }
    }
}

fn neighbours_are_served(log: &SegmentLog, records: &[Record], position: u64) {
    let before = log.read(Position(position.saturating_sub(3)), usize::MAX);
    if position > 0 {
        assert_eq!(before.unwrap().len() as u64, position.min(3));
    }
    if let Some(record) = records.get(position as usize + 1) {
        assert_eq!(log.read(Position(position + 1), 1).unwrap()[0], *record);
    }
    let others: Vec<Record> = records.iter().filter(|r| **r != records[position as usize]).cloned().collect();
    let positions: Vec<Position> =
        (0..records.len() as u64).filter(|p| *p != position).map(Position).collect();
    assert_eq!(log.read_many(&positions).unwrap(), others);
}

/// Opens the log with one bit flipped, and gives the damage found.
fn damage_with_flip(disk: &MemoryDisk, file: &File, bit: usize) -> Vec<crate::log::Damage> {
    disk.flip(&file.path, bit / 8, 1 << (bit % 8));
    let paths = disk.paths();
    let (log, repair) = open_on(disk.clone());
    assert_eq!(repair, None, "bit {bit} of {} was taken for a tear", file.path.display());
    let damage = log.damage();
    if !damage.is_empty() {
        let group = Chain::after(log.tail()).group(&[1], 10);
        assert!(matches!(log.append(log.tail().next, &group), Err(AppendError::Stopped(_))));
    }
    assert_eq!(disk.paths(), paths);
    let mut expected = file.bytes.clone();
    expected[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(disk.bytes(&file.path).unwrap(), expected, "nothing was written");
    disk.flip(&file.path, bit / 8, 1 << (bit % 8));
    damage
}

#[test]
fn a_flipped_bit_in_a_header_or_footer_is_found_at_opening() {
    let (disk, records) = log();
    let files = files(&disk, &records);
    for (n, file) in files.iter().enumerate() {
        let footer = if n + 1 < files.len() { file.end..file.bytes.len() } else { 0..0 };
        for bit in (0..512 * 8).chain(footer.start * 8..footer.end * 8) {
            let damage = damage_with_flip(&disk, file, bit);
            assert_eq!(damage.len(), 1, "bit {bit} of segment {n}: {damage:?}");
            assert_eq!(damage[0].position, Position(file.first));
            assert!(file.path.ends_with(&damage[0].file));
        }
    }
}

#[test]
fn a_flipped_bit_in_the_open_segment_is_found_at_opening_and_never_taken_for_a_tear() {
    let (disk, records) = log();
    let files = files(&disk, &records);
    let open = files.last().unwrap();
    for bit in 512 * 8..open.end * 8 {
        let damage = damage_with_flip(&disk, open, bit);
        let hit = open.frames.iter().rev().find(|f| f.1 <= bit / 8).unwrap();
        assert_eq!(damage.len(), 1, "bit {bit}");
        assert_eq!((damage[0].position.0, damage[0].offset), (hit.0, hit.1 as u64), "bit {bit}");
    }
    for bit in (open.end * 8..open.bytes.len() * 8).step_by(13) {
        assert_eq!(damage_with_flip(&disk, open, bit)[0].position.0, open.next, "bit {bit} in the zeros");
    }
}

#[test]
fn a_flipped_bit_in_the_last_sealed_segment_is_never_taken_for_a_tear() {
    // As after a crash between sealing one segment and naming the next; with and without its cut to length.
    let (disk, records) = log();
    let files = files(&disk, &records);
    let sealed = &files[1];
    for spare in [0, 1500] {
        let alone = MemoryDisk::new();
        alone.put(&files[0].path, &files[0].bytes);
        let mut bytes = sealed.bytes.clone();
        bytes.resize(bytes.len() + spare, 0);
        alone.put(&sealed.path, &bytes);
        let file = File { path: sealed.path.clone(), bytes: bytes.clone(), frames: Vec::new(), ..*sealed };
        for bit in file.end * 8..sealed.bytes.len() * 8 {
            assert_eq!(damage_with_flip(&alone, &file, bit).len(), 1, "bit {bit}");
        }
    }
}

#[test]
fn behind_damage_in_the_open_segment_what_is_sound_is_still_served() {
    let (disk, records) = log();
    let files = files(&disk, &records);
    let open = files.last().unwrap();
    let (position, offset) = open.frames[open.frames.len() / 2];
    for byte in [3, 60] {
        disk.flip(&open.path, offset + byte, 4);
        let (log, _) = open_on(disk.clone());
        assert_eq!(log.tail().next.0, records.len() as u64);
        assert_eq!(log.read(Position(0), usize::MAX).unwrap(), records[..position as usize]);
        assert!(matches!(log.read(Position(position), 1), Err(ReadError::Damaged(_))));
        let behind = log.read(Position(position + 1), usize::MAX).unwrap();
        assert_eq!(behind, records[position as usize + 1..]);
        disk.flip(&open.path, offset + byte, 4);
    }
}
