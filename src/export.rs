//! A log as files that any web server can serve, in the form of C2SP's `tlog-tiles`: made from a data directory without a
//! server, or beside it.
//!
//! The entries are read twice. First only to see that they lead to the root that was signed: nothing is touched where they
//! do not. Then to make what is missing. A tile is never taken from what is stored of the tree.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ledger::checkpoint::{Checkpoint, CheckpointError, VerifierKey};
use ledger::disk::RealDisk;
use ledger::tiles::{BadBundle, Content, TilePath, Tiler, entries};
use ledger::tree::{Frontier, Hash, TreeHead, leaf};
use ledger::types::{LedgerName, Position};
use ledger::verify::{NotRead, Progress, each_entry};

/// The file that holds a ledger's newest checkpoint, in its directory and in an export.
const CHECKPOINT: &str = "checkpoint";
/// The file of a ledger's directory that holds the newest one which enough witnesses have cosigned.
const WITNESSED: &str = "checkpoint.witnessed";
/// Under which name a file is written before it has its own.
const NEXT: &str = ".next.tmp";
/// No note is longer.
const NOTE_BYTES_MAX: u64 = 64 * 1024;

/// Why a log was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such ledger.
    #[error("{0} holds no ledger {1}; name another with --ledger, or another directory")]
    NoLedger(PathBuf, LedgerName),
    /// Nothing was signed yet.
    #[error(
        "the ledger {0} has no checkpoint yet, and tiles must lead to one: run the server with `--key FILE` (`tokenledger key generate` makes one), and it signs one as soon as there are entries"
    )]
    NoCheckpoint(LedgerName),
    /// The checkpoint is none, of another log, or not signed by the key that was given.
    #[error("{0}: {1}")]
    Checkpoint(PathBuf, CheckpointError),
    /// The log is not the one that was signed.
    #[error("{0}; nothing was exported, run `tokenledger verify`")]
    Unverified(String),
    /// The directory is not one to export to.
    #[error("{0}")]
    Out(String),
    /// A file can't be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

impl ExportError {
    /// Whether it says that the log is not what was signed.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        matches!(self, Self::Unverified(_) | Self::Checkpoint(..))
    }
}

impl From<NotRead> for ExportError {
    fn from(error: NotRead) -> Self {
        match error {
            NotRead::Io(error) => Self::Io("the log".into(), error),
            damaged => Self::Unverified(damaged.to_string()),
        }
    }
}

impl From<BadBundle> for ExportError {
    fn from(error: BadBundle) -> Self {
        Self::Unverified(error.to_string())
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    |error| ExportError::Io(path, error)
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// What the export leads to.
    pub checkpoint: Checkpoint,
    /// How many entries the newest checkpoint has that was signed: more, where witnesses have yet to cosign it.
    pub signed: u64,
    /// Tiles and bundles that were new.
    pub written: u64,
    /// Those that were there already, as they must be.
    pub kept: u64,
    /// Those that were there with other bytes.
    pub replaced: u64,
    /// Partial ones that are no longer needed.
    pub removed: u64,
}

/// Which checkpoint is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// The newest one that the server has published: where it has witnesses, the newest that they have cosigned.
    Published,
    /// The newest one that was signed, whoever has cosigned it.
    Signed,
}

/// Exports a ledger of a data directory to the directory `out`. With a key, only if it has signed the checkpoint.
///
/// # Errors
/// See [`ExportError`].
pub fn tiles(
    data: &Path,
    ledger: &LedgerName,
    out: &Path,
    key: Option<&VerifierKey>,
    upto: Upto,
    progress: &dyn Progress,
) -> Result<Exported, ExportError> {
    let dir = data.join("ledgers").join(ledger.as_str());
    if !dir.is_dir() {
        return Err(ExportError::NoLedger(data.to_owned(), ledger.clone()));
    }
    // The signed one is read first: while a server runs, the other may overtake it, and is the one that counts.
    let signed = Kept::read(dir.join(CHECKPOINT), key)?;
    let witnessed = match upto {
        Upto::Published => Kept::read(dir.join(WITNESSED), key)?,
        Upto::Signed => None,
    };
    let signed_size = signed.as_ref().map_or(0, |kept| kept.checkpoint.tree.size);
    let kept = witnessed.or(signed).ok_or_else(|| ExportError::NoCheckpoint(ledger.clone()))?;
    let Kept { note, checkpoint } = kept;
    let out = Out::open(out, data)?;
    let earlier = out.earlier(&checkpoint)?;
    let log = Log { dir, ledger, checkpoint, progress };
    log.leads_to_its_checkpoint(earlier)?;
    let (written, kept, replaced) = log.write(&out, &note)?;
    let removed = out.clean(log.checkpoint.tree.size)?;
    let signed = signed_size.max(log.checkpoint.tree.size);
    Ok(Exported { checkpoint: log.checkpoint, signed, written, kept, replaced, removed })
}

