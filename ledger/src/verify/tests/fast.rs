//! The fast way: it must accept every sound log, or nothing would be fast; and it must accept nothing else, which each
//! test of damage shows, as it judges in every way.

use std::path::Path;

use super::writer::{
    Built, Files, Planned, UID, build, frames, open_segment, plan, rechain, sealed_behind, segment_header,
};
use super::{Alone, SMALL, fast, judged, small};
use crate::types::{LedgerUid, Link, Position, Time};
use crate::verify::chain::Chain;
use crate::verify::crew::sound_ones;
use crate::verify::effort::Effort;
use crate::verify::names::segments;
use crate::verify::sought::Sought;
use crate::verify::{Evidence, Meter, Reached, judge_all};

const DIR: &str = "d/ledgers/default";
const WAYS: [Effort; 5] = [fast(1, 512 * 1024), fast(1, 1), fast(1, 300), fast(2, 300), fast(3, 2000)];

/// How many segments are accepted from the first on, and the chain behind them.
fn accepted(built: &Built, effort: Effort) -> (usize, Chain) {
    let segments = segments(&built.files, Path::new(DIR)).unwrap();
    let meter = Meter::new(&Alone);
    let reached = Reached::new(&meter);
    let (sought, start) = (Sought::default(), Chain::start());
    let (accepted, chain, _) =
        sound_ones(&built.files, Path::new(DIR), &segments, start, &effort, &reached, &sought);
    (accepted, chain)
}

fn accepted_in_every_way(built: &Built) -> usize {
    let counts = WAYS.map(|effort| accepted(built, effort).0);
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    counts[0]
}

#[test]
fn a_sound_log_is_accepted_whole_however_it_is_cut() {
    let built = small();
    let (segments, report) = (built.segments.len(), judged(&built.files));
    for effort in WAYS {
        let (count, chain) = accepted(&built, effort);
        assert_eq!((count, chain.next, chain.head), (segments, report.entries, report.head), "{effort:?}");
        assert_eq!((chain.link, chain.uid), (Some(report.head), report.uid), "{effort:?}");
        let place = chain.place.unwrap();
        let last = built.frames.last().unwrap();
        assert_eq!((&*place.file, place.offset), (last.0.as_str(), last.1), "{effort:?}");
    }
}

#[test]
fn a_sealed_log_without_an_open_segment_is_accepted() {
    let built = build(&plan(SMALL), &[6, 10], 4096);
    assert_eq!(accepted_in_every_way(&built), 2);
}

#[test]
fn a_log_of_many_strides_is_accepted() {
    let sizes = vec![30; 300];
    let batches: Vec<&[usize]> = sizes.chunks(3).collect();
    assert_eq!(accepted_in_every_way(&build(&plan(&batches), &[150, 66], 65536)), 3);
}

#[test]
fn an_open_segment_without_an_entry_is_accepted() {
    let planned = plan(SMALL);
    let built = build(&planned, &[6, 10], 4096);
    let link = crate::entry::link(&planned[15].entry());
    let mut empty = segment_header(UID, 16, link, 4096);
    empty.resize(4096, 0);
    built.files.put("log/00000000000000000016.seg", empty);
    assert_eq!(accepted_in_every_way(&built), 3);
}

/// The log with one change to its entries, as somebody would write it who recomputes all that he can: CRCs, footers
/// and the headers of segments.
fn with(change: impl FnOnce(&mut Vec<Planned>)) -> Built {
    let mut planned = plan(SMALL);
    change(&mut planned);
    build(&planned, &[6, 5], 4096)
}

/// The change is in the first segment; what is not accepted is found by the walk.
fn refused(what: &str, built: &Built) {
    assert_eq!(accepted_in_every_way(built), 0, "{what}");
    assert!(!judged(&built.files).ok(), "{what}");
}

