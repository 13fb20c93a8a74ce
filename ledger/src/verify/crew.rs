//! The threads that judge pieces: each takes the next piece when it is done with one, while pieces are joined in order.
//! How far they run ahead is bounded, and so is the memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use super::Reached;
use super::chain::Chain;
use super::effort::Effort;
use super::join::{Join, Judged};
use super::pieces::Pieces;
use super::sought::{Noted, Sought};
use super::sound::Judge;
use super::walk::Segment;
use crate::disk::Disk;

/// How many pieces may wait, for each thread, until the one before them is joined.
const AHEAD: usize = 4;

/// Judges segments as long as they are sound: how many are, the chain behind them, and what was found in them.
pub(super) fn sound_ones(
    disk: &dyn Disk,
    dir: &Path,
    segments: &[Segment],
    chain: Chain,
    effort: &Effort,
    reached: &Reached<'_>,
    sought: &Sought,
) -> (usize, Chain, Noted) {
    let Some(piece_bytes) = effort.piece_bytes else { return (0, chain, Noted::default()) };
    let pieces = Pieces { disk, dir, segments, reached, piece_bytes, segment: 0, reading: None };
    let mut join = Join::new(disk, dir, segments, reached, chain, sought);
    match effort.threads {
        1 => alone(pieces, &mut join, sought),
        threads => together(pieces, &mut join, threads, sought),
    }
    (join.accepted, join.chain, join.noted)
}

fn alone(mut pieces: Pieces<'_>, join: &mut Join<'_>, sought: &Sought) {
    let (mut judge, mut bytes) = (Judge::new(sought), Vec::new());
    while let Some(piece) = pieces.next(bytes) {
        if Judged::of(piece.as_ref(), &mut judge).and_then(|piece| join.take(piece)).is_none() {
            return;
        }
        bytes = piece.map(|piece| piece.bytes).unwrap_or_default();
    }
}

fn together(pieces: Pieces<'_>, join: &mut Join<'_>, threads: usize, sought: &Sought) {
    let (permit, permits) = mpsc::channel();
    for _ in 0..threads * AHEAD {
        // The receiver stands in the next line.
        let _ = permit.send(());
    }
    let taking = Mutex::new(Taking { pieces, permits, number: 0 });
    let (done, judged) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let done = done.clone();
            scope.spawn(|| work(&taking, done, Judge::new(sought)));
        }
        drop(done);
        in_order(judged, permit, join);
    });
}

/// Where the threads take pieces from, one at a time.
struct Taking<'a> {
    pieces: Pieces<'a>,
    permits: Receiver<()>,
    number: u64,
}

/// A piece's number, and what was found out about it.
type Done = (u64, Option<Judged>);

fn work(taking: &Mutex<Taking<'_>>, done: Sender<Done>, mut judge: Judge<'_>) {
    let mut bytes = Vec::new();
    loop {
        let Ok(mut take) = taking.lock() else { return };
        if take.permits.recv().is_err() {
            return;
        }
        let Some(piece) = take.pieces.next(bytes) else { return };
        let number = take.number;
        take.number += 1;
        drop(take);
        if done.send((number, Judged::of(piece.as_ref(), &mut judge))).is_err() {
            return;
        }
        bytes = piece.map(|piece| piece.bytes).unwrap_or_default();
    }
}

/// Joins what comes, in order, until something is not accepted; that nobody takes it any more ends the threads.
fn in_order(judged: Receiver<Done>, permit: Sender<()>, join: &mut Join<'_>) {
    let (mut early, mut due) = (BTreeMap::new(), 0);
    for (number, piece) in judged {
        early.insert(number, piece);
        while let Some(piece) = early.remove(&due) {
            if piece.and_then(|piece| join.take(piece)).is_none() {
                return;
            }
            // Where nobody wants it, nothing is left to be taken.
            let _ = permit.send(());
            due += 1;
        }
    }
}