/// A checkpoint that a ledger's directory keeps.
struct Kept {
    note: Vec<u8>,
    checkpoint: Checkpoint,
}

impl Kept {
    fn read(path: PathBuf, key: Option<&VerifierKey>) -> Result<Option<Self>, ExportError> {
        let Some(note) = read_note(&path)? else { return Ok(None) };
        let checkpoint = key.map_or_else(|| Checkpoint::unverified(&note), |key| key.open(&note));
        let checkpoint = checkpoint.map_err(|error| ExportError::Checkpoint(path, error))?;
        Ok(Some(Self { note, checkpoint }))
    }
}

fn read_note(path: &Path) -> Result<Option<Vec<u8>>, ExportError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(at(path))?,
    };
    let mut note = Vec::new();
    file.take(NOTE_BYTES_MAX).read_to_end(&mut note).map_err(at(path))?;
    Ok(Some(note))
}

/// A log, and what was signed of it.
struct Log<'a> {
    dir: PathBuf,
    ledger: &'a LedgerName,
    checkpoint: Checkpoint,
    progress: &'a dyn Progress,
}

impl Log<'_> {
    fn each(&self, each: impl FnMut(&[u8]) -> Result<(), ExportError>) -> Result<(), ExportError> {
        each_entry(&RealDisk, &self.dir, Position(self.checkpoint.tree.size), self.progress, each)
    }

    /// Nothing is written before this is known: an earlier export may be the last good copy.
    fn leads_to_its_checkpoint(&self, earlier: Option<TreeHead>) -> Result<(), ExportError> {
        let mut frontier = Frontier::default();
        self.each(|entry| {
            self.agrees(earlier, &frontier)?;
            frontier.push(leaf(entry));
            Ok(())
        })?;
        self.agrees(earlier, &frontier)?;
        self.ends_at(frontier.head())
    }

    fn agrees(&self, earlier: Option<TreeHead>, frontier: &Frontier) -> Result<(), ExportError> {
        match earlier.filter(|earlier| earlier.size == frontier.size()) {
            Some(earlier) if earlier.root != frontier.root() => Err(ExportError::Unverified(format!(
                "the first {} entries of {} are others than those that were exported before",
                earlier.size, self.ledger
            ))),
            _ => Ok(()),
        }
    }

    fn ends_at(&self, head: TreeHead) -> Result<(), ExportError> {
        if head == self.checkpoint.tree {
            return Ok(());
        }
        let size = self.checkpoint.tree.size;
        let why = format!("the first {size} entries of {} do not lead to its checkpoint", self.ledger);
        Err(ExportError::Unverified(why))
    }

    /// Writes what is missing: the checkpoint last, when all that it needs is durable.
    fn write(&self, out: &Out, note: &[u8]) -> Result<(u64, u64, u64), ExportError> {
        let (mut tiler, mut shelf) = (Tiler::default(), Shelf { out, written: 0, kept: 0, replaced: 0 });
        self.each(|entry| tiler.push(entry, |path, bytes| shelf.put(path, bytes)))?;
        tiler.partial(|path, bytes| shelf.put_partial(path, bytes))?;
        self.ends_at(tiler.head())?;
        if shelf.written + shelf.replaced > 0 {
            out.sync()?;
        }
        out.publish(note)?;
        Ok((shelf.written, shelf.kept, shelf.replaced))
    }
}

/// Where tiles and bundles are put, and how often.
struct Shelf<'a> {
    out: &'a Out,
    written: u64,
    kept: u64,
    replaced: u64,
}

impl Shelf<'_> {
    fn put(&mut self, path: TilePath, bytes: &[u8]) -> Result<(), ExportError> {
        let file = self.out.dir.join(path.to_string());
        match holds(&file, bytes)? {
            Some(true) => self.kept += 1,
            Some(false) => {
                self.out.write(&file, bytes)?;
                self.replaced += 1;
            }
            None => {
                self.out.write(&file, bytes)?;
                self.written += 1;
            }
        }
        Ok(())
    }

    /// Narrower ones of the same place are those of earlier checkpoints, whose readers may still ask for them.
    fn put_partial(&mut self, path: TilePath, bytes: &[u8]) -> Result<(), ExportError> {
        for narrower in self.out.partials(path)?.into_iter().filter(|other| other.width() < path.width()) {
            self.put(narrower, first_of(narrower, bytes)?)?;
        }
        self.put(path, bytes)
    }
}

/// Of the bytes of a wider one, those of a narrower.
fn first_of(path: TilePath, bytes: &[u8]) -> Result<&[u8], ExportError> {
    let width = usize::from(path.width());
    let length = match path.content() {
        Content::Hashes(_) => width * size_of::<Hash>(),
        Content::Entries => entries(bytes)?.iter().take(width).map(|entry| 2 + entry.len()).sum(),
    };
    Ok(bytes.get(..length).unwrap_or(bytes))
}

