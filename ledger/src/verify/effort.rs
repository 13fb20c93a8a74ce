//! How much of the machine the judge uses, and how ledgers are shared out among its threads.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::LedgerReport;

/// Bytes of one piece of a log, which one thread judges at a time: large enough that handing it over costs nothing,
/// small enough to stay in the processor's cache.
const PIECE_BYTES: usize = 512 * 1024;
/// A log with fewer bytes than this is judged by one thread, beside others of its size.
const SHARED_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// How the judge reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// How many threads judge pieces of one log.
    pub(super) threads: usize,
    /// Bytes of a piece, if a frame is not larger; `None`: no pieces, everything is walked.
    pub(super) piece_bytes: Option<usize>,
    /// Logs of at least so many bytes are shared by all threads.
    pub(super) shared_bytes_min: u64,
}

impl Effort {
    /// As is best on so many threads.
    pub(super) fn of(threads: NonZeroUsize) -> Self {
        Self { threads: threads.get(), piece_bytes: Some(PIECE_BYTES), shared_bytes_min: SHARED_BYTES_MIN }
    }

    fn alone(&self) -> Self {
        Self { threads: 1, ..*self }
    }

    /// Has every ledger judged: large ones one after the other by all threads, small ones beside each other. `ledgers`
    /// are names with the bytes of their logs; the reports come in the same order.
    pub(super) fn share(
        &self,
        ledgers: &[(String, u64)],
        judge: &(dyn Fn(&String, &Self) -> LedgerReport + Sync),
    ) -> Vec<LedgerReport> {
        let (large, small): (Vec<usize>, Vec<usize>) =
            (0..ledgers.len()).partition(|i| self.threads == 1 || ledgers[*i].1 >= self.shared_bytes_min);
        let mut reports: Vec<(usize, LedgerReport)> =
            large.into_iter().map(|i| (i, judge(&ledgers[i].0, self))).collect();
        reports.extend(self.beside(&small, &|i| judge(&ledgers[i].0, &self.alone())));
        reports.sort_by_key(|(i, _)| *i);
        reports.into_iter().map(|(_, report)| report).collect()
    }

    /// Each thread takes the next one when it is done with one.
    fn beside(
        &self,
        ledgers: &[usize],
        judge: &(dyn Fn(usize) -> LedgerReport + Sync),
    ) -> Vec<(usize, LedgerReport)> {
        let taken = AtomicUsize::new(0);
        let work = || {
            let next = || ledgers.get(taken.fetch_add(1, Ordering::Relaxed)).copied();
            std::iter::from_fn(|| next().map(|i| (i, judge(i)))).collect::<Vec<_>>()
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..self.threads.min(ledgers.len())).map(|_| scope.spawn(work)).collect();
            let mut reports = work();
            for other in others {
                match other.join() {
                    Ok(theirs) => reports.extend(theirs),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            reports
        })
    }
}
