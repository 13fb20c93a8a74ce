//! The offline judge: reads a data directory without a server, or beside a running one, and says whether every byte of
//! every log is what was written.
//!
//! It shares nothing with the log's engine but the definitions of an entry, of a link and of a hash in the tree: the judge and the engine are
//! two readings of one page (`docs/format.md`), so that a mistake in one shows in the other. It takes no lock, writes
//! nothing, and holds no more in memory than a piece of the log for each thread, and one segment's event ids.
//!
//! Nearly every log is sound, and that a segment is sound can be found out fast, a piece on each thread (`pieces`,
//! `sound`, `join`, `crew`). Where it is not, or where there is any doubt, the segment is read again from its first byte
//! to its last by one that can say what is wrong, and where (`walk`): all findings are the walk's.
//!
//! What the files of a log cannot show, the judge sees only by what is known beside them (`known`): that a log was cut at
//! an entry's end, or rewritten from some entry on by someone who recomputed everything behind it. For that, the tree's
//! root is noted where a known checkpoint has one, and hashes of the stored tree are compared on the way (`sought`,
//! `stored`).

use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use crate::disk::{Disk, Open};
use crate::log::Damage;
use crate::tree::Hash;
use crate::types::{LedgerName, LedgerUid, Link, Position};

mod chain;
mod close;
mod crew;
mod effort;
mod entries;
mod findings;
mod footer;
pub(crate) mod frame;
mod header;
mod join;
mod known;
mod ledger;
mod meter;
pub(crate) mod names;
pub(crate) mod packed;
mod pieces;
mod published;
mod resync;
mod seal;
mod sought;
mod sound;
pub(crate) mod source;
mod stored;
#[cfg(test)]
pub(crate) mod tests;
mod torn;
mod tree;
pub(crate) mod walk;

use effort::Effort;
pub use entries::{NotRead, each_entry};
pub use known::{CheckpointReport, Evidence, Signature, Source};
pub(crate) use meter::{Meter, Reached};

/// Who watches, and waits.
pub trait Progress: Sync {
    /// `done` of `total` bytes have been read. Called by one thread at a time, and `done` never falls. `total` grows
    /// where a server writes meanwhile.
    fn bytes(&self, done: u64, total: u64);

    /// Lets a server finish what it is writing before the same place is read again. False where it is known that no
    /// server is writing: then nothing is read again.
    fn wait(&self, pause: Duration) -> bool {
        std::thread::sleep(pause);
        true
    }

    /// Whether anybody still wants to know. Where not, the reading ends soon, and what it says means nothing.
    fn goes_on(&self) -> bool {
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
    /// Whether no ledger is damaged, and none contradicts what is known of it. A torn tail is no damage: a crash leaves one, and the next start repairs it.
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
    /// The root of the tree over the entries, recomputed; `None` where one of them cannot be read.
    pub tree: Option<Hash>,
    /// One for each checkpoint that is known of it.
    pub checkpoints: Vec<CheckpointReport>,
}

impl LedgerReport {
    /// Whether there is no damage, and nothing that is known speaks against it.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.damage.is_empty()
            && self.damage_unlisted == 0
            && self.checkpoints.iter().all(CheckpointReport::ok)
    }
}

/// Judges every ledger below `data_dir`, on one thread. See [`verify_on`].
///
/// # Errors
/// As [`verify_on`].
pub fn verify(disk: &dyn Disk, data_dir: &Path, progress: &dyn Progress) -> io::Result<Report> {
    verify_on(disk, data_dir, NonZeroUsize::MIN, &Evidence::default(), progress)
}

/// Judges every ledger below `data_dir`, on so many threads, also by what is known of them beside their files. The report
/// does not depend on the number of threads.
///
/// Damage is no error: it is in the report, whatever it is, and never ends the reading. Beside a running server, what
/// fails behind the tail that it has published is read again for up to a second before it is judged.
///
/// # Errors
/// Where the directory of the ledgers cannot be listed. A ledger or a segment that cannot be read is damage.
pub fn verify_on(
    disk: &dyn Disk,
    data_dir: &Path,
    threads: NonZeroUsize,
    evidence: &Evidence,
    progress: &dyn Progress,
) -> io::Result<Report> {
    judge_all(disk, data_dir, &Effort::of(threads), evidence, progress)
}

