//! Packs what is sealed, in the background: one thread for the whole data directory, of low priority, one segment at a
//! time. It sleeps until it is told that a segment may have been sealed.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ledger::log::{LogStore, PackError, SegmentLog};
use ledger::types::{LedgerName, Position};

use crate::metrics::LedgerMetrics;
use crate::priority;

/// The newest sealed segments of a log are read the most, and a packed entry takes longer to read. So these stay as they
/// are until the log was seen not to grow for some time.
const KEEP_HOT: usize = 2;
const REST: Duration = Duration::from_secs(20);
/// The least pause between two segments. It is never shorter than packing the last one took.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Where a log grows by so many entries a second, appends are at full speed, and packing leaves them the processor for
/// [`YIELD`] times as long as it had it itself; unless so many segments wait that it would never be done.
const BUSY_ENTRIES_PER_S: u64 = 10_000;
const YIELD: u32 = 16;
const WAITING_SEGMENTS_MAX: usize = 32;
/// How long it waits after a disk failed or was full.
const RETRY: Duration = Duration::from_secs(60);

/// The way to the thread that packs. Dropping it ends the thread.
pub struct Packer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Logs that the thread does not know yet.
    added: Vec<Packed>,
    /// Something may be there to pack.
    asked: bool,
    stopping: bool,
}

/// A log that is looked after as long as somebody has it open.
struct Packed {
    name: LedgerName,
    log: Weak<SegmentLog>,
    metrics: LedgerMetrics,
    rest: Rest,
}

/// Where a log ended, and since when it has ended there as far as is known.
struct Rest {
    tail: Position,
    since: Instant,
}

impl Rest {
    /// How many sealed segments are to be left as they are, of a log that ends there now.
    fn keeps(&mut self, tail: Position, now: Instant) -> usize {
        if tail != self.tail {
            *self = Self { tail, since: now };
        }
        if now.duration_since(self.since) < REST { KEEP_HOT } else { 0 }
    }
}

/// Since when a piece was packed, and where the log ended then.
#[derive(Clone, Copy)]
struct Piece {
    began: Instant,
    tail: Position,
}

impl Piece {
    fn begin(log: &SegmentLog) -> Self {
        Self { began: Instant::now(), tail: log.tail().next }
    }

    /// How long appends are to have the processor for themselves now that it took so long.
    fn yields(&self, took: Duration, tail: Position) -> Option<Duration> {
        let grown = u128::from(tail.0.saturating_sub(self.tail.0));
        let busy = grown * 1_000_000 > u128::from(BUSY_ENTRIES_PER_S) * took.as_micros();
        busy.then(|| took * YIELD)
    }
}

