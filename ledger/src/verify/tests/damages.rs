//! Damage of every kind, alone and many at once.

use std::path::Path;

use super::writer::{
    Built, Files, Planned, build, open_segment, plan, rechain, sealed_segment, sealed_with, segment_header,
};
use super::{SMALL, judged, small, verify_each_way};
use crate::entry::link;
use crate::types::{LedgerUid, Link, Position, Time};
use crate::verify::footer::{Contents, Expected, Facts};

const FIRST: &str = "log/00000000000000000000.seg";

fn positions(built: &Built) -> Vec<u64> {
    judged(&built.files).damage.iter().map(|damage| damage.position.0).collect()
}

/// The small log with one change to its entries before they are written: frames, CRCs and footers fit.
fn tampered(change: impl FnOnce(&mut Vec<Planned>)) -> Vec<u64> {
    let mut planned = plan(SMALL);
    change(&mut planned);
    positions(&build(&planned, &[6, 5], 8192))
}

#[test]
fn an_entry_changed_with_all_its_crcs_is_found_by_its_follower() {
    for changed in 0..15 {
        let found = tampered(|planned| planned[changed].event[0] ^= 1);
        assert!(found.contains(&(changed as u64)), "{changed}: {found:?}");
        assert!(found.iter().all(|p| *p == changed as u64), "{changed}: {found:?}");
    }
}

#[test]
fn the_last_entry_of_a_sealed_segment_is_bound_by_the_footer() {
    let mut planned = plan(&[&[100], &[60]]);
    let footer_says = sealed_segment(&planned, 4096).0;
    planned[1].event[5] ^= 1;
    let mut bytes = sealed_segment(&planned, 4096).0;
    let start = bytes.len() - (footer_says.len() - 1024);
    bytes[start..].copy_from_slice(&footer_says[start..]);
    let files = Files::default();
    files.put(FIRST, bytes);
    let report = judged(&files);
    let found: Vec<_> = report.damage.iter().map(|d| (d.position.0, d.reason.as_str())).collect();
    let wrong = |field| format!("the footer's {field} is not what the entries say");
    assert_eq!(found, [(1, &*wrong("link of the last entry")), (1, &*wrong("tree frontier"))]);
}

#[test]
fn an_entry_of_another_ledger_is_damage() {
    assert!(tampered(|planned| planned[8].header.uid = LedgerUid([9; 16])).contains(&8));
}

#[test]
fn an_epoch_that_falls_is_damage() {
    let found = tampered(|planned| {
        planned[2].header.epoch = 1;
        rechain(planned, 2);
    });
    assert_eq!(found, [3]);
}

#[test]
fn a_time_that_goes_back_is_damage() {
    let found = tampered(|planned| {
        planned[9].header.recorded_at = Time(0);
        rechain(planned, 9);
    });
    assert_eq!(found, [9]);
}

#[test]
fn an_entry_that_names_another_position_is_damage() {
    for named in [0, 4, 6, 9, u64::MAX] {
        let found = tampered(|planned| {
            planned[5].header.position = Position(named);
            rechain(planned, 5);
        });
        assert_eq!(found, [5], "{named}");
        let found = tampered(|planned| {
            planned[3].header.position = Position(named);
            planned[3].framed = Position(named);
            rechain(planned, 3);
        });
        assert!(named == 3 || found == [3], "{named}: {found:?}");
    }
}

#[test]
fn a_lag_larger_than_the_position_is_damage() {
    assert_eq!(tampered(|planned| planned[7].lag = 8), [7]);
}

#[test]
fn an_index_outside_its_batch_is_damage() {
    assert_eq!(tampered(|planned| planned[5].batch = (1, 1)).first(), Some(&5));
    assert_eq!(tampered(|planned| planned[5].batch = (0, 0)).first(), Some(&5));
    assert_eq!(tampered(|planned| planned[3].batch = (2, 3)).first(), Some(&3));
}

#[test]
fn a_batch_left_incomplete_amid_the_log_is_damage() {
    assert_eq!(tampered(|planned| planned[4].batch = (2, 4)), [4, 5]);
    assert_eq!(tampered(|planned| planned[5].batch = (0, 2)).first(), Some(&5));
    assert_eq!(tampered(|planned| planned[1].batch = (0, 2)), [2]);
}

