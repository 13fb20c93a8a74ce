//! What a crash leaves is torn, not damaged.

use super::writer::{Built, build, frames, plan, rechain, sealed_segment, tail_file};
use super::{judged, writer::Files};
use crate::types::Link;

const FIRST: &str = "log/00000000000000000000.seg";

/// Two durable entries and a batch of three that was in flight.
fn in_flight() -> Built {
    build(&plan(&[&[100], &[60], &[700, 90, 1200]]), &[], 4096)
}

#[test]
fn a_file_that_ends_at_any_byte_of_the_last_batch_is_torn() {
    let built = in_flight();
    let sound = built.files.get(FIRST);
    let (begin, end) = (built.frames[2].1, built.frames[4].2);
    for length in begin..end {
        built.files.put(FIRST, sound[..length as usize].to_vec());
        let report = judged(&built.files);
        let cut =
            sound[begin as usize..length as usize].iter().rposition(|b| *b != 0).map_or(0, |i| i as u64 + 1);
        assert_eq!((report.damage, report.torn_bytes, report.entries.0), (vec![], cut, 2), "length {length}");
    }
    built.files.put(FIRST, sound[..end as usize].to_vec());
    assert_eq!((judged(&built.files).torn_bytes, judged(&built.files).entries.0), (0, 5));
}

#[test]
fn a_file_that_ends_at_any_byte_of_the_last_entry_is_torn_whatever_the_tail_said() {
    let built = build(&plan(&[&[100], &[60], &[700]]), &[], 4096);
    built.files.put("tail", tail_file(3, Link::default()));
    let sound = built.files.get(FIRST);
    for length in built.frames[2].1..built.frames[2].2 {
        built.files.put(FIRST, sound[..length as usize].to_vec());
        let report = judged(&built.files);
        assert_eq!((report.damage, report.entries.0), (vec![], 2), "length {length}");
        let begin = built.frames[2].1 as usize;
        let cut = sound[begin..length as usize].iter().rposition(|b| *b != 0).map_or(0, |i| i as u64 + 1);
        assert_eq!(report.torn_bytes, cut, "length {length}");
        assert_eq!(report.published.map(|p| p.0), Some(3));
    }
}

#[test]
fn any_subset_of_the_sectors_of_a_batch_in_flight_is_torn() {
    let built = in_flight();
    let sound = built.files.get(FIRST);
    let begin = built.frames[2].1 as usize;
    let last = built.frames[4].2 as usize - 1;
    let sectors: Vec<usize> = (begin / 512..=last / 512).collect();
    for kept in 0..1_u32 << sectors.len() {
        let mut bytes = sound.clone();
        for (i, sector) in sectors.iter().enumerate() {
            if kept & (1 << i) == 0 {
                bytes[begin.max(sector * 512)..(sector + 1) * 512].fill(0);
            }
        }
        let whole = bytes == sound;
        built.files.put(FIRST, bytes);
        let report = judged(&built.files);
        assert_eq!(report.damage, [], "kept {kept:b}");
        assert_eq!(report.entries.0, if whole { 5 } else { 2 }, "kept {kept:b}");
        assert_eq!(report.torn_bytes == 0, whole || kept == 0, "kept {kept:b}");
    }
}

#[test]
fn a_lost_sector_that_a_later_frame_knows_was_durable_is_damage() {
    let built = build(&plan(&[&[100], &[1500], &[60]]), &[], 4096);
    built.files.change(FIRST, |bytes| bytes[1024..1536].fill(0));
    let report = judged(&built.files);
    assert_eq!((report.damage.len(), report.damage[0].position.0, report.torn_bytes), (1, 1, 0));
    assert_eq!(report.damage[0].offset, built.frames[1].1);
    assert_eq!(report.entries.0, 3);
}