#[test]
fn what_no_crc_shows_is_not_accepted() {
    refused("an event", &with(|log| log[2].event[0] ^= 4));
    refused("a link", &with(|log| log[2].header.previous.0[31] ^= 1));
    refused("the genesis' link", &with(|log| log[0].header.previous.0[0] ^= 1));
    refused("two entries in each other's place", &with(|log| log.swap(1, 2)));
    let other = LedgerUid([9; 16]);
    refused("another ledger", &with(|log| log[3].header.uid = other));
    refused("a position", &with(|log| log[3].header.position = Position(4)));
    refused("the positions of all", &with(|log| log.iter_mut().for_each(|one| one.header.position.0 += 1)));
    let earlier = |log: &mut Vec<Planned>| {
        log[3].header.recorded_at = Time(log[2].header.recorded_at.0 - 1);
        rechain(log, 0);
    };
    refused("a time that goes back", &with(earlier));
    let lower = |log: &mut Vec<Planned>| {
        log[2].header.epoch = 1;
        rechain(log, 0);
    };
    refused("an epoch that falls", &with(lower));
    refused("a lag", &with(|log| log[3].lag = 4));
    refused("an index left out in a batch", &with(|log| log[3].batch.0 = 2));
    refused("an index twice in a batch", &with(|log| log[3].batch.0 = 0));
    refused("the first index of a batch", &with(|log| log[1].batch = (1, 2)));
    refused("the size of a batch", &with(|log| log[3].batch.1 = 4));
    refused("an index as large as its batch", &with(|log| log[0].batch = (1, 1)));
    refused("a batch that is not begun", &with(|log| log[1].batch = (1, 1)));
    refused("a batch that goes on behind the segment", &with(|log| log[5].batch = (0, 2)));
    refused("a frame for another position", &with(|log| log[3].framed = Position(4)));
}

/// Changes the last entry of the open segment, and makes the CRCs of its frame fit, for the ledger whose segment it is.
fn rewritten(change: impl FnOnce(&mut [u8])) -> Built {
    let built = small();
    let (file, start, end) = built.frames.last().unwrap();
    built.files.change(file, |bytes| {
        let frame = &mut bytes[*start as usize..*end as usize];
        let entry = 20..frame.len() - 1;
        change(&mut frame[entry.clone()]);
        let crc = crc32fast::hash(&frame[entry]);
        frame[12..16].copy_from_slice(&crc.to_le_bytes());
        let covered = [&UID.0[..], &15_u64.to_le_bytes(), &frame[..16]].concat();
        frame[16..20].copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
    });
    built
}

#[test]
fn an_entry_that_only_its_own_header_speaks_against_is_not_accepted() {
    assert_eq!(accepted_in_every_way(&rewritten(|_| {})), 3);
    for (what, at) in [("its layout", 0), ("its ledger", 1), ("its position", 17), ("its link", 29)] {
        let built = rewritten(|entry| entry[at] ^= 2);
        assert_eq!(accepted_in_every_way(&built), 2, "{what}");
        assert!(!judged(&built.files).ok(), "{what}");
    }
    let emitter = rewritten(|entry| entry[86] = b' ');
    assert_eq!(accepted_in_every_way(&emitter), 2, "an emitter that is no name");
    let short = rewritten(|entry| entry[85] = 200);
    assert_eq!(accepted_in_every_way(&short), 2, "an emitter longer than its entry");
}

#[test]
fn the_last_entry_which_no_link_holds_yet_is_held_by_its_checksum() {
    for back in 2..8 {
        let built = small();
        let (file, _, end) = built.frames.last().unwrap();
        // Behind its last byte stands the end mark.
        built.files.change(file, |bytes| bytes[*end as usize - back] ^= 0b101);
        assert_eq!(accepted_in_every_way(&built), 2, "{back} before its end");
        assert!(!judged(&built.files).ok(), "{back} before its end");
    }
}

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Built {
    let built = small();
    built.files.change(&built.segments[0], change);
    built
}

/// Changes a footer, and makes its CRC fit.
fn resealed(change: impl FnOnce(&mut [u8])) -> Built {
    changed(|bytes| {
        let start = footer_of(bytes);
        let crc = bytes.len() - 16;
        change(&mut bytes[start..]);
        let sum = crc32fast::hash(&bytes[start..crc]);
        bytes[crc..crc + 4].copy_from_slice(&sum.to_le_bytes());
    })
}