/// Judges one ledger below `data_dir`, on one thread, as [`verify`] judges all of them.
///
/// # Errors
/// Where its directories cannot be listed; `Interrupted` where [`Progress::goes_on`] said that nobody wants to know.
pub fn verify_ledger(
    disk: &dyn Disk,
    data_dir: &Path,
    ledger: &LedgerName,
    evidence: &Evidence,
    progress: &dyn Progress,
) -> io::Result<LedgerReport> {
    let (effort, meter) = (Effort::of(NonZeroUsize::MIN), Meter::new(progress));
    let dir = data_dir.join("ledgers").join(ledger.as_str());
    meter.expect(log_bytes(disk, &dir));
    let report = ledger::judge(disk, &dir, ledger, &effort, &meter, evidence)?;
    if progress.goes_on() { Ok(report) } else { Err(io::ErrorKind::Interrupted.into()) }
}

fn judge_all(
    disk: &dyn Disk,
    data_dir: &Path,
    effort: &Effort,
    evidence: &Evidence,
    progress: &dyn Progress,
) -> io::Result<Report> {
    let dir = data_dir.join("ledgers");
    let meter = Meter::new(progress);
    let mut bytes = Vec::new();
    for name in disk.list(&dir)? {
        let in_log = log_bytes(disk, &dir.join(&name));
        meter.expect(in_log);
        bytes.push((name, in_log));
    }
    let judge = |name: &String, effort: &Effort| judge_one(disk, &dir, name, effort, &meter, evidence);
    let mut ledgers = effort.share(&bytes, &judge);
    ledgers.extend(absent(evidence, &ledgers));
    ledgers.sort_by(|a, b| a.ledger.cmp(&b.ledger));
    Ok(Report { ledgers, strangers: names::strangers_in_data(disk, data_dir)? })
}

/// Ledgers of which something is known, and which are not there: a directory from before they were.
fn absent(evidence: &Evidence, ledgers: &[LedgerReport]) -> Vec<LedgerReport> {
    let there: BTreeSet<&str> = ledgers.iter().map(|report| report.ledger.as_str()).collect();
    let known: BTreeSet<&str> = evidence.ledgers().map(LedgerName::as_str).collect();
    let reason = "there is no such ledger in the directory, though a checkpoint or a key of it was given";
    known.difference(&there).map(|name| unread(name, reason.to_owned())).collect()
}

fn judge_one(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    effort: &Effort,
    meter: &Meter<'_>,
    evidence: &Evidence,
) -> LedgerReport {
    match name.parse::<LedgerName>() {
        Ok(ledger) => ledger::judge(disk, &dir.join(name), &ledger, effort, meter, evidence)
            .unwrap_or_else(|e| unread(name, format!("its directories cannot be listed: {e}"))),
        Err(rule) => unread(name, rule.to_string()),
    }
}

/// The bytes of a ledger's segments, as far as they can be known: only for the progress.
fn log_bytes(disk: &dyn Disk, ledger: &Path) -> u64 {
    let segments = names::segments(disk, ledger).unwrap_or_default();
    let paths = segments.iter().map(|segment| ledger.join(&*segment.file));
    paths.map(|path| disk.open(&path, Open::Read).and_then(|file| file.len()).unwrap_or(0)).sum()
}

/// The report on what stands among the ledgers and cannot be read as one.
fn unread(name: &str, reason: String) -> LedgerReport {
    let damage = Damage { position: Position(0), file: ".".to_owned(), offset: 0, reason };
    LedgerReport {
        ledger: name.to_owned(),
        uid: None,
        entries: Position(0),
        head: Link::default(),
        torn_bytes: 0,
        torn_from: None,
        published: None,
        damage: vec![damage],
        damage_unlisted: 0,
        tree: None,
        checkpoints: Vec::new(),
    }
}
