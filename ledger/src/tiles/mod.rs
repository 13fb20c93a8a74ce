//! The hashes of a log's tree on the disk, for proofs and tiles: one file for each eighth height, so that 256 hashes of
//! one are a hash of the next, and any of them is found by its number. All of it follows from the log: what is missing or
//! doubtful is made anew.
//!
//! Also the form in which others get them, C2SP's `tlog-tiles`: names (`path`), entry bundles (`bundle`), all of a log's
//! tiles one after the other (`tiler`), and single ones that are held against a root (`sound`).

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tlog_tiles::tlog;

use crate::disk::{Disk, DiskFile, Open};
use crate::entry::Record;
use crate::log::{LogStore, ReadError};
use crate::tree::{Frontier, Hash, TreeHead, check_consistency, check_inclusion, node};
use crate::types::Position;

mod bundle;
mod path;
mod sound;
mod tiler;

pub use bundle::{BUNDLE_BYTES_MAX, BadBundle, entries, push_entry};
pub use path::{Content, NoTile, TilePath, WIDTH};
pub use tiler::Tiler;

/// A hash of a level covers 256 of the level below.
const LEVEL_HEIGHT: u32 = 8;
const HASH_BYTES: u64 = 32;
/// So many hashes of a level are gathered before they are written.
const FLUSH: usize = 2_048;
/// Where the disk takes none, so many are kept at most.
const KEPT_MAX: usize = 32 * FLUSH;
/// So much of the log is read at a time.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// Why the tree does not answer.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// It has no such leaf, or was never so large.
    #[error("the tree has {size} leaves; there is nothing at {asked}")]
    Beyond {
        /// How many leaves it has now.
        size: u64,
        /// What was asked for.
        asked: u64,
    },
    /// What was stored of it does not lead to its root. It is made anew from the log.
    #[error("the stored tree is doubtful and is made anew; ask again")]
    Doubtful,
    /// The disk failed.
    #[error("the tree can't be read: {0}")]
    Io(#[from] io::Error),
    /// The log could not be read.
    #[error("the tree can't be made from the log: {0}")]
    Log(#[from] ReadError),
    /// The log was read again, and is another one.
    #[error(
        "of the first {size} entries one at least is not what it was when it was recorded: somebody has changed the files of the log; `tokenledger verify` says where"
    )]
    Rewritten {
        /// How many leaves the tree had.
        size: u64,
    },
}

/// The tree of one log. One feeds it, any number ask.
pub struct TreeStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    frontier: Frontier,
    levels: Vec<Level>,
    /// What is stored is not to be used, and nothing is added to it.
    doubtful: bool,
    /// What the tree was when what is stored of it became doubtful. That it was computed from what was recorded, so the log
    /// must lead there again.
    must: Option<TreeHead>,
    /// The log did not lead there.
    rewritten: bool,
}

#[derive(Clone, Default)]
struct Level {
    file: Option<Arc<dyn DiskFile>>,
    /// How many hashes the file has.
    written: u64,
    /// Those behind them.
    recent: Vec<Hash>,
}

impl Level {
    fn hashes(&self, first: u64, count: u64) -> io::Result<Vec<Hash>> {
        let in_file = self.written.saturating_sub(first).min(count);
        let mut hashes = read_hashes(self.file.as_deref(), first, in_file)?;
        let from = usize::try_from((first + in_file).saturating_sub(self.written)).unwrap_or(usize::MAX);
        let rest = usize::try_from(count - in_file).unwrap_or(usize::MAX);
        let recent = self.recent.get(from..from.saturating_add(rest)).ok_or(io::ErrorKind::UnexpectedEof)?;
        hashes.extend_from_slice(recent);
        Ok(hashes)
    }
}

fn read_hashes(file: Option<&dyn DiskFile>, first: u64, count: u64) -> io::Result<Vec<Hash>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let file = file.ok_or(io::ErrorKind::NotFound)?;
    let mut bytes = vec![0; usize::try_from(count * HASH_BYTES).map_err(|_| io::ErrorKind::OutOfMemory)?];
    let read = file.read_at(&mut bytes, first * HASH_BYTES)?;
    if read < bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.as_chunks::<32>().0.to_vec())
}

