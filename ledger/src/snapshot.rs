//! The writer's state in a file of its own, so that a start need not fold the whole log. Disposable: whatever is
//! doubtful is passed over, and the log folded instead.
//!
//! ```text
//! offset  size  field
//!      0     8  "TKLSNAP1"
//!      8     4  version of the payload's form, 1
//!     12    16  ledger UID
//!     28     8  the position that comes next
//!     36    32  link of the last entry folded in
//!     68    32  state root
//!    100     8  bytes of the payload, n
//!    108     n  payload (postcard)
//!  108+n    32  BLAKE3 of everything before
//! ```

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Open};
use crate::log::Tail;
use crate::state::State;
use crate::types::{LedgerUid, Link, Position, StateRoot};

const MAGIC: &[u8; 8] = b"TKLSNAP1";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 108;
const HASH_BYTES: usize = 32;
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

/// Writes a snapshot of `state`, which is the fold of a log that ends at `tail`, and removes those before the last.
///
/// # Errors
/// As the disk says; an earlier snapshot is still there then.
pub fn write(disk: &dyn Disk, dir: &Path, state: &State, tail: &Tail) -> io::Result<()> {
    disk.make_dir(dir)?;
    let payload = postcard::to_stdvec(state).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len() + HASH_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&tail.uid.0);
    bytes.extend_from_slice(&state.next().0.to_le_bytes());
    bytes.extend_from_slice(&tail.link.0);
    bytes.extend_from_slice(&state.root().0);
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&payload);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    replace(disk, dir, &name(state.next()), &bytes)?;
    remove_old(disk, dir)
}

/// Writes a file so that either all of it is there under its name, or nothing.
fn replace(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join("next.tmp");
    match disk.remove(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = disk.open(&temporary, Open::New)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&temporary, &dir.join(name))?;
    disk.sync_dir(dir)
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
    let file = disk.open(path, Open::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().ok()?).ok()?];
    let read = file.read_at(&mut bytes, 0).ok()?;
    if read != bytes.len() {
        return None;
    }
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Option<Snapshot> {
    let (content, hash) = bytes.split_last_chunk::<HASH_BYTES>()?;
    if blake3::hash(content).as_bytes() != hash {
        return None;
    }
    let rest = content.strip_prefix(MAGIC)?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let (uid, rest) = rest.split_first_chunk::<16>()?;
    let (next, rest) = rest.split_first_chunk::<8>()?;
    let (link, rest) = rest.split_first_chunk::<32>()?;
    let (root, rest) = rest.split_first_chunk::<32>()?;
    let (length, payload) = rest.split_first_chunk::<8>()?;
    if u32::from_le_bytes(*version) != VERSION || u64::from_le_bytes(*length) != payload.len() as u64 {
        return None;
    }
    let state: State = postcard::from_bytes(payload).ok()?;
    (state.next() == Position(u64::from_le_bytes(*next))).then_some(Snapshot {
        state,
        uid: LedgerUid(*uid),
        link: Link(*link),
        root: StateRoot(*root),
    })
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