#[test]
fn a_batch_left_incomplete_at_the_end_is_torn() {
    let mut planned = plan(SMALL);
    planned[15].batch = (0, 2);
    let report = judged(&build(&planned, &[6, 5], 4096).files);
    assert_eq!((report.damage, report.entries.0, report.torn_from.map(|p| p.0)), (vec![], 15, Some(15)));
}

#[test]
fn a_genesis_that_follows_something_is_damage() {
    let found = tampered(|planned| {
        planned[0].header.previous = Link([1; 32]);
        rechain(planned, 1);
    });
    assert_eq!(found, [0]);
}

/// Puts the frames of the open segment in another order.
fn reordered(order: &[usize]) -> Vec<(u64, u64)> {
    let planned = plan(&[&[100], &[60], &[33], &[400], &[80]]);
    let chosen: Vec<Planned> = order.iter().map(|i| planned[*i].clone()).collect();
    let files = Files::default();
    files.put(FIRST, open_segment(&chosen, 4096).0);
    judged(&files).damage.iter().map(|d| (d.position.0, d.offset)).collect()
}

#[test]
fn swapped_dropped_and_doubled_entries_are_found_where_they_are() {
    let at = |found: Vec<(u64, u64)>| found.iter().map(|f| f.0).collect::<Vec<_>>();
    assert_eq!(at(reordered(&[0, 1, 2, 3, 4])), [0_u64; 0]);
    assert_eq!(at(reordered(&[0, 2, 1, 3, 4])), [1, 1]);
    assert_eq!(at(reordered(&[0, 1, 3, 4])), [2]);
    assert_eq!(at(reordered(&[0, 1, 1, 2, 3, 4])), [1]);
    assert_eq!(at(reordered(&[0, 1, 2, 3, 4, 4])), [4]);
    assert_eq!(at(reordered(&[0, 1, 2, 2, 4])), [3]);
    assert!(at(reordered(&[0, 4, 3, 2, 1])).contains(&1));
}

#[test]
fn a_dropped_entry_in_a_sealed_segment_is_found() {
    let built = small();
    let (_, from, to) = built.frames[8].clone();
    built.files.change("log/00000000000000000006.seg", |bytes| {
        let footer = built.frames[10].2.next_multiple_of(512);
        bytes.splice(footer as usize..footer as usize, vec![0; (to - from) as usize]);
        bytes.drain(from as usize..to as usize);
    });
    assert_eq!(positions(&built)[0], 8);
}

#[test]
fn many_damages_at_once_are_all_found() {
    let built = small();
    let hit = [1, 2, 4, 7, 8, 9, 12, 13];
    for (i, position) in hit.iter().enumerate() {
        let (file, from, to) = built.frames[*position].clone();
        // Some in the header of the frame, some in the entry.
        let at = if i % 2 == 0 { from + 9 } else { (from + 20).midpoint(to) };
        built.files.change(&file, |bytes| bytes[at as usize] ^= 0x40);
    }
    built.files.change(FIRST, |bytes| bytes[30] ^= 1);
    built.files.change(FIRST, |bytes| {
        let footer = bytes.len() - 30;
        bytes[footer] ^= 1;
    });
    built.files.change("log/00000000000000000011.seg", |bytes| bytes[4000] = 4);
    let found = positions(&built);
    for position in hit {
        assert!(found.contains(&(position as u64)), "{position} not in {found:?}");
    }
    assert_eq!(found, [0, 1, 2, 4, 0, 7, 8, 9, 12, 13, 16]);
}

#[test]
fn neighbours_whose_headers_are_all_garbled_are_found_one_by_one() {
    let built = small();
    for position in [7, 8, 9, 10] {
        let (file, from, _) = built.frames[position].clone();
        built.files.change(&file, |bytes| bytes[from as usize + 17] ^= 0x40);
    }
    assert_eq!(positions(&built), [7, 8, 9, 10]);
}

