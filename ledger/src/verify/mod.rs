//! The offline judge: reads a data directory without a server, or beside a running one, and says whether every byte of
//! every log is what was written.
//!
//! It shares nothing with the log's engine but the definitions of an entry and of a link: the judge and the engine are
//! two readings of one page (`docs/format.md`), so that a mistake in one shows in the other. It takes no lock, writes
//! nothing, and holds no more than one segment's event ids in memory.
//!
//! What a chain cannot show, the judge cannot see: a log that was cut at an entry's end, or rewritten from some entry
//! on by someone who recomputed everything behind it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::disk::{Disk, Open};
use crate::log::Damage;
use crate::types::{LedgerName, LedgerUid, Link, Position};

mod chain;
mod close;
mod findings;
mod footer;
pub(crate) mod frame;
mod header;
mod ledger;
pub(crate) mod names;
mod published;
mod resync;
pub(crate) mod source;
#[cfg(test)]
pub(crate) mod tests;
mod torn;
pub(crate) mod walk;

/// Who watches, and waits.
pub trait Progress {
    /// `done` of `total` bytes have been read. `total` grows where a server writes meanwhile.
    fn bytes(&self, done: u64, total: u64);

    /// Lets a server finish what it is writing before the same place is read again. False where it is known that no
    /// server is writing: then nothing is read again.
    fn wait(&self, pause: Duration) -> bool {
        std::thread::sleep(pause);
        true
    }
}

/// Nobody watches.
impl Progress for () {
    fn bytes(&self, _done: u64, _total: u64) {}
}

/// The judgement of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One for each ledger, by name. A directory below `ledgers` whose name no ledger can have is listed too, with the
    /// name as its damage.
    pub ledgers: Vec<LedgerReport>,
    /// Names in the data directory that are none of the product's. They harm no log.
    pub strangers: Vec<String>,
}

impl Report {
    /// Whether no ledger is damaged. A torn tail is no damage: a crash leaves one, and the next start repairs it.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.ledgers.iter().all(LedgerReport::ok)
    }
}

/// The judgement of one ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerReport {
    /// The ledger's name.
    pub ledger: String,
    /// Its identity; `None` where there is no entry yet.
    pub uid: Option<LedgerUid>,
    /// How many entries there are, which is also the position of the next one. Damaged ones count.
    pub entries: Position,
    /// The link of the last entry that can be read, recomputed; zeros where there is none.
    pub head: Link,
    /// Bytes that a repair would cut: from the first entry that a crash has torn, or of the batch that it left
    /// incomplete, to the last byte that is not zero.
    pub torn_bytes: u64,
    /// The first position that a repair would give up.
    pub torn_from: Option<Position>,
    /// How many entries the server last said were durable. More than `entries` means that the log has lost entries
    /// that were acknowledged, or that the file `tail` is older than a repair; the log's files alone cannot tell.
    pub published: Option<Position>,
    /// Every damage, in the order of the files.
    pub damage: Vec<Damage>,
    /// Further damages, beyond the 100,000 that are listed.
    pub damage_unlisted: u64,
}

impl LedgerReport {
    /// Whether there is no damage.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.damage.is_empty() && self.damage_unlisted == 0
    }
}

/// Judges every ledger below `data_dir`.
///
/// Damage is no error: it is in the report, whatever it is, and never ends the reading. Beside a running server, what
/// fails behind the tail that it has published is read again for up to a second before it is judged.
///
/// # Errors
/// Where the directory of the ledgers cannot be listed. A ledger or a segment that cannot be read is damage.
pub fn verify(disk: &dyn Disk, data_dir: &Path, progress: &dyn Progress) -> io::Result<Report> {
    let dir = data_dir.join("ledgers");
    let names = disk.list(&dir)?;
    let meter = Meter::new(progress);
    for name in &names {
        meter.expect(log_bytes(disk, &dir.join(name)));
    }
    let mut ledgers = Vec::new();
    for name in names {
        ledgers.push(match name.parse::<LedgerName>() {
            Ok(_) => ledger::judge(disk, &dir.join(&name), &name, &meter)
                .unwrap_or_else(|e| unread(name, format!("its directories cannot be listed: {e}"))),
            Err(rule) => unread(name, rule.to_string()),
        });
    }
    Ok(Report { ledgers, strangers: names::strangers_in_data(disk, data_dir)? })
}

/// The bytes of a ledger's segments, as far as they can be known: only for the progress.
fn log_bytes(disk: &dyn Disk, ledger: &Path) -> u64 {
    let segments = names::segments(disk, ledger).unwrap_or_default();
    let paths = segments.iter().map(|segment| ledger.join(&*segment.file));
    paths.map(|path| disk.open(&path, Open::Read).and_then(|file| file.len()).unwrap_or(0)).sum()
}

/// The report on what stands among the ledgers and cannot be read as one.
fn unread(name: String, reason: String) -> LedgerReport {
    let damage = Damage { position: Position(0), file: ".".to_owned(), offset: 0, reason };
    LedgerReport {
        ledger: name,
        uid: None,
        entries: Position(0),
        head: Link::default(),
        torn_bytes: 0,
        torn_from: None,
        published: None,
        damage: vec![damage],
        damage_unlisted: 0,
    }
}

/// Adds up what has been read, over all files.
pub(crate) struct Meter<'a> {
    progress: &'a dyn Progress,
    finished: AtomicU64,
    here: AtomicU64,
    total: AtomicU64,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, finished: AtomicU64::new(0), here: AtomicU64::new(0), total: AtomicU64::new(0) }
    }

    fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The file that is being read has been read up to `offset`, be it for the first time or again.
    fn reached(&self, offset: u64) {
        let here = self.here.fetch_max(offset, Ordering::Relaxed).max(offset);
        let done = self.finished.load(Ordering::Relaxed) + here;
        let total = self.total.fetch_max(done, Ordering::Relaxed).max(done);
        self.progress.bytes(done, total);
    }

    /// The file that was being read is done with.
    fn finished(&self) {
        let here = self.here.swap(0, Ordering::Relaxed);
        self.finished.fetch_add(here, Ordering::Relaxed);
    }
}
