//! The way from the writer to the log. One thread writes what it is handed, group after group, for as long as more comes;
//! the writer decides meanwhile, and does not have to be woken for the disk to go on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use ledger::entry::Record;
use ledger::log::{AppendError, FRAME_BYTES, GROUP_BYTES_MAX, GROUP_ENTRIES_MAX, LogStore, Tail};
use ledger::tiles::TreeStore;
use ledger::tree::Hash;
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
    tree: Option<Arc<TreeStore>>,
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
        tree: Option<Arc<TreeStore>>,
        metrics: LedgerMetrics,
    ) -> (Self, Ends) {
        let (sender, pieces) = channel();
        let (written, receiver) = mpsc::unbounded_channel();
        let ends = Ends { pieces: sender, written: receiver };
        (Self { log, tail, tree, metrics, pieces, kept: None, written }, ends)
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
        let Piece { records: mut group, mut untold } = group;
        let (began, expected) = (Instant::now(), self.tail.borrow().next);
        let leaves: Vec<Hash> = group.iter_mut().map(Record::make_leaf).collect();
        let result = self.log.append(expected, &group);
        let took = began.elapsed();
        if let Ok(tail) = &result {
            self.metrics.written(&group, tail);
            self.tail.send_replace(*tail);
            untold.drain(..).for_each(|release| release(Ok(())));
            // Nobody waits for this: what asks for the tree brings it up to the log first.
            if let Some(tree) = &self.tree {
                tree.extend(expected.0, &leaves);
            }
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use ledger::log::ReadError;
    use ledger::types::{LedgerName, Link, Position};

    use super::*;
    use crate::metrics::Metrics;
    use crate::writer::WriteError;

    /// Remembers how large the groups were, and is full at one of them.
    struct Sizes {
        groups: Mutex<Vec<usize>>,
        full_at: usize,
    }

    impl LogStore for Sizes {
        fn tail(&self) -> Tail {
            Tail::default()
        }

        fn append(&self, expected: Position, group: &[Record]) -> Result<Tail, AppendError> {
            let mut groups = self.groups.lock().unwrap();
            if groups.len() == self.full_at {
                return Err(AppendError::Full(io::Error::from(io::ErrorKind::StorageFull)));
            }
            groups.push(group.len());
            Ok(Tail { next: Position(expected.0 + group.len() as u64), ..Tail::default() })
        }

        fn read(&self, _: Position, _: usize) -> Result<Vec<Record>, ReadError> {
            Ok(Vec::new())
        }
    }

    type Told = Arc<Mutex<Vec<(usize, Result<(), WriteError>)>>>;

    /// Hands over pieces of these numbers of entries, and writes until no more comes. What was written, and told to whom.
    fn write(pieces: &[usize], entry_bytes: usize, full_at: usize) -> (Vec<usize>, Box<Output>, Ends, Told) {
        let log = Arc::new(Sizes { groups: Mutex::default(), full_at });
        let tail = Arc::new(watch::channel(Tail::default()).0);
        let metrics = Metrics::default().of(&LedgerName::default());
        let (output, ends) = Output::new(Arc::clone(&log) as Arc<dyn LogStore>, tail, None, metrics);
        let told = Told::default();
        for (number, entries) in pieces.iter().enumerate() {
            let record = Record::new(vec![7; entry_bytes].into(), Link::default(), (0, 1));
            let told = Arc::clone(&told);
            let release: Release = Box::new(move |outcome| told.lock().unwrap().push((number, outcome)));
            let piece = Piece { records: vec![record; *entries], untold: vec![release] };
            assert!(ends.pieces.send(piece).is_ok());
        }
        let output = Box::new(output).write_all();
        let groups = log.groups.lock().unwrap().clone();
        (groups, output, ends, told)
    }

    #[test]
    fn a_group_has_as_many_whole_pieces_as_fit_and_all_are_told_in_order() {
        let (groups, mut output, mut ends, told) =
            write(&[5_000, 3_000, 193, 8_000, 192, 1], 100, usize::MAX);
        assert_eq!(groups, [8_000, 193, GROUP_ENTRIES_MAX, 1]);
        assert_eq!(*told.lock().unwrap(), [0, 1, 2, 3, 4, 5].map(|number| (number, Ok(()))));
        assert!(output.give_up().is_empty());
        let words = std::iter::from_fn(|| ends.written.try_recv().ok());
        assert!(
            words
                .map(|written| (written.group.len(), written.untold.len()))
                .eq(groups.iter().map(|n| (*n, 0)))
        );
        let (groups, ..) = write(&[100, 30, 10], 60_000, usize::MAX);
        assert_eq!(groups, [130, 10], "more than 8 MiB are not written at once");
    }

    #[test]
    fn nothing_behind_a_write_that_failed_is_written_or_told() {
        let (groups, mut output, mut ends, told) = write(&[8_000, 193, 8_000, 1], 100, 1);
        assert_eq!(groups, [8_000]);
        assert_eq!(*told.lock().unwrap(), [(0, Ok(()))]);
        assert!(ends.written.try_recv().is_ok_and(|first| first.result.is_ok()));
        let failed = ends.written.try_recv().unwrap();
        assert!(matches!(failed.result, Err(AppendError::Full(_))));
        let untold = failed.untold.into_iter().chain(output.give_up());
        untold.for_each(|release| release(Err(WriteError::Busy)));
        assert_eq!(told.lock().unwrap()[1..], [1, 2, 3].map(|number| (number, Err(WriteError::Busy))));
        assert!(ends.written.try_recv().is_err());
    }
}
