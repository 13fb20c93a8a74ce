//! The scrub: one thread that reads every log again, byte by byte, round after round, as the offline judge does. A start
//! believes the footers of sealed segments; this is what makes sure of them, and of a disk that forgets.
//!
//! The tree over what it reads must be the one in the server's memory, whose root is signed; the stored tree and the kept
//! checkpoint are compared as well.
//!
//! It runs at the lowest priority and no faster than it is told. Damage is logged where it is found, and the ledger takes
//! no more appends; what is sound of it is served as before. A stored tree is no reason for that: it is made anew.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ledger::disk::Disk;
use ledger::log::Damage;
use ledger::types::{LedgerName, Position};
use ledger::verify::{CheckpointReport, Evidence, Progress, Source, verify_ledger};

use crate::clock::Clock;
use crate::ledgers::Ledgers;
use crate::metrics::Metrics;
use crate::priority;

/// How fast a scrub reads where nothing else is said, in MiB a second.
pub const RATE_MIB_DEFAULT: u64 = 8;
/// How long it rests before each round, so that small logs are not read all the time.
const REST: Duration = Duration::from_secs(5);
/// How many new damages of one ledger are logged; the metric counts all.
const LOGGED_MAX: usize = 20;

/// A scrub that runs.
pub struct Scrub {
    ending: Arc<Ending>,
    thread: JoinHandle<()>,
}

impl Scrub {
    /// Starts to scrub the ledgers of a directory, now and those that come, at so many MiB a second; none where that is
    /// 0. It ends by itself when they are gone.
    ///
    /// # Errors
    /// Where no thread can be had.
    pub fn start(ledgers: &Arc<Ledgers>, rate_mib: u64) -> io::Result<Option<Self>> {
        if rate_mib == 0 {
            return Ok(None);
        }
        let ending = Arc::new(Ending::default());
        let pace = Pace {
            ending: Arc::clone(&ending),
            metrics: ledgers.shared().metrics.clone(),
            bytes_per_second: rate_mib.saturating_mul(1024 * 1024),
            read: Mutex::new(0),
        };
        let rounds = Rounds::new(ledgers, pace);
        let thread = std::thread::Builder::new().name("scrub".to_owned()).spawn(move || rounds.run())?;
        Ok(Some(Self { ending, thread }))
    }

    /// Ends it, and waits until it has ended, which it does within one read of the disk.
    pub fn stop(self) {
        self.ending.end();
        if self.thread.join().is_err() {
            tracing::error!("the scrub had ended before; the logs were not checked since");
        }
    }
}

/// Word that it is over, for whoever sleeps.
#[derive(Default)]
struct Ending {
    over: Mutex<bool>,
    changed: Condvar,
}

impl Ending {
    fn end(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn is_over(&self) -> bool {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so long, or until it is over; whether it is not.
    fn sleep(&self, pause: Duration) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = self.changed.wait_timeout_while(over, pause, |over| !*over);
        let over = slept.map_or_else(|e| *e.into_inner().0, |(over, _)| *over);
        !over
    }
}

/// Reads no faster than it is told, by resting after each read for as long as it should have taken.
struct Pace {
    ending: Arc<Ending>,
    metrics: Metrics,
    bytes_per_second: u64,
    /// Bytes of the ledger that have been read.
    read: Mutex<u64>,
}

impl Pace {
    fn begin(&self) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = 0;
    }

    fn more(&self, done: u64) -> u64 {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        done.saturating_sub(std::mem::replace(&mut *read, done))
    }
}

impl Progress for Pace {
    fn bytes(&self, done: u64, _total: u64) {
        let more = self.more(done);
        self.metrics.scrubbing(more);
        self.ending.sleep(time_for(more, self.bytes_per_second));
    }

    fn wait(&self, pause: Duration) -> bool {
        self.ending.sleep(pause)
    }

    fn goes_on(&self) -> bool {
        !self.ending.is_over()
    }
}

/// How long reading so many bytes may take.
fn time_for(bytes: u64, bytes_per_second: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_second.max(1))
}

/// One round after the other.
struct Rounds {
    /// The ledgers live only as long as their server does; a scrub does not keep them from being closed.
    ledgers: Weak<Ledgers>,
    data: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    pace: Pace,
    /// What was found before: it is logged once.
    known: BTreeMap<LedgerName, Vec<Damage>>,
}

impl Rounds {
    fn new(ledgers: &Arc<Ledgers>, pace: Pace) -> Self {
        let shared = ledgers.shared();
        Self {
            ledgers: Arc::downgrade(ledgers),
            data: shared.data.clone(),
            disk: Arc::clone(&shared.disk),
            clock: Arc::clone(&shared.clock),
            metrics: shared.metrics.clone(),
            pace,
            known: BTreeMap::new(),
        }
    }

    fn run(mut self) {
        priority::lower();
        while self.pace.ending.sleep(REST) && self.round().is_some() {}
    }

    /// Checks every ledger there is; `None` where it is over.
    fn round(&mut self) -> Option<()> {
        let began = Instant::now();
        let names: Vec<LedgerName> =
            self.ledgers.upgrade()?.all().into_iter().map(|one| one.name.clone()).collect();
        for name in &names {
            self.ledger(name)?;
        }
        let (ledgers, seconds) = (names.len(), began.elapsed().as_secs());
        tracing::debug!(ledgers, seconds, "the scrub has checked every log");
        Some(())
    }