#[test]
fn a_lost_sector_before_a_frame_of_the_same_group_is_torn() {
    let mut planned = plan(&[&[100], &[1500], &[60]]);
    planned[2].lag = 1;
    let built = build(&planned, &[], 4096);
    built.files.change(FIRST, |bytes| bytes[1024..1536].fill(0));
    let report = judged(&built.files);
    assert_eq!((report.damage, report.entries.0, report.torn_from.map(|p| p.0)), (vec![], 1, Some(1)));
    assert_eq!(report.torn_bytes, built.frames[2].2 - built.frames[1].1);
}

#[test]
fn a_lost_sector_in_a_sealed_segment_is_damage() {
    let built = build(&plan(&[&[100], &[1500], &[60]]), &[2], 4096);
    built.files.change(FIRST, |bytes| bytes[1024..1536].fill(0));
    assert_eq!(judged(&built.files).damage.len(), 1);
}

#[test]
fn zeros_that_end_within_a_sector_are_damage() {
    let built = build(&plan(&[&[100], &[1500]]), &[], 4096);
    built.files.change(FIRST, |bytes| bytes[1024..1530].fill(0));
    let report = judged(&built.files);
    assert_eq!((report.damage.len(), report.damage[0].position.0, report.torn_bytes), (1, 1, 0));
}

#[test]
fn bytes_in_the_unused_part_are_a_torn_tail_unless_the_first_sector_of_it_was_written_too() {
    let built = in_flight();
    let end = built.frames[4].2;
    built.files.change(FIRST, |bytes| bytes[3900..3907].copy_from_slice(b"garbage"));
    let report = judged(&built.files);
    assert_eq!((report.damage, report.entries.0, report.torn_bytes), (vec![], 5, 3907 - end));
    assert!(end % 512 < 512 - 20, "the header that would follow lies in one sector");
    let last_of_sector = end.next_multiple_of(512) as usize - 1;
    built.files.change(FIRST, |bytes| bytes[last_of_sector] = 7);
    let report = judged(&built.files);
    let found: Vec<_> = report.damage.iter().map(|d| (d.position.0, d.offset)).collect();
    assert_eq!((found, report.torn_bytes), (vec![(5, last_of_sector as u64)], 0));
}

#[test]
fn a_tear_reaches_no_further_than_a_group() {
    for (beyond, torn) in [(0, true), (1, false)] {
        let built = build(&plan(&[&[100]]), &[], 16 * 1024 * 1024);
        let at = built.frames[0].2 as usize + 8 * 1024 * 1024 - 1 + beyond;
        built.files.change(FIRST, |bytes| bytes[at] = 0xB7);
        let report = judged(&built.files);
        assert_eq!((report.ok(), report.torn_bytes > 0), (torn, torn), "{beyond} beyond");
    }
}

#[test]
fn an_end_mark_that_was_not_written_is_torn_and_one_that_was_changed_is_damage() {
    // The entry ends where a sector does; its mark begins the next one.
    let size = 1024 - 512 - 20 - 86 - "token-service".len();
    let built = build(&plan(&[&[size]]), &[], 4096);
    assert_eq!(built.frames[0].2, 1025);
    built.files.change(FIRST, |bytes| bytes[1024] = 0);
    let torn = judged(&built.files);
    assert_eq!((torn.damage, torn.torn_bytes, torn.entries.0), (vec![], 512, 0));
    built.files.change(FIRST, |bytes| bytes[1400..1408].fill(9));
    let damaged = judged(&built.files);
    assert_eq!((damaged.damage[0].position.0, damaged.damage[0].offset, damaged.torn_bytes), (0, 1024, 0));
}

#[test]
fn only_zeros_behind_an_end_mark_that_fails_alone_make_it_torn() {
    // A sector of zeros by nature amid the entry says nothing about the mark.
    let mut planned = plan(&[&[1500]]);
    planned[0].event[300..1300].fill(0);
    let built = build(&planned, &[], 4096);
    let mark = built.frames[0].2 - 1;
    built.files.change(FIRST, |bytes| bytes[mark as usize] = 0x33);
    let report = judged(&built.files);
    let found: Vec<_> = report.damage.iter().map(|d| (d.position.0, d.offset)).collect();
    assert_eq!((found, report.torn_bytes), (vec![(0, mark)], 0));
}

