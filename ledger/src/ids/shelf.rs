//! Where runs stand: their names, which of them are live, and what is thrown away.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::IdsError;
use super::run::Run;
use crate::disk::Disk;
use crate::types::{LedgerUid, Position};

const RUN_SUFFIX: &str = ".run";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The positions of a run, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: Position,
    pub(super) last: Position,
}

impl Span {
    pub(super) fn entries(self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    pub(super) fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    pub(super) fn file_name(self) -> String {
        format!("{self}{RUN_SUFFIX}")
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:020}", self.first.0, self.last.0)
    }
}

/// A file name that is not a run's.
#[derive(Debug)]
pub(super) struct NotARun;

impl FromStr for Span {
    type Err = NotARun;
    fn from_str(name: &str) -> Result<Self, NotARun> {
        let (first, last) = name.strip_suffix(RUN_SUFFIX).and_then(|n| n.split_once('-')).ok_or(NotARun)?;
        let first: u64 = first.parse().map_err(|_| NotARun)?;
        let last: u64 = last.parse().map_err(|_| NotARun)?;
        let numbered = first <= last && last - first < u64::from(u32::MAX);
        let span = Self { first: Position(first), last: Position(last) };
        if numbered && span.file_name() == name { Ok(span) } else { Err(NotARun) }
    }
}

/// What sets a run apart from every other: it is part of every CRC in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: LedgerUid,
    pub(super) span: Span,
}

/// The directory of one ledger's runs.
pub(super) struct Shelf {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    uid: LedgerUid,
    temporaries: AtomicU64,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Shelf {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path, uid: LedgerUid) -> Self {
        Self { disk, dir: dir.to_owned(), uid, temporaries: AtomicU64::new(0) }
    }

    pub(super) fn identity(&self, span: Span) -> Identity {
        Identity { uid: self.uid, span }
    }

    pub(super) fn path(&self, span: Span) -> PathBuf {
        self.dir.join(span.file_name())
    }

    /// A name that no other work of this process has.
    pub(super) fn temporary_path(&self, span: Span) -> PathBuf {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{span}.{number}{TEMPORARY_SUFFIX}"))
    }

    /// Removes what unfinished work left. The directory itself is made with the first run.
    pub(super) fn tidy(&self) -> io::Result<()> {
        self.remove_all(|name| name.ends_with(TEMPORARY_SUFFIX))
    }

    /// The live runs, contiguous from position 0. All others are removed: inputs of a merge that a crash kept from
    /// being removed, what lies behind a gap, and what fails a check.
    pub(super) fn take_stock(&self) -> io::Result<Vec<Run>> {
        let mut spans: Vec<Span> = self.disk.list(&self.dir)?.iter().filter_map(|n| n.parse().ok()).collect();
        spans.sort_by_key(|span| (span.first, std::cmp::Reverse(span.last)));
        let (mut live, mut next) = (Vec::new(), Position(0));
        for span in &spans {
            // Of those that begin here the longest comes first: the outcome of a merge before its inputs.
            if span.first == next
                && let Some(run) = self.load(*span)?
            {
                next = span.last.next();
                live.push(run);
            }
        }
        for span in spans.iter().filter(|span| !live.iter().any(|run: &Run| run.span() == **span)) {
            self.disk.remove(&self.path(*span))?;
        }
        Ok(live)
    }

    /// `None` where the run is doubtful.
    fn load(&self, span: Span) -> io::Result<Option<Run>> {
        let file = self.disk.open(&self.path(span), crate::disk::Open::Read)?;
        match Run::load(file, self.identity(span)) {
            Ok(run) => Ok(Some(run)),
            // A sector that cannot be read is as doubtful as one that reads wrong.
            Err(IdsError::Damaged { .. } | IdsError::Io(_)) => Ok(None),
        }
    }

    /// Removes everything.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.remove_all(|name| name.ends_with(TEMPORARY_SUFFIX) || name.parse::<Span>().is_ok())?;
        self.disk.sync_dir(&self.dir)
    }

    /// Removes a run's file. Where that fails or does not last, the next opening sees that it is superseded.
    pub(super) fn remove(&self, span: Span) -> io::Result<()> {
        self.disk.remove(&self.path(span))
    }

    fn remove_all(&self, chosen: impl Fn(&str) -> bool) -> io::Result<()> {
        for name in self.disk.list(&self.dir)?.iter().filter(|name| chosen(name)) {
            self.disk.remove(&self.dir.join(name))?;
        }
        Ok(())
    }
}
