//! The writer's state in a file of its own, so that a start need not fold the whole log. Disposable: whatever is
//! doubtful is passed over, and the log folded instead.
//!
//! ```text
//! offset  size  field
//!      0     8  "TKLSNAP1"
//!      8     4  version of the payload's form, 2
//!     12    16  ledger UID
//!     28     8  the position that comes next
//!     36    32  link of the last entry folded in
//!     68    32  state root
//!    100     n  payload: the state
//!  100+n    32  BLAKE3 of everything before
//! ```
//!
//! A snapshot is written and read as a stream: the state is never in memory a second time.

mod stream;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stream::{Input, Out};

use crate::disk::{Disk, DiskFile, Open};
use crate::log::Tail;
use crate::state::{Frozen, State};
use crate::types::{LedgerUid, Link, Position, StateRoot};

const MAGIC: &[u8; 8] = b"TKLSNAP1";
const VERSION: u32 = 2;
const HASH_BYTES: usize = 32;
/// A snapshot is taken after no fewer entries than this.
const ENTRIES_MIN: u64 = 100_000;
/// For so many bytes of the last snapshot one entry passes before the next, so that what snapshots cost an entry stays
/// the same however large the state is. A token takes as many.
const BYTES_PER_ENTRY: u64 = 64;
/// How many snapshots are kept: the newest, and one in case it is damaged.
const KEPT: usize = 2;

/// A snapshot that was read.
#[derive(Debug)]
pub struct Snapshot {
    /// The state.
    pub state: State,
    /// The ledger that it is of.
    pub uid: LedgerUid,
    /// The link of the last entry folded in: the caller compares it with the log.
    pub link: Link,
    /// The root of the state when it was written.
    pub root: StateRoot,
}

fn name(next: Position) -> String {
    format!("{:020}.snap", next.0)
}

/// How many entries should pass before the next snapshot, when the last one took so many bytes.
#[must_use]
pub fn entries_between(bytes: u64) -> u64 {
    ENTRIES_MIN.max(bytes / BYTES_PER_ENTRY)
}

/// Writes a snapshot of `state`, which is the fold of a log that ends at `tail`, and removes those before the last.
/// Returns how many bytes it took.
///
/// # Errors
/// As the disk says; an earlier snapshot is still there then.
pub fn write(disk: &dyn Disk, dir: &Path, state: &Frozen, tail: &Tail) -> io::Result<u64> {
    disk.make_dir(dir)?;
    let temporary = dir.join("next.tmp");
    match disk.remove(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let bytes = fill(disk.open(&temporary, Open::New)?, state, tail)?;
    disk.rename(&temporary, &dir.join(name(state.next())))?;
    disk.sync_dir(dir)?;
    remove_old(disk, dir)?;
    Ok(bytes)
}

fn fill(file: Arc<dyn DiskFile>, state: &Frozen, tail: &Tail) -> io::Result<u64> {
    let mut out = Out::new(file);
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&tail.uid.0)?;
    out.write_all(&state.next().0.to_le_bytes())?;
    out.write_all(&tail.link.0)?;
    out.write_all(&state.root().0)?;
    state.write(&mut out)?;
    out.finish()
}

fn snapshots(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let names = disk.list(dir)?;
    Ok(names.into_iter().filter(|n| n.ends_with(".snap")).map(|n| dir.join(n)).collect())
}

fn remove_old(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let files = snapshots(disk, dir)?;
    let old = files.len().saturating_sub(KEPT);
    files[..old].iter().try_for_each(|file| disk.remove(file))
}

/// The newest snapshots first. One that is damaged, of another version or not to be read is passed over.
pub fn newest_first<'a>(disk: &'a dyn Disk, dir: &Path) -> impl Iterator<Item = Snapshot> + 'a {
    let files = snapshots(disk, dir).unwrap_or_default();
    files.into_iter().rev().filter_map(move |file| read(disk, &file))
}

fn read(disk: &dyn Disk, path: &Path) -> Option<Snapshot> {
    let mut input = Input::new(disk.open(path, Open::Read).ok()?).ok()?;
    let snapshot = parse(&mut input).ok()??;
    input.ends_whole().ok()?.then_some(snapshot)
}

fn parse(input: &mut Input) -> io::Result<Option<Snapshot>> {
    if input.array()? != *MAGIC || u32::from_le_bytes(input.array()?) != VERSION {
        return Ok(None);
    }
    let uid = LedgerUid(input.array()?);
    let next = Position(u64::from_le_bytes(input.array()?));
    let (link, root) = (Link(input.array()?), StateRoot(input.array()?));
    let state = State::read(input)?;
    Ok((state.next() == next).then_some(Snapshot { state, uid, link, root }))
}

/// The state of a log, as far as it can be read.
#[derive(Debug)]
pub struct Recovered {
    /// The fold of every entry before [`Tail::next`] of `tail`.
    pub state: State,
    /// The end that the state belongs to.
    pub tail: Tail,
    /// Why that is not the end of the log, if it is not.
    pub unreadable: Option<crate::log::ReadError>,
}

/// The state of a log: from the newest snapshot that fits it, and the entries behind that; or from its beginning.
#[must_use]
pub fn recover(disk: &dyn Disk, dir: &Path, log: &dyn crate::log::LogStore) -> Recovered {
    let end = log.tail();
    let start = newest_first(disk, dir).find(|s| fits(s, log, &end));
    let (mut state, mut link) = start.map(|s| (s.state, s.link)).unwrap_or_default();
    let read = crate::replay::replay(log, state.next(), end.next, |record, recorded| {
        state.apply(&recorded);
        link = record.link;
        true
    });
    let tail = Tail { next: state.next(), link, ..end };
    Recovered { state, tail, unreadable: read.err() }
}

/// Whether a snapshot is of this log: the entry that it ends with has the link that it says.
fn fits(snapshot: &Snapshot, log: &dyn crate::log::LogStore, tail: &Tail) -> bool {
    let next = snapshot.state.next();
    if snapshot.uid != tail.uid || next > tail.next || next == Position(0) {
        return false;
    }
    let last = Position(next.0 - 1);
    log.read(last, 1).is_ok_and(|records| records.first().is_some_and(|r| r.link == snapshot.link))
}

#[cfg(test)]
mod tests;