fn footer_of(bytes: &[u8]) -> usize {
    bytes.windows(8).rposition(|window| window == b"TKLFOOT1").unwrap()
}

#[test]
fn a_footer_that_is_not_that_of_the_entries_is_not_accepted() {
    // In order: magic, version, count, first position, link, time, epoch, end, frontier, stride, an offset.
    for field in [0, 8, 12, 20, 28, 60, 68, 72, 80, 84, 88] {
        refused(&format!("field at {field}"), &resealed(|footer| footer[field] ^= 1));
    }
    let ids = 88 + 8;
    refused(
        "ids out of order",
        &resealed(|footer| {
            let (a, b) = footer[ids..ids + 24].split_at_mut(12);
            a.swap_with_slice(b);
        }),
    );
    refused("an id twice", &resealed(|footer| footer.copy_within(ids..ids + 12, ids + 12)));
    refused("a key", &resealed(|footer| footer[ids] ^= 1));
    refused("a number", &resealed(|footer| footer[ids + 8] ^= 1));
    refused("a number of no entry", &resealed(|footer| footer[ids + 11] = 0x7F));
    refused(
        "the CRC",
        &changed(|bytes| {
            let crc = bytes.len() - 16;
            bytes[crc] ^= 1;
        }),
    );
    refused(
        "the length",
        &changed(|bytes| {
            let length = bytes.len() - 12;
            bytes[length] ^= 1;
        }),
    );
    refused("the magic behind", &changed(|bytes| *bytes.last_mut().unwrap() ^= 1));
    refused("a zero behind", &changed(|bytes| bytes.push(0)));
    refused(
        "the padding",
        &changed(|bytes| {
            let last = footer_of(bytes) - 1;
            bytes[last] = 1;
        }),
    );
    refused(
        "no footer",
        &changed(|bytes| {
            let start = footer_of(bytes);
            bytes.truncate(start);
        }),
    );
}

/// Changes the first segment's header, and makes its CRC fit.
fn retitled(change: impl FnOnce(&mut [u8])) -> Built {
    changed(|bytes| {
        change(&mut bytes[..508]);
        let sum = crc32fast::hash(&bytes[..508]);
        bytes[508..512].copy_from_slice(&sum.to_le_bytes());
    })
}

#[test]
fn a_header_that_does_not_fit_is_not_accepted() {
    // Version, ledger, first position, link before, capacity, a reserved byte.
    for field in [8, 12, 28, 36, 68, 76, 507] {
        refused(&format!("field at {field}"), &retitled(|header| header[field] ^= 1));
    }
    refused("the CRC", &changed(|bytes| bytes[508] ^= 1));
    refused("the magic", &retitled(|header| header[0] ^= 1));
}

#[test]
fn a_segment_that_does_not_follow_the_one_before_is_not_accepted() {
    let follows = |what: &str, change: &dyn Fn(&mut Vec<Planned>), before: Option<Link>| {
        let built = small();
        let mut planned = plan(SMALL);
        change(&mut planned);
        let (mut bytes, _) = sealed_behind(&planned[..6], &planned[6..11], 4096);
        if let Some(before) = before {
            let header = segment_header(planned[6].header.uid, 6, before, 4096);
            bytes[..512].copy_from_slice(&header);
        }
        built.files.put(&built.segments[1], bytes);
        assert_eq!(accepted_in_every_way(&built), 1, "{what}");
        assert!(!judged(&built.files).ok(), "{what}");
    };
    let link = crate::entry::link(&plan(SMALL)[5].entry());
    follows("the link of the header", &|_| {}, Some(Link([3; 32])));
    follows("the link of the entry", &|log| log[6].header.previous = Link([3; 32]), Some(link));
    let restart = |log: &mut Vec<Planned>| {
        log[6].header.recorded_at = Time(0);
        rechain(log, 7);
    };
    follows("a time that goes back", &restart, None);
    follows("a batch that was begun before", &|log| log[6].batch = (1, 2), None);
    let late = |log: &mut Vec<Planned>| {
        log[5].header.epoch = 1;
        rechain(log, 6);
    };
    let mut planned = plan(SMALL);
    late(&mut planned);
    let built = build(&planned, &[6, 5], 4096);
    assert_eq!(accepted_in_every_way(&built), 1, "an epoch that falls");
}

