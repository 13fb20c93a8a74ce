//! The stored tree: files of hashes that proofs are made from, one for each eighth height. All of it follows from the
//! log, so nothing is amiss where hashes are missing; but each that stands there must be the one that the entries give.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::findings::DAMAGE_LISTED_MAX;
use crate::disk::{Disk, DiskFile, Open};
use crate::log::Damage;
use crate::tree::Hash;
use crate::types::Position;

/// A hash of one level covers 256 of the level below.
const LEVEL_HEIGHT: u32 = 8;
/// No log has so many entries that it needs more.
const LEVELS_MAX: u32 = 7;
const HASH_BYTES: usize = 32;

/// The files, as long as they were when the reading began.
#[derive(Default)]
pub(super) struct Stored {
    levels: Vec<Level>,
}

struct Level {
    /// `None` where it can't be opened.
    file: Option<Arc<dyn DiskFile>>,
    hashes: u64,
}

impl Stored {
    /// Opens what there is of a ledger's.
    pub(super) fn open(disk: &dyn Disk, ledger: &Path) -> Self {
        let dir = ledger.join("tree");
        let open = |level| {
            let file = disk.open(&dir.join(format!("level-{level}")), Open::Read);
            let len = file.and_then(|file| Ok((file.len()?, file)));
            match len {
                Ok((len, file)) => Some(Level { file: Some(file), hashes: len / HASH_BYTES as u64 }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(_) => Some(Level { file: None, hashes: u64::MAX }),
            }
        };
        Self { levels: (0..LEVELS_MAX).map_while(open).collect() }
    }

    /// Holds the hashes of one height from number `first` on, which the entries give, against those that are stored of
    /// them, if any are.
    pub(super) fn compare(&self, height: u32, first: u64, hashes: &[Hash]) -> Vec<Run> {
        let number = height / LEVEL_HEIGHT;
        let level = self.levels.get(number as usize).filter(|_| height.is_multiple_of(LEVEL_HEIGHT));
        let Some(level) = level else { return Vec::new() };
        let stored = usize::try_from(level.hashes.saturating_sub(first)).unwrap_or(usize::MAX);
        let hashes = hashes.get(..stored).unwrap_or(hashes);
        if hashes.is_empty() {
            return Vec::new();
        }
        let mut run = Run { level: number, first, count: hashes.len() as u64, why: Why::Unread };
        let Ok(found) = level.read(first, hashes.len()) else { return vec![run] };
        if hashes.as_flattened().starts_with(&found) {
            return Vec::new();
        }
        // A server may have been writing just there.
        let Ok(found) = level.read(first, hashes.len()) else { return vec![run] };
        run.why = Why::Other;
        let pairs = (first..).zip(hashes.iter().zip(found.as_chunks::<HASH_BYTES>().0));
        // Zeros were never written: a crash leaves them.
        let wrong = pairs.filter(|(_, (right, found))| found != right && **found != [0; HASH_BYTES]);
        wrong.map(|(number, _)| Run { first: number, count: 1, ..run }).collect()
    }
}

impl Level {
    fn read(&self, first: u64, count: usize) -> io::Result<Vec<u8>> {
        let file = self.file.as_deref().ok_or(io::ErrorKind::Other)?;
        let mut bytes = vec![0; count * HASH_BYTES];
        // A server may have begun to make it anew.
        let read = file.read_at(&mut bytes, first * HASH_BYTES as u64)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// Stored hashes of one level, one behind the other, that are not those of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    level: u32,
    first: u64,
    count: u64,
    why: Why,
}

/// What is wrong with stored hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// They are others than the entries give.
    Other,
    /// They can't be read.
    Unread,
}

impl Run {
    /// As much of it as a log of so many entries says something about.
    fn within(mut self, entries: Position) -> Option<Self> {
        let hashes = entries.0 >> (self.level * LEVEL_HEIGHT);
        self.count = hashes.checked_sub(self.first)?.min(self.count);
        (self.count > 0).then_some(self)
    }

    fn damage(&self) -> Damage {
        let shift = self.level * LEVEL_HEIGHT;
        let (hashes, what) = match (self.count, self.level) {
            (1, 0) => ("the stored hash of the entry is".to_owned(), "the entry gives".to_owned()),
            (1, _) => {
                ("the stored hash is".to_owned(), format!("the {} entries from here on give", 1_u64 << shift))
            }
            (n, _) => (format!("{n} stored hashes from here on are"), "the entries give".to_owned()),
        };
        let reason = match self.why {
            Why::Other => format!("{hashes} not what {what}"),
            Why::Unread => "the stored hashes from here on can't be read".to_owned(),
        };
        Damage {
            position: Position(self.first << shift),
            file: format!("tree/level-{}", self.level),
            offset: self.first * HASH_BYTES as u64,
            reason,
        }
    }
}

/// All that is wrong with the stored tree, in the order of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wrong {
    levels: [Vec<Run>; LEVELS_MAX as usize],
    unlisted: u64,
}

impl Wrong {
    /// Adds what is wrong further on. What stands one behind the other is one damage, however it was come across.
    pub(super) fn add(&mut self, runs: impl IntoIterator<Item = Run>) {
        for run in runs {
            let Some(level) = self.levels.get_mut(run.level as usize) else { continue };
            let listed = level.len();
            match level.last_mut() {
                Some(last) if last.why == run.why && last.first + last.count == run.first => {
                    last.count += run.count;
                }
                _ if listed < DAMAGE_LISTED_MAX => level.push(run),
                _ => self.unlisted += 1,
            }
        }
    }

    pub(super) fn extend(&mut self, behind: Self) {
        self.add(behind.levels.into_iter().flatten());
        self.unlisted += behind.unlisted;
    }

    /// As damages, and how many more there are, in a log of so many entries.
    pub(super) fn damages(self, entries: Position) -> (Vec<Damage>, u64) {
        let runs = self.levels.into_iter().flatten().filter_map(|run| run.within(entries));
        (runs.map(|run| run.damage()).collect(), self.unlisted)
    }
}