/// Whether a file holds these bytes; `None` where there is none.
fn holds(path: &Path, bytes: &[u8]) -> Result<Option<bool>, ExportError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
        Ok(file) if file.len() != bytes.len() as u64 => Ok(Some(false)),
        Ok(_) => fs::read(path).map(|held| Some(held == bytes)).map_err(at(path)),
    }
}

/// Whether a directory, or what is there of the way to it, lies outside of the data directory.
fn outside(dir: &Path, data: &Path) -> Result<(), ExportError> {
    let real = |path: &Path| fs::canonicalize(path).map_err(at(path));
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."));
    if real(there)?.starts_with(real(data)?) {
        let why = "is within the data directory: an export is for others, so keep it outside";
        return Err(ExportError::Out(format!("{} {why}", dir.display())));
    }
    Ok(())
}

/// The directory of an export. No other export writes to it meanwhile.
struct Out {
    dir: PathBuf,
    lock: File,
}

impl Out {
    fn open(dir: &Path, data: &Path) -> Result<Self, ExportError> {
        // Once before anything is made, and once more when it is known where the name leads.
        outside(dir, data)?;
        fs::create_dir_all(dir).map_err(at(dir))?;
        outside(dir, data)?;
        let lock = File::open(dir).map_err(at(dir))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => {
                Err(ExportError::Out(format!("another export writes to {} just now", dir.display())))
            }
            Err(TryLockError::Error(error)) => Err(at(dir)(error)),
        }
    }

    /// What was exported to it before. It must be of the same log, and no newer.
    fn earlier(&self, checkpoint: &Checkpoint) -> Result<Option<TreeHead>, ExportError> {
        let path = self.dir.join(CHECKPOINT);
        let Some(note) = read_note(&path)? else { return Ok(None) };
        let advice = "; move it away, or export to another directory";
        let earlier = Checkpoint::unverified(&note)
            .map_err(|error| ExportError::Out(format!("{}: {error}{advice}", path.display())))?;
        if earlier.origin != checkpoint.origin {
            let (dir, other) = (self.dir.display(), earlier.origin);
            let why = format!("{dir} holds the log {other}, and this is {}{advice}", checkpoint.origin);
            return Err(ExportError::Out(why));
        }
        if earlier.tree.size > checkpoint.tree.size {
            return Err(ExportError::Unverified(format!(
                "{} entries were exported before, and the newest checkpoint here is of {}: this is an older copy of the ledger",
                earlier.tree.size, checkpoint.tree.size
            )));
        }
        Ok(Some(earlier.tree))
    }

    /// A file appears whole or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        let next = self.dir.join(NEXT);
        fs::write(&next, bytes).map_err(at(&next))?;
        fs::rename(&next, path).map_err(at(path))
    }

    /// Makes everything durable that was written: one call for thousands of files.
    fn sync(&self) -> Result<(), ExportError> {
        rustix::fs::syncfs(&self.lock).map_err(|error| at(&self.dir)(error.into()))
    }

    fn publish(&self, note: &[u8]) -> Result<(), ExportError> {
        let path = self.dir.join(CHECKPOINT);
        if holds(&path, note)? == Some(true) {
            return Ok(());
        }
        let next = self.dir.join(NEXT);
        let written = File::create(&next).and_then(|mut file| {
            file.write_all(note)?;
            file.sync_all()
        });
        written.map_err(at(&next))?;
        fs::rename(&next, &path).map_err(at(&path))?;
        self.lock.sync_all().map_err(at(&self.dir))
    }

    /// The partial ones that are there in the place of one.
    fn partials(&self, path: TilePath) -> Result<Vec<TilePath>, ExportError> {
        let dir = self.partials_dir(path);
        let names = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            names => names.map_err(at(&dir))?,
        };
        let mut partials = Vec::new();
        for name in names {
            let name = name.map_err(at(&dir))?.file_name();
            let named: Option<TilePath> =
                name.to_str().and_then(|width| format!("{}.p/{width}", path.full()).parse().ok());
            partials.extend(named);
        }
        Ok(partials)
    }

    fn partials_dir(&self, path: TilePath) -> PathBuf {
        self.dir.join(format!("{}.p", path.full()))
    }

    /// Removes partial ones that a full one replaces, or that reach beyond the checkpoint: how many.
    fn clean(&self, size: u64) -> Result<u64, ExportError> {
        let mut removed = 0;
        for path in TilePath::all(size) {
            for partial in
                self.partials(path)?.into_iter().filter(|partial| path.is_full() || *partial > path)
            {
                let file = self.dir.join(partial.to_string());
                fs::remove_file(&file).map_err(at(&file))?;
                removed += 1;
            }
            // Where something else is in it, it stays.
            if path.is_full() {
                let _ = fs::remove_dir(self.partials_dir(path));
            }
        }
        Ok(removed)
    }
}