#[test]
fn garbled_frames_are_told_apart_however_much_padding_follows_them() {
    for size in 0..600 {
        let built = build(&plan(&[&[100], &[size], &[30], &[50]]), &[3], 4096);
        for position in [1, 2] {
            let (file, from, _) = built.frames[position].clone();
            built.files.change(&file, |bytes| bytes[from as usize + 17] ^= 0x40);
        }
        assert_eq!(positions(&built), [1, 2], "{size}");
    }
}

#[test]
fn a_frame_without_its_end_mark_is_damage_where_the_mark_is() {
    for position in [2, 7, 10, 14] {
        let built = small();
        let (file, _, end) = built.frames[position].clone();
        built.files.change(&file, |bytes| bytes[end as usize - 1] = 0);
        let damage = judged(&built.files).damage;
        let found: Vec<_> = damage.iter().map(|d| (d.position.0, d.offset)).collect();
        assert_eq!(found, [(position as u64, end - 1)], "{damage:?}");
    }
}

#[test]
fn a_flipped_length_does_not_hide_the_frames_behind_it() {
    let built = small();
    for high in [0, 1] {
        let (file, from, _) = built.frames[7].clone();
        let sound = built.files.get(&file);
        built.files.change(&file, |bytes| bytes[from as usize + 2 + high] ^= 0x80);
        assert_eq!(positions(&built), [7]);
        let (behind, other, _) = built.frames[9].clone();
        built.files.change(&behind, |bytes| bytes[other as usize + 70] ^= 0x80);
        assert_eq!(positions(&built), [7, 9]);
        built.files.put(&file, sound);
    }
}

#[test]
fn bytes_pushed_between_two_frames_are_found() {
    let built = small();
    let (file, from, _) = built.frames[13].clone();
    built.files.change(&file, |bytes| {
        bytes.splice(from as usize..from as usize, *b"pushed in between");
        bytes.truncate(4096);
    });
    let found: Vec<_> = judged(&built.files).damage.iter().map(|d| (d.position.0, d.offset)).collect();
    assert_eq!(found, [(13, from)]);
}

#[test]
fn a_missing_segment_is_named() {
    let built = small();
    built.files.take("log/00000000000000000006.seg");
    let report = judged(&built.files);
    assert_eq!(report.damage.len(), 1);
    assert_eq!(
        report.damage[0].to_string(),
        "damage at position 6, log/00000000000000000006.seg offset 0: no segment holds positions 6 to 10"
    );
    let built = small();
    built.files.take(FIRST);
    assert_eq!(positions(&built), [0]);
}

#[test]
fn a_renamed_segment_is_damage() {
    let built = small();
    let bytes = built.files.take("log/00000000000000000011.seg");
    built.files.put("log/00000000000000000012.seg", bytes);
    assert_eq!(positions(&built), [11]);
}

#[test]
fn a_segment_that_stands_there_twice_is_damage() {
    let built = small();
    built.files.put("log/00000000000000000003.seg", built.files.get(FIRST));
    let report = judged(&built.files);
    assert!(report.damage.iter().all(|d| d.file == "log/00000000000000000003.seg"), "{:?}", report.damage);
    assert!(!report.ok());
    assert_eq!(report.entries.0, 16);
}

#[test]
fn a_segment_of_another_ledger_is_damage_said_once() {
    let built = small();
    let mut planned = plan(SMALL);
    for one in &mut planned {
        one.header.uid = LedgerUid([7; 16]);
    }
    rechain(&mut planned, 0);
    let (mut bytes, _) = open_segment(&planned[11..], 4096);
    let before = planned[11].header.previous;
    bytes[..512].copy_from_slice(&segment_header(LedgerUid([7; 16]), 11, before, 4096));
    built.files.put("log/00000000000000000011.seg", bytes);
    let report = judged(&built.files);
    assert_eq!(report.damage[0].offset, 12, "{:?}", report.damage);
    assert!(report.damage.len() <= 2, "{:?}", report.damage);
}

