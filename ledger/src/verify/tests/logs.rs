//! Logs as the engine writes them, on a disk that crashes and a hand that tampers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::writer::{plan, rechain};
use crate::disk::testing::{FaultyDisk, MemoryDisk};
use crate::entry::{Record, link};
use crate::log::{LogStore, SegmentLog, SegmentOptions};
use crate::types::Position;

pub(super) const DIR: &str = "d/ledgers/default";

pub(super) fn options() -> SegmentOptions {
    SegmentOptions { first_segment_bytes: 4096, segment_bytes_max: 8192, protected_through: Position(0) }
}

/// Events by their bytes, in batches, in groups: single entries, long ones, atomic batches of one group and of several.
const GROUPS: [&[&[usize]]; 16] = [
    &[&[20]],
    &[&[100, 90, 80, 120]],
    &[&[300], &[310], &[5]],
    &[&[900]],
    &[&[150, 160], &[40]],
    &[&[700]],
    &[&[120, 0, 130], &[90, 90]],
    &[&[40], &[1]],
    &[&[500, 510, 490, 1, 530, 20, 500, 300]],
    &[&[3000]],
    &[&[10, 700]],
    &[&[700], &[710, 10, 600, 20, 1500]],
    &[&[20]],
    &[&[150, 160, 170, 140]],
    &[&[1900], &[30]],
    &[&[77], &[60, 1400, 7]],
];

/// The groups, ready to be appended one after the other.
pub(super) fn groups() -> Vec<Vec<Record>> {
    let batches: Vec<&[usize]> = GROUPS.iter().flat_map(|group| group.iter().copied()).collect();
    let mut planned = plan(&batches);
    for (n, one) in planned.iter_mut().enumerate() {
        // Some events hold zeros by nature, whole sectors of them, or end with them.
        let length = one.event.len();
        match n % 4 {
            0 => one.event[length / 5..length - length / 6].fill(0),
            1 => one.event[length - length / 3..].fill(0),
            _ => {}
        }
    }
    rechain(&mut planned, 0);
    let mut records = planned.iter().map(|one| {
        let entry = one.entry();
        {
            let link = link(&entry);
            Record::new(Bytes::from(entry), link, one.batch)
        }
    });
    let mut take =
        |group: &[&[usize]]| records.by_ref().take(group.iter().map(|batch| batch.len()).sum()).collect();
    GROUPS.iter().map(|group| take(group)).collect()
}

/// Opens a log and appends the first groups, as many as are asked for and as the disk takes.
pub(super) fn written(disk: impl crate::disk::Disk, groups: &[Vec<Record>]) {
    let Ok((log, _)) = SegmentLog::open(Arc::new(disk), Path::new(DIR), options()) else { return };
    for group in groups {
        if log.append(log.tail().next, group).is_err() {
            return;
        }
    }
}

/// A fixed sequence of numbers that look random.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Pulls the plug at every call that changes the disk; of what was not durable, each time, every part survives where
/// there are few, else `samples` choices of them.
pub(super) fn each_crash(samples: u64, check: &mut dyn FnMut(MemoryDisk)) {
    let groups = groups();
    for n in 0.. {
        let memory = MemoryDisk::new();
        let disk = FaultyDisk::new(Arc::new(memory.clone()));
        disk.cut_power_after(n);
        written(disk.clone(), &groups);
        let pending = memory.pending().len();
        if 1_u64 << pending.min(32) <= samples {
            for subset in 0..1_u64 << pending {
                let mut bits = (0..64).map(|bit| subset >> bit & 1 == 1);
                check(memory.crash(&mut |_| bits.next() == Some(true)));
            }
        } else {
            for seed in 0..samples {
                let mut dice = Dice(seed * 77 + n as u64);
                // Some with nearly all kept, some with hardly any.
                let chance = dice.roll(17);
                check(memory.crash(&mut |_| dice.roll(16) < chance));
            }
        }
        if disk.calls().len() <= n {
            return;
        }
    }
}

/// The last segment of a log.
pub(super) fn last_segment(disk: &MemoryDisk) -> PathBuf {
    let segments = disk.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "seg"));
    segments.max().unwrap()
}

/// Changes a segment behind its header, in one to three places.
pub(super) fn tamper(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.roll(3) {
        // Mostly near the end of what is written.
        let written = bytes.iter().rposition(|b| *b != 0).unwrap_or(0) + 700;
        let at = 512 + dice.roll(written.min(bytes.len()).saturating_sub(512).max(1));
        if at + 1 >= bytes.len() {
            continue;
        }
        let sector = at / 512 * 512..(at / 512 * 512 + 512).min(bytes.len());
        let behind = at..(at + 1 + dice.roll(700)).min(bytes.len());
        match dice.roll(9) {
            0 | 1 => bytes[sector].fill(0),
            2 => bytes[at..sector.end].fill(0),
            3 => bytes[at..].fill(0),
            4 => bytes[at] ^= 1 << dice.roll(8),
            5 => bytes[at] = dice.roll(256) as u8,
            6 => bytes.truncate(at),
            7 => bytes[behind].iter_mut().for_each(|b| *b = dice.roll(256) as u8),
            _ => {
                let to = dice.roll(bytes.len() - sector.len() - 511);
                bytes.copy_within(sector, (512 + to) / 512 * 512);
            }
        }
    }
}