/// The root over 2^n hashes.
fn fold(mut hashes: Vec<Hash>) -> Option<Hash> {
    while hashes.len() > 1 {
        hashes = hashes.as_chunks::<2>().0.iter().map(|[left, right]| node(left, right)).collect();
    }
    hashes.pop()
}

impl TreeStore {
    /// Opens what is stored of a tree in `dir`, as far as it agrees with the newest possible of the `trusted` frontiers,
    /// which are in ascending order. It is empty where there is none.
    #[must_use]
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, trusted: &[Frontier]) -> Self {
        let store = Self { disk, dir: dir.to_owned(), inner: RwLock::default() };
        store.adopt(trusted);
        store
    }

    fn adopt(&self, trusted: &[Frontier]) {
        let files: Vec<_> =
            (0..).map_while(|level| self.disk.open(&self.path(level), Open::Write).ok()).collect();
        let adopted = trusted.iter().rev().find_map(|frontier| Inner::holding(&files, frontier));
        let mut inner = self.write();
        let must = inner.must;
        *inner = Inner { must, ..adopted.unwrap_or_default() };
    }

    fn path(&self, level: usize) -> PathBuf {
        self.dir.join(format!("level-{level}"))
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many leaves it has, and the root over them.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        self.read().frontier.head()
    }

    /// What is stored is known to be wrong: it is made anew with the next [`TreeStore::catch_up`].
    pub fn distrust(&self) {
        self.write().doubt();
    }

    /// Adds the hashes of leaves of which the first stands at `first`. What it has already is passed over; where leaves
    /// before them are missing, so are these, until [`TreeStore::catch_up`].
    pub fn extend(&self, first: u64, leaves: &[Hash]) {
        let mut inner = self.write();
        let known = inner.frontier.size().checked_sub(first).and_then(|known| usize::try_from(known).ok());
        let Some(new) = known.and_then(|known| leaves.get(known..)).filter(|_| !inner.doubtful) else {
            return;
        };
        for leaf in new {
            inner.push(*leaf);
            if inner.must.is_some() && !inner.leads_there() {
                return;
            }
        }
        // A disk that takes nothing now may do so later; what is kept until then is bounded.
        if self.flush_levels(&mut inner, FLUSH).is_err()
            && inner.levels.iter().any(|level| level.recent.len() > KEPT_MAX)
        {
            inner.doubt();
        }
    }

    /// Writes what was gathered. It is not synced: what a crash takes is made anew.
    ///
    /// # Errors
    /// As the disk says.
    pub fn flush(&self) -> io::Result<()> {
        self.flush_levels(&mut self.write(), 1)
    }

    fn flush_levels(&self, inner: &mut Inner, least: usize) -> io::Result<()> {
        for (number, level) in
            inner.levels.iter_mut().enumerate().filter(|(_, level)| level.recent.len() >= least)
        {
            let file = match &level.file {
                Some(file) => Arc::clone(file),
                None => {
                    self.disk.make_dir(&self.dir)?;
                    let path = self.path(number);
                    self.disk.open(&path, Open::Write).or_else(|_| self.disk.open(&path, Open::New))?
                }
            };
            file.write_at(&level.recent.concat(), level.written * HASH_BYTES)?;
            level.file = Some(file);
            level.written += level.recent.len() as u64;
            level.recent = Vec::new();
        }
        Ok(())
    }

    /// Neither what is stored nor the frontier that it was opened with is used any more: the next [`TreeStore::catch_up`]
    /// makes it anew from the log, whatever that leads to. For whoever knows what it must lead to.
    pub fn forget(&self) {
        let mut inner = self.write();
        (inner.doubtful, inner.must) = (true, None);
    }

    /// Adds what the log has and this has not. Where what is stored is doubtful, it is made anew first; the log must then
    /// lead to what the tree was before.
    ///
    /// # Errors
    /// [`TreeError::Log`], or [`TreeError::Rewritten`], which does not pass while this lives.
    pub fn catch_up(&self, log: &(impl LogStore + ?Sized)) -> Result<(), TreeError> {
        if self.read().doubtful && !self.read().rewritten {
            self.adopt(&[]);
        }
        loop {
            let (size, doubtful) = {
                let inner = self.read();
                if inner.rewritten {
                    return Err(TreeError::Rewritten { size: inner.frontier.size() });
                }
                (inner.frontier.size(), inner.doubtful)
            };
            if size >= log.tail().next.0 || doubtful {
                return Ok(());
            }
            let records = log.read(Position(size), READ_BYTES)?;
            if records.is_empty() {
                return Ok(());
            }
            let leaves: Vec<Hash> = records.iter().map(Record::leaf).collect();
            self.extend(size, &leaves);
        }
    }

    /// Asks this tree something. Where what is stored turns out to be doubtful, that is told, it is made anew from the log,
    /// and asked again.
    ///
    /// # Errors
    /// Those of `ask`, and of [`TreeStore::catch_up`].
    pub fn mended<T>(
        &self,
        log: &(impl LogStore + ?Sized),
        tell: impl FnOnce(),
        ask: impl Fn(&Self) -> Result<T, TreeError>,
    ) -> Result<T, TreeError> {
        match ask(self) {
            Err(TreeError::Doubtful) => {
                tell();
                self.catch_up(log)?;
                ask(self)
            }
            told => told,
        }
    }

    /// The hashes number `first` to `first + count` of a level: of leaves on level 0, of 256 hashes each of the level
    /// below on any other. A tile of C2SP's tlog-tiles are the up to 256 of them from a multiple of 256 on.
    ///
    /// # Errors
    /// See [`TreeError`].
    pub fn hashes(&self, level: usize, first: u64, count: u64) -> Result<Vec<Hash>, TreeError> {
        let inner = self.read();
        let size = inner.frontier.size();
        let beyond = TreeError::Beyond { size, asked: first.saturating_add(count) };
        if inner.doubtful {
            return Err(TreeError::Doubtful);
        }
        let Some(stored) = inner.levels.get(level) else { return Err(beyond) };
        if first.checked_add(count).is_none_or(|end| end > stored.written + stored.recent.len() as u64) {
            return Err(beyond);
        }
        Ok(stored.hashes(first, count)?)
    }

    /// The head that the tree had when it had so many leaves.
    ///
    /// # Errors
    /// See [`TreeError`].
    pub fn head_at(&self, size: u64) -> Result<TreeHead, TreeError> {
        Ok(self.consistency(size, &self.head())?.0)
    }

    /// The same, not held against what is known for sure.
    fn stored_head_at(&self, size: u64) -> Result<TreeHead, TreeError> {
        let reader = Reader::new(self);
        let root = reader.told(tlog::tree_hash(size, &reader))?;
        Ok(TreeHead { size, root: root.0 })
    }

    /// Proves that `tree`, which this tree was once or is, has the `leaf` at `place`.
    ///
    /// # Errors
    /// See [`TreeError`].
    pub fn inclusion(&self, tree: &TreeHead, place: u64, leaf: &Hash) -> Result<Vec<Hash>, TreeError> {
        self.within(tree.size)?;
        if place >= tree.size {
            return Err(TreeError::Beyond { size: tree.size, asked: place });
        }
        let reader = Reader::new(self);
        let proof = plain(reader.told(tlog::prove_record(tree.size, place, &reader))?);
        self.sound(check_inclusion(&proof, tree, place, leaf).is_ok(), proof)
    }

    /// Proves that `tree`, which this tree was once or is, goes on from what it was when it had `old` leaves: the head that
    /// it had then, and the proof.
    ///
    /// # Errors
    /// See [`TreeError`].
    pub fn consistency(&self, old: u64, tree: &TreeHead) -> Result<(TreeHead, Vec<Hash>), TreeError> {
        self.within(tree.size)?;
        if old > tree.size {
            return Err(TreeError::Beyond { size: tree.size, asked: old });
        }
        let old = self.stored_head_at(old)?;
        let mut proof = Vec::new();
        if old.size > 0 {
            let reader = Reader::new(self);
            proof = plain(reader.told(tlog::prove_tree(tree.size, old.size, &reader))?);
        }
        let proof = self.sound(check_consistency(&proof, &old, tree).is_ok(), proof)?;
        Ok((old, proof))
    }

    fn within(&self, asked: u64) -> Result<(), TreeError> {
        let size = self.read().frontier.size();
        if asked > size { Err(TreeError::Beyond { size, asked }) } else { Ok(()) }
    }

    /// A proof is given away only if it proves something; otherwise a stored hash is not what was written.
    fn sound(&self, sound: bool, proof: Vec<Hash>) -> Result<Vec<Hash>, TreeError> {
        if sound {
            return Ok(proof);
        }
        self.distrust();
        Err(TreeError::Doubtful)
    }

    /// The root of the subtree number `index` of a height, which the tree has whole.
    fn subtree(&self, height: u32, index: u64) -> Result<Hash, TreeError> {
        let level = (height / LEVEL_HEIGHT) as usize;
        let above = height % LEVEL_HEIGHT;
        let hashes = self.hashes(level, index << above, 1 << above)?;
        fold(hashes).ok_or(TreeError::Doubtful)
    }
}