#[test]
fn a_header_rewritten_with_its_crc_is_damage() {
    let head = link(&plan(SMALL)[10].entry());
    let cases = [
        (segment_header(LedgerUid([7; 16]), 11, head, 4096), 12),
        (segment_header(super::writer::UID, 12, head, 4096), 28),
        (segment_header(super::writer::UID, 11, Link([7; 32]), 4096), 36),
        (segment_header(super::writer::UID, 11, head, 4000), 68),
    ];
    for (header, offset) in cases {
        let built = small();
        built.files.change("log/00000000000000000011.seg", |bytes| bytes[..512].copy_from_slice(&header));
        let report = judged(&built.files);
        assert!(report.damage.iter().any(|d| d.offset == offset), "{offset}: {:?}", report.damage);
    }
}

#[test]
fn a_newer_format_is_not_judged_as_if_it_were_known() {
    let report = judged(&of_version(3));
    assert_eq!(report.damage.len(), 1);
    assert_eq!(report.damage[0].reason, "format version 3 is not known to this program");
}

#[test]
fn frames_under_the_header_of_a_packed_segment_are_damage() {
    let report = judged(&of_version(2));
    assert_eq!((report.damage[0].position.0, report.damage[0].offset), (11, 512), "{:?}", report.damage);
}

/// A log whose last segment says that it is of this version.
fn of_version(version: u8) -> Files {
    let built = small();
    built.files.change("log/00000000000000000011.seg", |bytes| {
        bytes[8] = version;
        let crc = crc32fast::hash(&bytes[..508]);
        bytes[508..512].copy_from_slice(&crc.to_le_bytes());
    });
    built.files
}

#[test]
fn bytes_behind_a_footer_are_damage() {
    for bytes in [vec![0; 512], b"more".to_vec()] {
        let built = small();
        built.files.change(FIRST, |file| file.extend(&bytes));
        assert_eq!(positions(&built), [6]);
    }
}

#[test]
fn a_footer_whose_contents_were_changed_with_its_crc_is_damage() {
    let sound = small().files.get(FIRST);
    let start = (small().frames[5].2 as usize).next_multiple_of(512);
    let end = sound.len() - 16;
    for at in start + 12..end {
        let built = small();
        built.files.change(FIRST, |bytes| {
            bytes[at] ^= 0x10;
            let crc = crc32fast::hash(&bytes[start..end]);
            bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
        });
        let damage = judged(&built.files).damage;
        assert!(damage.iter().any(|d| (at as u64 - 31..=at as u64).contains(&d.offset)), "{at}: {damage:?}");
    }
}

#[test]
fn a_log_from_before_footers_had_the_tree_is_sound_and_one_that_lost_it_is_not() {
    let planned = plan(SMALL);
    let (first, rest) = planned.split_at(6);
    let files = Files::default();
    files.put(FIRST, sealed_with(&[], first, 4096).0);
    let (open, _) = open_segment(rest, 8192);
    files.put("log/00000000000000000006.seg", open);
    let report = judged(&files);
    assert_eq!((report.damage, report.entries.0), (vec![], planned.len() as u64));
    // The tree of another log, and one of too few leaves.
    for other in [[7; 64].to_vec(), [7; 32].to_vec(), vec![0; 4096]] {
        files.put(FIRST, sealed_with(&other, first, 4096).0);
        assert!(!judged(&files).ok(), "{} bytes", other.len());
    }
}

#[test]
fn a_segment_sealed_without_an_entry_is_damage() {
    let planned = plan(&[&[100], &[60]]);
    let (before, _) = sealed_segment(&planned, 4096);
    let head = link(&planned[1].entry());
    let header = &planned[1].header;
    let facts = Facts {
        first: Position(2),
        link: head,
        recorded_at: header.recorded_at,
        epoch: header.epoch,
        end: 512,
        tree: Vec::new(),
    };
    let mut empty = segment_header(super::writer::UID, 2, head, 4096);
    empty.extend(Expected::of(Contents::default(), &facts).bytes);
    let files = Files::default();
    files.put(FIRST, before);
    files.put("log/00000000000000000002.seg", empty);
    let found: Vec<_> = judged(&files).damage.iter().map(|d| (d.position.0, d.offset)).collect();
    assert_eq!(found.first(), Some(&(2, 512)), "{found:?}");
}

#[test]
fn a_log_without_a_footer_amid_others_is_damage() {
    let built = small();
    let (_, _, end) = built.frames[5].clone();
    built.files.change(FIRST, |bytes| bytes.truncate(end as usize));
    assert_eq!(positions(&built), [6]);
}

