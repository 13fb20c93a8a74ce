//! Beside a running server.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::judged;
use super::writer::{Files, build, open_segment, plan, sealed_segment, tail_file};
use crate::types::Link;
use crate::verify::{LedgerReport, Progress, verify};

/// Files that a server writes at once.
type Step = Vec<(String, Vec<u8>)>;

/// A server that does its next step whenever the judge waits.
struct Server<'a> {
    files: &'a Files,
    steps: Mutex<Vec<Step>>,
    waits: Mutex<u32>,
}

impl Progress for Server<'_> {
    fn bytes(&self, _: u64, _: u64) {}
    fn wait(&self, _: Duration) -> bool {
        *self.waits.lock().unwrap() += 1;
        let mut steps = self.steps.lock().unwrap();
        if !steps.is_empty() {
            for (file, bytes) in steps.remove(0) {
                self.files.put(&file, bytes);
            }
        }
        true
    }
}

fn judged_beside(files: &Files, steps: Vec<Step>) -> (LedgerReport, u32) {
    let server = Server { files, steps: Mutex::new(steps), waits: Mutex::new(0) };
    let mut report = verify(files, Path::new("d"), &server).unwrap();
    (report.ledgers.remove(0), server.waits.into_inner().unwrap())
}

const FIRST: &str = "log/00000000000000000000.seg";

#[test]
fn a_write_in_progress_is_read_again_until_it_is_done() {
    let planned = plan(&[&[100], &[900], &[700]]);
    let built = build(&planned, &[], 4096);
    let done = built.files.get(FIRST);
    let half = |from: usize| {
        let mut bytes = done.clone();
        bytes[from..].fill(0);
        bytes
    };
    built.files.put("tail", tail_file(1, Link::default()));
    built.files.put(FIRST, half(1200));
    let steps = vec![vec![(FIRST.to_owned(), half(1300))], vec![(FIRST.to_owned(), done.clone())]];
    let (report, waits) = judged_beside(&built.files, steps);
    assert_eq!((report.damage, report.torn_bytes, report.entries.0, waits), (vec![], 0, 3, 2));
}

#[test]
fn a_write_that_never_ends_behind_a_moving_tail_is_no_damage() {
    let planned = plan(&[&[100], &[900], &[700]]);
    let built = build(&planned, &[], 4096);
    let done = built.files.get(FIRST);
    let garbled = |from: u64| {
        let mut bytes = done.clone();
        bytes[from as usize + 30] ^= 0xFF;
        bytes
    };
    built.files.put("tail", tail_file(1, Link::default()));
    built.files.put(FIRST, garbled(built.frames[1].1));
    let step = vec![
        ("tail".to_owned(), tail_file(2, Link::default())),
        (FIRST.to_owned(), garbled(built.frames[2].1)),
    ];
    let (report, waits) = judged_beside(&built.files, vec![step]);
    assert_eq!((report.damage, report.torn_bytes, report.entries.0, waits), (vec![], 0, 2, 1));
}

#[test]
fn what_fails_below_the_published_tail_is_damage_at_once() {
    let built = build(&plan(&[&[100], &[900], &[700]]), &[], 4096);
    built.files.put("tail", tail_file(3, Link::default()));
    built.files.change(FIRST, |bytes| bytes[800] ^= 1);
    let (report, waits) = judged_beside(&built.files, vec![]);
    assert_eq!((report.damage.len(), report.damage[0].position.0, waits), (1, 1, 0));
}

#[test]
fn damage_behind_a_stale_tail_is_damage_after_a_second() {
    let built = build(&plan(&[&[100], &[900], &[700]]), &[], 4096);
    built.files.put("tail", tail_file(1, Link::default()));
    built.files.change(FIRST, |bytes| bytes[800] ^= 1);
    let (report, waits) = judged_beside(&built.files, vec![]);
    assert_eq!((report.damage.len(), report.damage[0].position.0, waits), (1, 1, 6));
}

#[test]
fn a_segment_that_is_sealed_and_followed_while_it_is_read_is_sound() {
    let planned = plan(&[&[100], &[900], &[700], &[50]]);
    let (open, _) = open_segment(&planned[..3], 4096);
    let (sealed, offsets) = sealed_segment(&planned[..3], 4096);
    let (next, _) = open_segment(&planned[3..], 4096);
    // A reader may see any part of the footer, and zeros or bytes where others will be.
    let mut sealing = open.clone();
    let footer = (offsets[3] as usize).next_multiple_of(512);
    sealing[footer..footer + 40].copy_from_slice(&sealed[footer..footer + 40]);
    let files = Files::default();
    files.put("tail", tail_file(3, Link::default()));
    files.put(FIRST, sealing);
    let rolled = vec![(FIRST.to_owned(), sealed), ("log/00000000000000000003.seg".to_owned(), next)];
    let (report, waits) = judged_beside(&files, vec![rolled]);
    assert_eq!((report.damage, report.torn_bytes, report.entries.0, waits), (vec![], 0, 4, 1));
}

#[test]
fn a_tail_that_says_more_than_the_log_holds_is_told() {
    let built = build(&plan(&[&[100], &[900]]), &[], 4096);
    built.files.put("tail", tail_file(7, Link::default()));
    let report = judged(&built.files);
    assert_eq!(report.published.map(|p| p.0), Some(7));
    assert_eq!(report.entries.0, 2);
}

#[test]
fn a_garbled_tail_makes_nothing_less_judged() {
    let built = build(&plan(&[&[100], &[900]]), &[], 4096);
    let mut tail = tail_file(1, Link::default());
    tail[9] ^= 1;
    built.files.put("tail", tail);
    assert_eq!(judged(&built.files).entries.0, 2);
    built.files.change(FIRST, |bytes| bytes[900] ^= 1);
    assert!(!judged(&built.files).ok());
}
