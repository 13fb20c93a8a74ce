//! The way from the writer to the log. One thread writes what it is handed, group after group, for as long as more comes;
//! the writer decides meanwhile, and does not have to be woken for the disk to go on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use ledger::entry::Record;
use ledger::log::{AppendError, FRAME_BYTES, GROUP_BYTES_MAX, GROUP_ENTRIES_MAX, LogStore, Tail};
use tokio::sync::{mpsc, watch};

use super::Release;
use crate::metrics::LedgerMetrics;

/// How long the thread waits for more before it goes home, where it wrote for more than one caller: a single one is served
/// without it as soon as it is home.
const LINGER: Duration = Duration::from_micros(100);

/// Entries that are written together, whole batches, with the answers that rest on them and on nothing behind them.
pub(super) struct Piece {
    pub(super) records: Vec<Record>,
    pub(super) untold: Vec<Release>,
}

impl Piece {
    fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.entry.len() + FRAME_BYTES).sum()
    }
}

/// What became of a group.
pub(super) struct Written {
    pub(super) group: Vec<Record>,
    pub(super) result: Result<Tail, AppendError>,
    /// Answers that were not told, since the group is not durable.
    pub(super) untold: Vec<Release>,
    pub(super) took: Duration,
}

/// The end where pieces are handed over, and the one where word of them comes back.
pub(super) struct Ends {
    pub(super) pieces: Sender<Piece>,
    pub(super) written: mpsc::UnboundedReceiver<Written>,
}

/// Writes pieces. Callers are told on the thread that does so: they need not wait until the writer has time.
pub(super) struct Output {
    log: Arc<dyn LogStore>,
    tail: Arc<watch::Sender<Tail>>,
    metrics: LedgerMetrics,
    pieces: Receiver<Piece>,
    /// Taken, and too large for the group before.
    kept: Option<Piece>,
    written: mpsc::UnboundedSender<Written>,
}

impl Output {
    pub(super) fn new(
        log: Arc<dyn LogStore>,
        tail: Arc<watch::Sender<Tail>>,
        metrics: LedgerMetrics,
    ) -> (Self, Ends) {
        let (sender, pieces) = channel();
        let (written, receiver) = mpsc::unbounded_channel();
        let ends = Ends { pieces: sender, written: receiver };
        (Self { log, tail, metrics, pieces, kept: None, written }, ends)
    }

    /// Writes until nothing more comes, or a write fails.
    pub(super) fn write_all(mut self: Box<Self>) -> Box<Self> {
        let mut linger = LINGER;
        while let Some(group) = self.next_group(linger) {
            linger = if group.untold.len() > 1 { LINGER } else { Duration::ZERO };
            let written = self.write(group);
            let failed = written.result.is_err();
            // Where the writer is gone nobody asks any more.
            if self.written.send(written).is_err() || failed {
                break;
            }
        }
        self
    }

    /// Writes one group.
    pub(super) fn write(&self, group: Piece) -> Written {
        let Piece { records: group, mut untold } = group;
        let (began, expected) = (Instant::now(), self.tail.borrow().next);
        let result = self.log.append(expected, &group);
        let took = began.elapsed();
        if let Ok(tail) = &result {
            self.metrics.written(&group, tail);
            self.tail.send_replace(*tail);
            untold.drain(..).for_each(|release| release(Ok(())));
        }
        Written { group, result, untold, took }
    }

    /// The answers that rest on what is handed over and will not be written.
    pub(super) fn give_up(&mut self) -> Vec<Release> {
        let pieces = self.kept.take().into_iter().chain(self.pieces.try_iter());
        pieces.flat_map(|piece| piece.untold).collect()
    }

    /// What waits, as much as a group may have.
    fn next_group(&mut self, linger: Duration) -> Option<Piece> {
        let mut group = self.kept.take().or_else(|| self.pieces.recv_timeout(linger).ok())?;
        let mut bytes = group.bytes();
        while let Ok(more) = self.pieces.try_recv() {
            bytes += more.bytes();
            if group.records.len() + more.records.len() > GROUP_ENTRIES_MAX || bytes > GROUP_BYTES_MAX {
                self.kept = Some(more);
                break;
            }
            group.records.extend(more.records);
            group.untold.extend(more.untold);
        }
        Some(group)
    }
}