impl Packer {
    /// Starts the thread; none where packing is not wanted. Then the packed segments are only counted.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(wanted: bool) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let work = move || {
            priority::lower();
            theirs.work();
        };
        let thread = match wanted {
            true => Some(std::thread::Builder::new().name("packer".to_owned()).spawn(work)?),
            false => None,
        };
        Ok(Self { shared, thread: Mutex::new(thread) })
    }

    /// Looks after a log.
    pub fn add(&self, name: LedgerName, log: &Arc<SegmentLog>, metrics: LedgerMetrics) {
        metrics.packed(&log.packed());
        let rest = Rest { tail: log.tail().next, since: Instant::now() };
        self.shared.state().added.push(Packed { name, log: Arc::downgrade(log), metrics, rest });
        self.wake();
    }

    /// Says that a segment may have been sealed.
    pub fn wake(&self) {
        self.shared.state().asked = true;
        self.shared.changed.notify_all();
    }

    /// Says that it is to end. A segment that is being packed is given up within milliseconds.
    pub fn stop(&self) {
        self.shared.state().stopping = true;
        self.shared.changed.notify_all();
    }

    /// Ends the thread and waits for that.
    pub fn join(&self) {
        self.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that packs segments panicked; no log is harmed");
        }
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.state().stopping
    }

    /// Sleeps until it is asked, or until a log may have rested long enough, then packs until nothing is left.
    fn work(&self) {
        let mut logs = Vec::new();
        let mut later = false;
        while self.next_round(&mut logs, later) {
            logs.retain(|packed| packed.log.strong_count() > 0);
            later = false;
            for packed in &mut logs {
                later |= self.pack(packed);
            }
        }
    }

    /// Waits until there may be something to pack; where there will be `later`, for as long as a log must rest at most.
    /// False when it is to end.
    fn next_round(&self, logs: &mut Vec<Packed>, later: bool) -> bool {
        let idle = |state: &mut State| !state.asked && !state.stopping;
        let timeout = if later { REST } else { Duration::MAX };
        let waited = self.changed.wait_timeout_while(self.state(), timeout, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.asked = false;
        logs.append(&mut state.added);
        !state.stopping
    }

    /// Packs what is to be packed; whether more is once the log has rested.
    fn pack(&self, packed: &mut Packed) -> bool {
        while let Some(log) = packed.log.upgrade().filter(|_| !self.stopping()) {
            let began = Instant::now();
            let keep = packed.rest.keeps(log.tail().next, began);
            let piece = Cell::new(Piece::begin(&log));
            match log.pack_next(keep, &|| self.goes_on(&log, &piece)) {
                Ok(Some(segment)) => {
                    packed.metrics.packed(&log.packed());
                    tracing::debug!(
                        ledger = %packed.name, first = %segment.first, entries = segment.entries,
                        before = segment.bytes_before, bytes = segment.bytes, "a segment was packed"
                    );
                }
                Ok(None) => return keep > 0 && log.waits_for_packing(0) > 0,
                Err(PackError::Io(error)) => {
                    tracing::warn!(ledger = %packed.name, %error, "a segment could not be packed; it stays as it is");
                    drop(log);
                    self.pause(RETRY);
                    self.state().asked = true;
                    return false;
                }
                Err(error) => tracing::error!(ledger = %packed.name, %error, "run `tokenledger verify`"),
            }
            drop(log);
            self.pause(began.elapsed().max(PAUSE_MIN));
        }
        false
    }

    /// Whether the next piece is to be packed, once appends have had their turn.
    fn goes_on(&self, log: &SegmentLog, piece: &Cell<Piece>) -> bool {
        let (done, took) = (piece.get(), piece.get().began.elapsed());
        if let Some(pause) = done.yields(took, log.tail().next)
            && log.waits_for_packing(KEEP_HOT) < WAITING_SEGMENTS_MAX
        {
            self.pause(pause);
        }
        piece.set(Piece::begin(log));
        !self.stopping()
    }

    /// Waits for so long, or until it is to end.
    fn pause(&self, pause: Duration) {
        let _ = self.changed.wait_timeout_while(self.state(), pause, |state| !state.stopping);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ledger::disk::RealDisk;
    use ledger::entry::{self, Header, Record};
    use ledger::log::SegmentOptions;

    use super::*;
    use crate::metrics::Metrics;

    fn log(dir: &Path) -> Arc<SegmentLog> {
        let options = SegmentOptions {
            first_segment_bytes: 4096,
            segment_bytes_max: 4096,
            protected_through: Position(0),
        };
        Arc::new(SegmentLog::open(Arc::new(RealDisk), dir, options).unwrap().0)
    }

    /// Appends until so many segments are sealed, of some twelve entries each.
    fn grow(log: &SegmentLog, entries: u64) {
        for _ in 0..entries {
            let tail = log.tail();
            let header = Header {
                uid: ledger::types::LedgerUid([1; 16]),
                position: tail.next,
                epoch: 0,
                previous: tail.link,
                recorded_at: tail.recorded_at,
                event_id: uuid::Uuid::from_u128(u128::from(tail.next.0)),
                emitter: "e".parse().unwrap(),
            };
            let entry = bytes::Bytes::from(entry::encode(&header, &[7; 150]).unwrap());
            let link = entry::link(&entry);
            let record = Record::new(entry, link, (0, 1));
            log.append(tail.next, &[record]).unwrap();
        }
    }

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_is_sealed_is_packed_once_the_packer_is_told_and_the_metrics_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let (log, metrics) = (log(dir.path()), Metrics::default());
        let packer = Packer::start(true).unwrap();
        let name: LedgerName = "default".parse().unwrap();
        packer.add(name.clone(), &log, metrics.of(&name));
        grow(&log, 60);
        packer.wake();
        until("all but the newest are packed", || {
            log.packed().segments > 0 && log.waits_for_packing(KEEP_HOT) == 0
        });
        let totals = log.packed();
        until("the metrics follow", || {
            let text = metrics.text();
            text.contains(&format!(
                "tokenledger_log_packed_segments{{ledger=\"default\"}} {}",
                totals.segments
            )) && text.contains(&format!(
                "tokenledger_log_packed_saved_bytes{{ledger=\"default\"}} {}",
                totals.bytes_before - totals.bytes
            ))
        });
        packer.join();
        grow(&log, 60);
        packer.wake();
        packer.join();
        assert_eq!(log.packed(), totals, "nothing is packed once it has ended");
    }

    #[test]
    fn the_newest_segments_stay_as_they_are_until_the_log_has_rested() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let mut rest = Rest { tail: Position(5), since: began };
        assert_eq!(rest.keeps(Position(5), began + REST - second), KEEP_HOT);
        assert_eq!(rest.keeps(Position(5), began + REST), 0);
        assert_eq!(rest.keeps(Position(6), began + REST), KEEP_HOT, "it grew");
        assert_eq!(rest.keeps(Position(6), began + 2 * REST - second), KEEP_HOT);
        assert_eq!(rest.keeps(Position(6), began + 2 * REST), 0);

        let dir = tempfile::tempdir().unwrap();
        let (log, metrics) = (log(dir.path()), Metrics::default());
        grow(&log, 60);
        let shared = Shared::default();
        let name = LedgerName::default();
        let rest = Rest { tail: log.tail().next, since: Instant::now() };
        let metrics = metrics.of(&name);
        let mut packed = Packed { name, log: Arc::downgrade(&log), metrics, rest };
        assert!(shared.pack(&mut packed), "there is more to pack once it has rested");
        assert_eq!((log.waits_for_packing(KEEP_HOT), log.waits_for_packing(0)), (0, KEEP_HOT));
        packed.rest.since -= REST;
        assert!(!shared.pack(&mut packed));
        assert_eq!(log.waits_for_packing(0), 0);
        assert!(!shared.pack(&mut packed), "nothing is left");
    }

    #[test]
    fn appends_at_full_speed_have_the_processor_most_of_the_time() {
        let piece = Piece { began: Instant::now(), tail: Position(1_000) };
        let took = Duration::from_millis(10);
        assert_eq!(piece.yields(took, Position(1_000)), None);
        assert_eq!(piece.yields(took, Position(1_100)), None, "10,000 a second");
        assert_eq!(piece.yields(took, Position(1_101)), Some(took * YIELD));
        assert_eq!(piece.yields(Duration::ZERO, Position(2_000)), Some(Duration::ZERO));
    }

    #[test]
    fn a_packer_that_is_not_wanted_packs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        let packer = Packer::start(false).unwrap();
        let name: LedgerName = "default".parse().unwrap();
        grow(&log, 60);
        packer.add(name.clone(), &log, Metrics::default().of(&name));
        packer.join();
        assert!(log.waits_for_packing(KEEP_HOT) > 0);
        assert_eq!(log.packed().segments, 0);
    }

    #[test]
    fn a_log_is_closed_although_the_packer_knows_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        let packer = Packer::start(true).unwrap();
        let name: LedgerName = "default".parse().unwrap();
        packer.add(name.clone(), &log, Metrics::default().of(&name));
        until("the packer lets go of it", || Arc::strong_count(&log) == 1);
        packer.join();
    }
}