    fn ledger(&mut self, name: &LedgerName) -> Option<()> {
        let ledger = self.ledgers.upgrade()?.get(name)?;
        let durable = ledger.reader.log().tail().next;
        let mut evidence = Evidence::default();
        evidence.memory(name.clone(), ledger.notary.tree().head());
        // It may be closed meanwhile.
        drop(ledger);
        match self.damage(name, durable, &evidence) {
            Ok(damage) => {
                self.metrics.of(name).scrubbed(self.clock.now(), damage.len() as u64);
                self.tell(name, damage);
            }
            Err(_) if self.pace.ending.is_over() => return None,
            Err(error) => tracing::error!(ledger = %name, %error, "the log cannot be checked"),
        }
        Some(())
    }

    /// What is damaged of a log, as far as it was durable. What fails once and not again was a write that the reading
    /// crossed.
    fn damage(&self, name: &LedgerName, durable: Position, evidence: &Evidence) -> io::Result<Vec<Damage>> {
        let mut found = self.read(name, durable, evidence)?;
        if !found.is_empty() {
            let again = self.read(name, durable, evidence)?;
            found.retain(|damage| again.contains(damage));
        }
        Ok(found)
    }

    fn read(&self, name: &LedgerName, durable: Position, evidence: &Evidence) -> io::Result<Vec<Damage>> {
        self.pace.begin();
        let report = verify_ledger(self.disk.as_ref(), &self.data, name, evidence, &self.pace)?;
        let damage = report.damage.into_iter().filter(|damage| damage.position < durable);
        Ok(damage.chain(report.checkpoints.iter().filter_map(contradicted)).collect())
    }

    /// Logs what was not known, and has the ledger take no more appends where its log is not what was written.
    fn tell(&mut self, name: &LedgerName, damage: Vec<Damage>) {
        let known = self.known.entry(name.clone()).or_default();
        for new in damage.iter().filter(|damage| !known.contains(damage)).take(LOGGED_MAX) {
            tracing::error!(
                ledger = %name, position = %new.position, file = new.file, offset = new.offset,
                reason = new.reason, "the scrub found damage; run `tokenledger verify`"
            );
        }
        let ledger = self.ledgers.upgrade().and_then(|ledgers| ledgers.get(name));
        if let Some(ledger) = ledger {
            if let Some(first) = damage.iter().find(|damage| stops(damage)) {
                ledger.writer.stop(format!("{first}; run `tokenledger verify`"));
            }
            if damage.iter().any(|damage| damage.file.starts_with(TREE) && !known.contains(damage)) {
                ledger.notary.tree().distrust();
            }
        }
        *known = damage;
    }
}

/// Where the stored tree lies, in a ledger's directory, and what is said to be the file of its newest checkpoint.
const TREE: &str = "tree/";
const KEPT: &str = "checkpoint";

/// Whether nothing may be appended any more. A stored tree is made anew; and a checkpoint that the log contradicts, though
/// it is what the server has in its memory, was changed itself, or overridden.
fn stops(damage: &Damage) -> bool {
    !damage.file.starts_with(TREE) && damage.file != KEPT
}

/// A checkpoint that the log contradicts, as a damage.
fn contradicted(checkpoint: &CheckpointReport) -> Option<Damage> {
    let fault = checkpoint.fault.as_ref()?;
    let size = checkpoint.size.unwrap_or_default();
    let (file, reason) = match checkpoint.source {
        Source::Memory => ("log", format!("the log is not the one in the server's memory: {fault}")),
        _ => (KEPT, format!("the log contradicts the checkpoint: {fault}")),
    };
    let position = Position(size.saturating_sub(1));
    Some(Damage { position, file: file.to_owned(), offset: 0, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_what_was_asked_for() {
        let mib = 1024 * 1024;
        assert_eq!(time_for(8 * mib, 8 * mib), Duration::from_secs(1));
        assert_eq!(time_for(mib / 2, 8 * mib), Duration::from_micros(62_500));
        assert_eq!(time_for(u64::MAX, 0).as_micros(), u128::from(u64::MAX));
        let pace = Pace {
            ending: Arc::default(),
            metrics: Metrics::default(),
            bytes_per_second: u64::MAX,
            read: Mutex::new(0),
        };
        pace.bytes(500, 1000);
        pace.bytes(1000, 1000);
        pace.begin();
        pace.bytes(700, 700);
        assert!(pace.metrics.text().contains("tokenledger_scrub_checked_bytes_total 1700\n"));
    }

    #[test]
    fn whoever_sleeps_wakes_when_it_is_over_and_reads_no_more() {
        let ending = Arc::new(Ending::default());
        let pace = Pace {
            ending: Arc::clone(&ending),
            metrics: Metrics::default(),
            bytes_per_second: 1,
            read: Mutex::new(0),
        };
        assert!(pace.goes_on() && pace.wait(Duration::ZERO));
        std::thread::scope(|scope| {
            // A month's rest.
            scope.spawn(|| pace.bytes(2_600_000, 2_600_000));
            ending.end();
        });
        assert!(!pace.goes_on() && !pace.wait(Duration::from_secs(2_600_000)));
    }
}