#[test]
fn wiped_entries_before_a_footer_are_damage() {
    let built = small();
    let (_, from, _) = built.frames[3].clone();
    built.files.change(FIRST, |bytes| bytes[from as usize..].iter_mut().take(1100).for_each(|b| *b = 0));
    let report = judged(&built.files);
    assert_eq!(report.damage[0].position.0, 3);
    assert_eq!(report.damage[0].offset, from);
}

#[test]
fn an_open_file_longer_than_its_capacity_is_damage() {
    let built = small();
    built.files.change("log/00000000000000000011.seg", |bytes| bytes.resize(5120, 0));
    assert_eq!(positions(&built), [16]);
}

#[test]
fn names_that_no_ledger_has_are_reported() {
    let built = small();
    for known in ["log/next.tmp", "log/torn/12-1.bin", "log/torn/12-1.json", "ids/a", "snapshots/b", "tail"] {
        built.files.put(known, vec![1]);
    }
    assert!(judged(&built.files).ok());
    let strangers = ["notes.txt", "log/5.seg", "log/99999999999999999999.seg", "log/torn/x.bin", "log/old"];
    for stranger in strangers {
        built.files.put(stranger, vec![]);
        let report = judged(&built.files);
        assert_eq!(report.damage.iter().map(|d| d.file.as_str()).collect::<Vec<_>>(), [stranger]);
        built.files.take(stranger);
    }
    built.files.put("../Backup/x", vec![]);
    built.files.put("../../lost+found", vec![]);
    let files = Files::default();
    for (path, bytes) in built.files.0.lock().unwrap().iter() {
        let name = path.to_str().unwrap().replace("ledgers/default/../../", "").replace("default/../", "");
        files.0.lock().unwrap().insert(name.into(), bytes.clone());
    }
    let report = verify_each_way(&files, Path::new("d"));
    assert_eq!(report.strangers, ["lost+found"]);
    assert_eq!(
        report.ledgers.iter().map(|l| (l.ledger.as_str(), l.ok())).collect::<Vec<_>>(),
        [("Backup", false), ("default", true)]
    );
}

#[test]
fn a_segment_that_cannot_be_read_does_not_hide_the_others() {
    let built = small();
    built.files.take("log/00000000000000000006.seg");
    // A directory in its place.
    built.files.put("log/00000000000000000006.seg/x", vec![]);
    let (file, _, end) = built.frames[13].clone();
    built.files.change(&file, |bytes| bytes[end as usize - 1] ^= 1);
    assert_eq!(positions(&built), [6, 13]);
}

#[test]
fn a_wiped_entry_just_before_the_footer_is_found_where_it_was() {
    let built = build(&plan(&[&[100], &[20], &[50]]), &[2], 4096);
    let (_, from, to) = built.frames[1].clone();
    assert_eq!((from - 1) / 512, (to - 1) / 512, "the footer stands where it would without the entry");
    built.files.change(FIRST, |bytes| bytes[from as usize..to as usize].fill(0));
    let report = judged(&built.files);
    let found: Vec<_> = report.damage.iter().map(|d| (d.position.0, d.offset)).collect();
    assert_eq!(found[0], (1, from), "{:?}", report.damage);
}

#[test]
fn an_id_missing_from_the_footer_is_found_though_another_entry_cannot_be_read() {
    let built = small();
    let start = (built.frames[5].2 as usize).next_multiple_of(512);
    built.files.change(FIRST, |bytes| {
        let end = bytes.len() - 16;
        // The last id's key, sorted as before.
        bytes[end - 12] ^= 1;
        let crc = crc32fast::hash(&bytes[start..end]);
        bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
    });
    let alone = judged(&built.files).damage;
    assert_eq!(alone.len(), 1, "{alone:?}");
    let garbled = (alone[0].position.0 as usize + 1) % 5;
    built.files.change(FIRST, |bytes| bytes[built.frames[garbled].1 as usize + 60] ^= 1);
    let mut found = positions(&built);
    found.sort_unstable();
    let mut expected = [garbled as u64, alone[0].position.0];
    expected.sort_unstable();
    assert_eq!(found, expected);
}