#[test]
fn a_segment_of_another_ledger_that_continues_the_chain_is_not_accepted() {
    let other = LedgerUid([9; 16]);
    let mut planned = plan(SMALL);
    planned[6..].iter_mut().for_each(|one| one.header.uid = other);
    rechain(&mut planned, 7);
    let built = build(&planned, &[6, 5], 4096);
    for (segment, first) in [(1, 6), (2, 11)] {
        let header = segment_header(other, first, planned[first as usize].header.previous, 4096);
        built.files.change(&built.segments[segment], |bytes| bytes[..512].copy_from_slice(&header));
    }
    assert_eq!(accepted_in_every_way(&built), 1);
    assert!(!judged(&built.files).ok());
}

#[test]
fn an_open_segment_without_an_entry_must_begin_where_the_log_ends() {
    let planned = plan(SMALL);
    let built = build(&planned, &[6, 10], 4096);
    let link = crate::entry::link(&planned[15].entry());
    let mut empty = segment_header(UID, 17, link, 4096);
    empty.resize(4096, 0);
    built.files.put("log/00000000000000000017.seg", empty);
    assert_eq!(accepted_in_every_way(&built), 2);
    assert!(!judged(&built.files).ok());
}

#[test]
fn many_ledgers_are_reported_by_name_whoever_judged_them() {
    let (built, files) = (small(), Files::default());
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    for (n, name) in names.iter().enumerate() {
        // Logs of one, two and three segments; every second one is damaged.
        for segment in &built.segments[..=n % 3] {
            let mut bytes = built.files.get(segment);
            bytes[600] ^= (n % 2) as u8;
            let path = Path::new("d/ledgers").join(name).join(segment);
            files.0.lock().unwrap().insert(path, bytes.into());
        }
    }
    for shared_bytes_min in [0, 5_000, u64::MAX] {
        let effort = Effort { shared_bytes_min, ..fast(3, 300) };
        let report = judge_all(&files, Path::new("d"), &effort, &Evidence::default(), &Alone).unwrap();
        let said: Vec<_> = report.ledgers.iter().map(|one| (one.ledger.as_str(), one.ok())).collect();
        let expected: Vec<_> = names.iter().enumerate().map(|(n, name)| (*name, n % 2 == 0)).collect();
        assert_eq!(said, expected, "{shared_bytes_min}");
    }
}

#[test]
fn an_open_segment_that_is_not_as_it_should_be_is_not_accepted() {
    let planned = plan(SMALL);
    let open = |what: &str, bytes: Vec<u8>| {
        let built = small();
        built.files.put(&built.segments[2], bytes);
        assert_eq!(accepted_in_every_way(&built), 2, "{what}");
        judged(&built.files);
    };
    let (sound, offsets) = open_segment(&planned[11..], 4096);
    let end = *offsets.last().unwrap() as usize;
    for (what, at) in [("a byte behind the entries", end), ("the last byte", 4095), ("amid the zeros", 3000)]
    {
        let mut bytes = sound.clone();
        bytes[at] = 1;
        open(what, bytes);
    }
    open("longer than its capacity", [sound.clone(), vec![0; 512]].concat());
    open("shorter than its capacity", sound[..3584].to_vec());
    open("an incomplete batch", open_segment(&planned[11..14], 4096).0);
    open("no end mark", {
        let mut bytes = sound.clone();
        bytes[end - 1] = 0;
        bytes
    });
    let (cut, _) = frames(&planned[11..], 4096);
    open("a frame that the file ends in", cut[..cut.len() - 5].to_vec());
}

#[test]
fn an_open_segment_amid_the_log_is_not_accepted() {
    let built = small();
    built.files.put(&built.segments[0], open_segment(&plan(SMALL)[..6], 4096).0);
    refused("the first segment is open", &built);
}
