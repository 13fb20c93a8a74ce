//! The plug is pulled between any two calls; of what was not durable any part survives.

use super::*;
use crate::disk::testing::FaultyDisk;

/// A fixed sequence of numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

const EVERY_SUBSET_MAX: usize = 10;

/// Every disk that a crash may leave behind, where few sectors and names are in doubt; many of them otherwise.
pub(super) fn each_crash(disk: &MemoryDisk, check: &mut dyn FnMut(MemoryDisk)) {
    let pending = disk.pending().len();
    if pending <= EVERY_SUBSET_MAX {
        for subset in 0..1_u32 << pending {
            let mut bits = subset;
            check(disk.crash(&mut |_| {
                let keep = bits & 1 == 1;
                bits >>= 1;
                keep
            }));
        }
        return;
    }
    for seed in 0..60 {
        let mut dice = Dice(seed * 77 + 5);
        // Some with nearly all kept, some with hardly any.
        let chance = dice.roll() % 17;
        check(disk.crash(&mut |_| dice.roll() % 16 < chance));
    }
}

/// Groups of one entry, of many, atomic ones and mixed ones, so that segments are sealed and begun.
fn script(log: &SegmentLog, offered: &mut Vec<Record>, acknowledged: &mut usize) {
    let groups: [(&[u16], usize); 14] = [
        (&[1], 20),
        (&[4], 100),
        (&[1, 1, 1], 300),
        (&[1], 900),
        (&[2, 1], 150),
        (&[1], 700),
        (&[3, 2], 120),
        (&[1, 1], 40),
        (&[8], 500),
        (&[1], 3000),
        (&[2], 10),
        (&[1, 5], 700),
        (&[1], 20),
        (&[6], 150),
    ];
    let mut chain = Chain::after(log.tail());
    for (batches, bytes) in groups {
        let group = chain.group(batches, bytes);
        offered.extend(group.clone());
        match log.append(log.tail().next, &group) {
            Ok(tail) => *acknowledged = tail.next.0 as usize,
            Err(_) => return,
        }
    }
}

#[test]
fn a_crash_at_any_call_loses_nothing_acknowledged_and_never_refuses_a_start() {
    let mut crashes = 0;
    for n in 0.. {
        let memory = MemoryDisk::new();
        let disk = FaultyDisk::new(Arc::new(memory.clone()));
        disk.cut_power_after(n);
        let (log, _) = open_on(disk.clone());
        let (mut offered, mut acknowledged) = (Vec::new(), 0);
        script(&log, &mut offered, &mut acknowledged);
        each_crash(&memory, &mut |after| {
            crashes += 1;
            check_prefix(&after, &offered, acknowledged);
        });
        if disk.calls().len() <= n {
            assert!(log.view().sealed.len() >= 2);
            break;
        }
    }
    assert!(crashes > 2000, "{crashes}");
}

/// Disks that need a repair when they are opened.
fn torn_disks() -> Vec<(MemoryDisk, Vec<Record>, usize)> {
    let mut disks = Vec::new();
    for (batches, bytes) in [(&[1_u16, 1, 1][..], 400), (&[5], 300), (&[1, 4], 200)] {
        let memory = MemoryDisk::new();
        let disk = FaultyDisk::new(Arc::new(memory.clone()));
        let (log, _) = open_on(disk.clone());
        let mut chain = Chain::new();
        let mut offered = chain.group(&[1, 2], 100);
        log.append(Position(0), &offered).unwrap();
        // The write of the next group happens, its sync does not.
        disk.cut_power_after(disk.calls().len() + 1);
        let group = chain.group(batches, bytes);
        offered.extend(group.clone());
        log.append(Position(3), &group).unwrap_err();
        for seed in 0..12 {
            let mut dice = Dice(seed);
            let torn = memory.crash(&mut |_| dice.roll().is_multiple_of(2));
            if open_on(torn.copy()).1.is_some() {
                disks.push((torn, offered.clone(), 3));
            }
        }
    }
    assert!(disks.len() > 10);
    disks
}

#[test]
fn a_crash_at_any_call_of_a_repair_is_repaired_in_turn() {
    for (torn, offered, acknowledged) in torn_disks() {
        for n in 0.. {
            let memory = torn.copy();
            let disk = FaultyDisk::new(Arc::new(memory.clone()));
            disk.cut_power_after(n);
            let opened = SegmentLog::open(Arc::new(disk.clone()), Path::new(DIR), small());
            each_crash(&memory, &mut |after| check_prefix(&after, &offered, acknowledged));
            if opened.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn what_a_repair_cuts_is_kept_aside_before_it_is_cut() {
    for (torn, ..) in torn_disks() {
        let segment = Path::new(DIR).join("log/00000000000000000000.seg");
        let before = torn.bytes(&segment).unwrap();
        let disk = torn.copy();
        let (_, repair) = open_on(disk.clone());
        let repair = repair.unwrap();
        let cut = repair.offset as usize..(repair.offset + repair.bytes) as usize;
        let kept = disk.crash(&mut |_| false).bytes(&Path::new(DIR).join(repair.kept.unwrap())).unwrap();
        assert_eq!(kept, before[cut.clone()]);
        let after = disk.bytes(&segment).unwrap();
        assert_eq!(after[..cut.start], before[..cut.start]);
        assert!(after[cut.start..].iter().all(|b| *b == 0));
    }
}

#[test]
fn a_file_that_ended_early_survives_a_crash_while_it_is_repaired() {
    let disk = MemoryDisk::new();
    let (log, _) = open_on(disk.clone());
    let offered = Chain::new().group(&[1, 2, 2, 1], 200);
    log.append(Position(0), &offered).unwrap();
    let segment = Path::new(DIR).join("log/00000000000000000000.seg");
    let whole = disk.bytes(&segment).unwrap();
    let end = 512 + offered.iter().map(|r| r.entry.len() + 21).sum::<usize>();
    for cut in (end - 300..end).step_by(7) {
        for n in 0.. {
            let memory = MemoryDisk::new();
            memory.put(&segment, &whole[..cut]);
            let disk = FaultyDisk::new(Arc::new(memory.clone()));
            disk.cut_power_after(n);
            let opened = SegmentLog::open(Arc::new(disk), Path::new(DIR), small());
            each_crash(&memory, &mut |after| check_prefix(&after, &offered, 3));
            if opened.is_ok() {
                break;
            }
        }
    }
}