#[test]
fn a_tear_longer_than_what_can_be_in_flight_is_damage() {
    let size = 65_000;
    let sizes = vec![size; 160];
    let mut planned = plan(&[&[10], &sizes]);
    rechain(&mut planned, 0);
    let built = build(&planned, &[], 16 * 1024 * 1024);
    built.files.change(FIRST, |bytes| bytes[1024..1536].fill(0));
    assert!(!judged(&built.files).ok());
}

#[test]
fn any_subset_of_a_footers_sectors_is_torn() {
    let sizes = vec![30; 100];
    let batches: Vec<&[usize]> = sizes.chunks(1).collect();
    let planned = plan(&batches);
    let (sealed, offsets) = sealed_segment(&planned, 32768);
    let (frames, _) = frames(&planned, 32768);
    let start = frames.len().next_multiple_of(512);
    let sectors = (sealed.len() - start).div_ceil(512);
    for kept in 0..1_u32 << sectors {
        let mut bytes = sealed.clone();
        bytes.resize(32768, 0);
        for i in (0..sectors).filter(|i| kept & (1 << i) == 0) {
            bytes[start + i * 512..start + (i + 1) * 512].fill(0);
        }
        let files = Files::default();
        files.put(FIRST, bytes);
        let report = judged(&files);
        assert_eq!((report.damage, report.entries.0), (vec![], 100), "kept {kept:b}");
        let whole = kept + 1 == 1 << sectors;
        assert_eq!(report.torn_bytes == 0, whole || kept == 0, "kept {kept:b}");
    }
    assert_eq!(offsets.len(), 101);
}

#[test]
fn a_segment_that_was_prepared_and_never_begun_is_sound() {
    let built = build(&plan(&[&[100], &[60]]), &[2], 4096);
    built.files.put("log/00000000000000000002.seg", vec![0; 4096]);
    let report = judged(&built.files);
    assert_eq!((report.damage, report.entries.0), (vec![], 2));
}

#[test]
fn a_lost_sector_of_a_footer_amid_the_log_is_damage() {
    let sizes = vec![30; 101];
    let batches: Vec<&[usize]> = sizes.chunks(1).collect();
    let built = build(&plan(&batches), &[100], 32768);
    let start = (built.frames[99].2 as usize).next_multiple_of(512);
    built.files.change(FIRST, |bytes| bytes[start + 512..start + 1024].fill(0));
    let report = judged(&built.files);
    assert_eq!((report.ok(), report.torn_bytes, report.entries.0), (false, 0, 101));
}

#[test]
fn a_header_that_lost_its_second_sector_is_torn_and_one_that_lost_part_of_it_is_damage() {
    // The second frame begins six bytes before a sector does.
    let size = 1024 - 6 - 512 - 21 - 86 - "token-service".len();
    let built = build(&plan(&[&[size], &[60]]), &[], 4096);
    assert_eq!(built.frames[1].1, 1018);
    built.files.change(FIRST, |bytes| bytes[1024..1038].fill(0));
    let damaged = judged(&built.files);
    assert_eq!((damaged.damage.len(), damaged.damage[0].position.0, damaged.torn_bytes), (1, 1, 0));
    built.files.change(FIRST, |bytes| bytes[1024..].fill(0));
    let torn = judged(&built.files);
    assert_eq!((torn.damage, torn.torn_bytes, torn.entries.0), (vec![], 3, 1));
}

#[test]
fn a_few_bytes_that_a_footer_would_have_too_are_no_footer() {
    // The footer of so many entries ends with a sector of four bytes.
    let sizes = vec![30; 245];
    let batches: Vec<&[usize]> = sizes.chunks(1).collect();
    let built = build(&plan(&batches), &[], 65_536);
    let at = built.frames[244].2.next_multiple_of(512) as usize + 6 * 512;
    built.files.change(FIRST, |bytes| bytes[at..at + 4].copy_from_slice(b"OOT!"));
    let report = judged(&built.files);
    assert_eq!((report.damage, report.torn_bytes), (vec![], at as u64 + 4 - built.frames[244].2));
}
