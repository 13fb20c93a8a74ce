//! What readers see: the durable end, and where in which file every entry before it stands.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, Open};
use crate::tree::Frontier;
use crate::types::{LedgerUid, Position};

use super::index::Index;
use super::packed::Blocks;
use super::segment::log_dir;
use super::{Damage, Tail};

/// A segment that is not written any more.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) name: String,
    pub(crate) uid: LedgerUid,
    pub(crate) first: Position,
    /// The position behind its last entry.
    pub(crate) next: Position,
    /// The offset behind its last frame; where it is packed, before that.
    pub(crate) end: u64,
    /// Where frames stand; empty where it is packed.
    pub(crate) strides: Vec<(Position, u64)>,
    /// Where its footer stands; `None` where that is damaged.
    pub(crate) footer: Option<u64>,
    /// Where its blocks stand, if it is packed.
    pub(crate) blocks: Option<Blocks>,
    /// The tree over all entries up to its last, where its footer says so.
    pub(crate) tree: Option<Frontier>,
}

impl Sealed {
    /// Whether it is as it was written: not packed, and with a sound footer.
    pub(crate) fn is_plain(&self) -> bool {
        self.blocks.is_none() && self.footer.is_some()
    }
}

/// The segment that is being written, as far as it is durable.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) name: String,
    pub(crate) uid: LedgerUid,
    /// Bytes of the file.
    pub(crate) capacity: u64,
    pub(crate) index: Index,
}

impl OpenSegment {
    /// The same segment, closed; `footer` is where its footer stands.
    pub(crate) fn seal(self, footer: Option<u64>) -> Sealed {
        Sealed {
            name: self.name,
            uid: self.uid,
            first: self.index.first,
            next: self.index.end.next,
            end: self.index.end.offset,
            strides: self.index.strides,
            footer,
            blocks: None,
            tree: self.index.tree,
        }
    }
}

/// All of it, at one moment.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) tail: Tail,
    pub(crate) sealed: Vec<Arc<Sealed>>,
    pub(crate) open: Option<OpenSegment>,
    /// What was found damaged when the log was opened.
    pub(crate) damage: Vec<Damage>,
    /// The files among them that do not belong to the log.
    pub(crate) unknown: Vec<String>,
}

/// Where to begin reading for a position, and how far one may go in that file.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) uid: LedgerUid,
    /// The nearest frame at or before the position, and its offset.
    pub(crate) start: (Position, u64),
    /// The first position that is not to be read, and the offset behind the last frame.
    pub(crate) end: (Position, u64),
    /// The segment, if it is packed; then the offsets above mean nothing.
    pub(crate) packed: Option<Arc<Sealed>>,
}

/// The tree over the entries before a position at which a segment begins or will begin, where it is known.
pub(crate) fn tree_before(sealed: &[Arc<Sealed>], position: Position) -> Option<Frontier> {
    if position == Position(0) {
        return Some(Frontier::default());
    }
    let before = sealed.iter().rev().find(|sealed| sealed.next <= position)?;
    before.tree.clone().filter(|tree| tree.size() == position.0)
}

fn nearest(strides: &[(Position, u64)], position: Position) -> Option<(Position, u64)> {
    let behind = strides.partition_point(|(p, _)| *p <= position);
    strides.get(behind.checked_sub(1)?).copied()
}

impl View {
    /// The sealed segments before the newest `keep`, and never the last segment of the log: at a start that one is judged
    /// as one that was being written.
    pub(crate) fn cold(&self, keep: usize) -> &[Arc<Sealed>] {
        let keep = keep.max(usize::from(self.open.is_none()));
        &self.sealed[..self.sealed.len().saturating_sub(keep)]
    }

    /// Whether damage touches no entry: a file that should not be there.
    pub(crate) fn is_beside_entries(&self, damage: &Damage) -> bool {
        self.unknown.contains(&damage.file)
    }

    /// See [`tree_before`].
    pub(crate) fn tree_before(&self, position: Position) -> Option<Frontier> {
        tree_before(&self.sealed, position)
    }

    /// Where a position stands; `None` where no segment holds it.
    pub(crate) fn span(&self, position: Position) -> Option<Span> {
        if let Some(open) = self.open.as_ref().filter(|o| o.index.first <= position) {
            let end = (open.index.end.next, open.index.end.offset);
            let start = nearest(&open.index.strides, position)?;
            return (position < end.0).then(|| Span {
                name: open.name.clone(),
                uid: open.uid,
                start,
                end,
                packed: None,
            });
        }
        let behind = self.sealed.partition_point(|s| s.first <= position);
        let sealed = self.sealed.get(behind.checked_sub(1)?)?;
        let packed = sealed.blocks.is_some().then(|| Arc::clone(sealed));
        let start = if packed.is_some() { (sealed.first, 0) } else { nearest(&sealed.strides, position)? };
        let (name, end) = (sealed.name.clone(), (sealed.next, sealed.end));
        (position < sealed.next).then_some(Span { name, uid: sealed.uid, start, end, packed })
    }
}

/// The most files that are kept open for reading.
const HANDLES_MAX: usize = 16;

/// Files open for reading, the latest used last.
#[derive(Default)]
pub(crate) struct Handles(Mutex<Vec<(String, Arc<dyn DiskFile>)>>);

impl Handles {
    /// Held from looking up where a segment's entries stand until its file is open, and while a file takes another's
    /// name: so nobody reads a file by the description of another. Taken before the view, where both are.
    pub(crate) fn lock(&self) -> OpenFiles<'_> {
        OpenFiles(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets a file whose name now means another.
    pub(crate) fn forget(&self, name: &str) {
        self.lock().forget(name);
    }
}

/// The files that are open for reading, while nobody else opens one.
pub(crate) struct OpenFiles<'a>(MutexGuard<'a, Vec<(String, Arc<dyn DiskFile>)>>);

impl OpenFiles<'_> {
    /// The file of a segment.
    pub(crate) fn get(
        &mut self,
        disk: &dyn Disk,
        ledger_dir: &Path,
        name: &str,
    ) -> std::io::Result<Arc<dyn DiskFile>> {
        let handles = &mut self.0;
        let handle = match handles.iter().position(|(n, _)| n == name) {
            Some(at) => handles.remove(at),
            None => (name.to_owned(), disk.open(&log_dir(ledger_dir).join(name), Open::Read)?),
        };
        let file = Arc::clone(&handle.1);
        if handles.len() >= HANDLES_MAX {
            handles.remove(0);
        }
        handles.push(handle);
        Ok(file)
    }

    /// Forgets a file whose name now means another.
    pub(crate) fn forget(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name);
    }
}