impl Inner {
    /// What files hold of a tree, if they hold this frontier.
    fn holding(files: &[Arc<dyn DiskFile>], frontier: &Frontier) -> Option<Self> {
        let mut levels = Vec::new();
        for (number, shift) in (0..u64::BITS).step_by(LEVEL_HEIGHT as usize).enumerate() {
            let written = frontier.size() >> shift;
            if written == 0 {
                break;
            }
            let file = files.get(number)?;
            if file.len().ok()? < written * HASH_BYTES {
                return None;
            }
            levels.push(Level { file: Some(Arc::clone(file)), written, recent: Vec::new() });
        }
        let inner = Self { frontier: frontier.clone(), levels, ..Self::default() };
        let holds = |(height, index, root): (u32, u64, Hash)| {
            let level = inner.levels.get((height / LEVEL_HEIGHT) as usize)?;
            let above = height % LEVEL_HEIGHT;
            (fold(level.hashes(index << above, 1 << above).ok()?)? == root).then_some(())
        };
        frontier.subtrees().try_for_each(holds)?;
        Some(inner)
    }

    fn doubt(&mut self) {
        let known = self.frontier.head();
        if self.must.is_none_or(|must| must.size < known.size) {
            self.must = Some(known);
        }
        self.doubtful = true;
    }

    /// Whether the tree, made anew, is or may still become what it was.
    fn leads_there(&mut self) -> bool {
        if let Some(must) = self.must.filter(|must| must.size == self.frontier.size()) {
            self.rewritten = must != self.frontier.head();
            self.doubtful |= self.rewritten;
            self.must = None;
        }
        !self.rewritten
    }

    fn push(&mut self, leaf: Hash) {
        let Self { frontier, levels, .. } = self;
        let mut put = |level: usize, hash| {
            if levels.len() <= level {
                levels.resize_with(level + 1, Level::default);
            }
            if let Some(level) = levels.get_mut(level) {
                level.recent.push(hash);
            }
        };
        put(0, leaf);
        frontier.push_noting(leaf, |height, hash| {
            if height.is_multiple_of(LEVEL_HEIGHT) {
                put((height / LEVEL_HEIGHT) as usize, hash);
            }
        });
    }
}

fn plain(hashes: Vec<tlog::Hash>) -> Vec<Hash> {
    hashes.into_iter().map(|hash| hash.0).collect()
}

/// Reads for `tlog_tiles`, whose errors do not carry ours.
struct Reader<'a> {
    store: &'a TreeStore,
    error: RefCell<Option<TreeError>>,
}

impl<'a> Reader<'a> {
    fn new(store: &'a TreeStore) -> Self {
        Self { store, error: RefCell::default() }
    }

    fn told<T>(&self, result: Result<T, tlog::Error>) -> Result<T, TreeError> {
        result.map_err(|_| self.error.take().unwrap_or(TreeError::Doubtful))
    }

    /// The roots of subtrees, by the numbers that `tlog_tiles` gives them.
    fn read(
        &self,
        indexes: &[u64],
        subtree: impl Fn(u32, u64) -> Result<Hash, TreeError>,
    ) -> Result<Vec<tlog::Hash>, tlog::Error> {
        let subtree = |index: &u64| {
            let (height, number) = tlog::split_stored_hash_index(*index);
            subtree(height.into(), number).map(tlog::Hash)
        };
        indexes.iter().map(subtree).collect::<Result<_, _>>().map_err(|error| {
            self.error.replace(Some(error));
            tlog::Error::InvalidProof
        })
    }
}

impl tlog::HashReader for Reader<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        self.read(indexes, |height, number| self.store.subtree(height, number))
    }
}

#[cfg(test)]
mod tests;
