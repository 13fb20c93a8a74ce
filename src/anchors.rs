//! What is known of the ledgers outside of the data directory, and the file that keeps it: each ledger's newest
//! checkpoint, durable before anybody sees it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use ledger::anchor::{ANCHORS_BYTES_MAX, Anchors, BadAnchors, Contradiction, Known};
use ledger::disk::{self, Disk, Open};
use ledger::event::Text;
use ledger::types::LedgerName;

use crate::lock;

/// Why there are no anchors.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// It would be lost, or put back, with what it is to be held against.
    #[error(
        "the anchor file {0} lies in the data directory, with which it would be put back or lost: give a file on another disk"
    )]
    Inside(PathBuf),
    /// Somebody may have taken it away.
    #[error(
        "the anchor file {0} is not there, but the ledgers have entries: put it back, or start once with `--anchor-init` to make one from what they have now"
    )]
    Absent(PathBuf),
    /// It says nothing of a ledger that has been signed.
    #[error(
        "the anchor file {path} does not have the ledger {ledger}, which has a checkpoint: is it the right file, and whole? If it is, start once with `--anchor-init`, to add what the ledger has now"
    )]
    NotThere {
        /// The file.
        path: PathBuf,
        /// The ledger.
        ledger: LedgerName,
    },
    /// Another server uses it.
    #[error(
        "the anchor file {0} is in use by another tokenledger: stop that one first, or give each server a file of its own"
    )]
    InUse(PathBuf),
    /// It can't be read or made.
    #[error("the anchor file {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// It is no such file.
    #[error("the anchor file {0}: {1}")]
    Malformed(PathBuf, #[source] BadAnchors),
}

/// What is known of the ledgers when a server starts.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The file that keeps each ledger's newest checkpoint.
    pub anchor: Option<PathBuf>,
    /// Whether it may be made although ledgers have entries.
    pub anchor_init: bool,
    /// Checkpoints that were given.
    pub expected: Vec<Known>,
    /// The ledgers that may contradict what is known of them.
    pub overridden: BTreeSet<LedgerName>,
    /// Why they may.
    pub override_reason: Option<Text>,
}

/// Where a checkpoint is known from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is kept beside the log.
    Kept,
    /// The anchor file.
    Anchor,
    /// It was given at the start.
    Given,
    /// A witness of this name has cosigned something else. The checkpoint is the one of the log that it refused.
    Witness(Arc<str>),
}

impl Source {
    /// Its name in events.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Anchor => "anchor",
            Self::Given => "given",
            Self::Witness(_) => "witness",
        }
    }
}

/// A checkpoint that a ledger contradicts.
#[derive(Clone, Debug)]
pub struct Contradicted {
    /// The ledger.
    pub ledger: LedgerName,
    /// Where the checkpoint is known from.
    pub source: Source,
    /// The checkpoint.
    pub known: Known,
    /// How many entries the log has.
    pub entries: u64,
    /// How it contradicts.
    pub how: Contradiction,
}

impl std::fmt::Display for Contradicted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ledger, known, entries, how, .. } = self;
        let size = known.checkpoint.tree.size;
        let from = match &self.source {
            Source::Kept => "kept in the data directory",
            Source::Anchor => "in the anchor file",
            Source::Given => "given by --expect-checkpoint",
            Source::Witness(name) => {
                return write!(
                    f,
                    "ledger {ledger} has {entries} entries and contradicts what the witness {name} has cosigned: {how}"
                );
            }
        };
        write!(
            f,
            "ledger {ledger} has {entries} entries and contradicts the checkpoint of {size} entries {from}: {how}"
        )
    }
}

struct Keep {
    ledger: LedgerName,
    known: Known,
    done: mpsc::Sender<Result<(), String>>,
}

/// The anchor file of a running server. Ledgers that have a new checkpoint at the same time share one write.
pub struct AnchorFile {
    path: PathBuf,
    found: Anchors,
    _lock: File,
    keeps: Option<mpsc::Sender<Keep>>,
    writing: Option<JoinHandle<()>>,
}

impl AnchorFile {
    /// Opens it; where it is not there, it is made, if `may_make`.
    ///
    /// # Errors
    /// See [`AnchorError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        data: &Path,
        may_make: bool,
    ) -> Result<Arc<Self>, AnchorError> {
        let failed = |error| AnchorError::Io(path.to_owned(), error);
        // By its real place: the way to it may lead through links.
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (dir, data) = (dir.canonicalize().map_err(failed)?, data.canonicalize().map_err(failed)?);
        if dir.starts_with(&data) {
            return Err(AnchorError::Inside(path.to_owned()));
        }
        let path = dir.join(path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?);
        let is_link = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        let path = if is_link { path.canonicalize().map_err(failed)? } else { path };
        if path.starts_with(&data) {
            return Err(AnchorError::Inside(path));
        }
        let mut lock = path.clone().into_os_string();
        lock.push(".lock");
        let lock = lock::hold(disk.as_ref(), Path::new(&lock)).map_err(failed)?;
        let lock = lock.ok_or_else(|| AnchorError::InUse(path.clone()))?;
        let found = match read(disk.as_ref(), &path).map_err(failed)? {
            Some(bytes) => {
                Anchors::parse(&bytes).map_err(|error| AnchorError::Malformed(path.clone(), error))?
            }
            None if may_make => Anchors::default(),
            None => return Err(AnchorError::Absent(path)),
        };
        // Whether it can be written is found out now, and not at the first checkpoint.
        disk::replace(disk.as_ref(), &path, &found.to_bytes()).map_err(failed)?;
        let (keeps, asked) = mpsc::channel();
        let (mut anchors, file) = (found.clone(), path.clone());
        let writing = std::thread::Builder::new().name("anchors".to_owned()).spawn(move || {
            while let Ok(first) = asked.recv() {
                keep(disk.as_ref(), &file, &mut anchors, first, &asked);
            }
        });
        let writing = Some(writing.map_err(failed)?);
        Ok(Arc::new(Self { path, found, _lock: lock, keeps: Some(keeps), writing }))
    }

    /// What it held when the server started.
    #[must_use]
    pub fn found(&self) -> &Anchors {
        &self.found
    }

    /// Says so where one of these ledgers, which have been signed, is not in it.
    ///
    /// # Errors
    /// [`AnchorError::NotThere`].
    pub fn must_have<'a>(
        &self,
        ledgers: impl IntoIterator<Item = &'a LedgerName>,
    ) -> Result<(), AnchorError> {
        match ledgers.into_iter().find(|ledger| self.found.get(ledger).is_none()) {
            None => Ok(()),
            Some(ledger) => Err(AnchorError::NotThere { path: self.path.clone(), ledger: ledger.clone() }),
        }
    }

    /// Keeps a ledger's newest checkpoint; it is durable when this returns.
    ///
    /// # Errors
    /// Where the file can't be written; then nothing is known of what it holds.
    pub fn keep(&self, ledger: LedgerName, known: Known) -> io::Result<()> {
        let gone = || io::Error::other("the thread that keeps the anchors has ended");
        let (done, answer) = mpsc::channel();
        let keeps = self.keeps.as_ref().ok_or_else(gone)?;
        keeps.send(Keep { ledger, known, done }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?.map_err(|why| io::Error::other(format!("the anchor file: {why}")))
    }
}

impl Drop for AnchorFile {
    fn drop(&mut self) {
        drop(self.keeps.take());
        if let Some(writing) = self.writing.take() {
            let _ = writing.join();
        }
    }
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.len()?;
    if length > ANCHORS_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Keeps what waits, all at once.
fn keep(disk: &dyn Disk, path: &Path, anchors: &mut Anchors, first: Keep, asked: &mpsc::Receiver<Keep>) {
    let mut answers = Vec::new();
    for Keep { ledger, known, done } in std::iter::once(first).chain(asked.try_iter()) {
        anchors.put(ledger, known);
        answers.push(done);
    }
    let kept = disk::replace(disk, path, &anchors.to_bytes()).map_err(|error| error.to_string());
    for done in answers {
        let _ = done.send(kept.clone());
    }
}

#[cfg(test)]
mod tests {
    use ledger::checkpoint::{LocalSigner, PrivateKey, Signer};
    use ledger::disk::RealDisk;
    use ledger::tree::TreeHead;

    use super::*;

    fn known(ledger: &str, size: u64) -> Known {
        let key = PrivateKey::new("example.org".parse().unwrap(), &[7; 32]);
        let mut signer = LocalSigner::new(&key, &ledger.parse().unwrap(), None);
        Known::read(&signer.sign(TreeHead { size, root: [1; 32] }, &[]).unwrap()).unwrap()
    }

    fn open(path: &Path, data: &Path, may_make: bool) -> Result<Arc<AnchorFile>, AnchorError> {
        AnchorFile::open(Arc::new(RealDisk), path, data, may_make)
    }

    #[test]
    fn what_is_kept_is_in_the_file_at_once_and_found_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let (path, data) = (dir.path().join("anchors"), dir.path().join("data"));
        std::fs::create_dir(&data).unwrap();
        assert!(matches!(open(&path, &data, false), Err(AnchorError::Absent(_))));
        assert!(!path.exists(), "what was refused has made nothing");
        let file = open(&path, &data, true).unwrap();
        assert_eq!(file.found(), &Anchors::default());
        std::thread::scope(|scope| {
            for n in 0..20 {
                let (file, path) = (&file, &path);
                scope.spawn(move || {
                    let name = format!("ledger-{n}");
                    file.keep(name.parse().unwrap(), known(&name, n)).unwrap();
                    let kept = Anchors::parse(&std::fs::read(path).unwrap()).unwrap();
                    assert_eq!(kept.get(&name.parse().unwrap()), Some(&known(&name, n)));
                });
            }
        });
        drop(file);
        let file = open(&path, &data, false).unwrap();
        assert_eq!(file.found().iter().count(), 20);
        // What cannot be kept is not said to be.
        std::fs::remove_dir(&data).unwrap();
        drop(std::fs::remove_file(&path));
        drop(dir);
        assert!(file.keep("ledger-1".parse().unwrap(), known("ledger-1", 30)).is_err());
    }

    #[test]
    fn a_file_within_the_data_directory_is_refused_even_by_a_detour() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir_all(data.join("below")).unwrap();
        std::os::unix::fs::symlink(&data, dir.path().join("link")).unwrap();
        for inside in ["data/anchors", "data/below/anchors", "data/../data/anchors", "link/anchors"] {
            let refused = open(&dir.path().join(inside), &data, true);
            assert!(matches!(refused, Err(AnchorError::Inside(_))), "{inside}");
        }
        std::os::unix::fs::symlink(data.join("x"), dir.path().join("into")).unwrap();
        std::fs::write(data.join("x"), "").unwrap();
        assert!(matches!(open(&dir.path().join("into"), &data, true), Err(AnchorError::Inside(_))));
        std::fs::write(dir.path().join("anchors"), "no anchors").unwrap();
        assert!(matches!(open(&dir.path().join("anchors"), &data, true), Err(AnchorError::Malformed(..))));
        assert!(matches!(open(&dir.path().join("none/anchors"), &data, true), Err(AnchorError::Io(..))));
    }
    #[test]
    fn a_link_stays_one_and_what_it_leads_to_is_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (data, away) = (dir.path().join("data"), dir.path().join("away"));
        for made in [&data, &away] {
            std::fs::create_dir(made).unwrap();
        }
        let (path, meant) = (dir.path().join("anchors"), away.join("anchors"));
        std::os::unix::fs::symlink(&meant, &path).unwrap();
        assert!(matches!(open(&path, &data, true), Err(AnchorError::Io(..))), "it leads to nothing yet");
        std::fs::write(&meant, "").unwrap();
        let file = open(&path, &data, false).unwrap();
        file.keep("default".parse().unwrap(), known("default", 7)).unwrap();
        assert!(path.is_symlink());
        let kept = Anchors::parse(&std::fs::read(meant).unwrap()).unwrap();
        assert_eq!(kept.get(&LedgerName::default()), Some(&known("default", 7)));
    }

    #[test]
    fn one_server_at_a_time_has_it_and_misses_a_ledger_that_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let (path, data) = (dir.path().join("anchors"), dir.path().join("data"));
        std::fs::create_dir(&data).unwrap();
        let file = open(&path, &data, true).unwrap();
        assert!(matches!(open(&path, &data, true), Err(AnchorError::InUse(_))));
        let (one, other) = (LedgerName::default(), "other".parse().unwrap());
        file.keep(one.clone(), known("default", 7)).unwrap();
        drop(file);
        let file = open(&path, &data, false).unwrap();
        assert!(file.must_have([&one]).is_ok());
        let missed = file.must_have([&one, &other]).unwrap_err().to_string();
        assert!(
            missed.contains("does not have the ledger other") && missed.contains("--anchor-init"),
            "{missed}"
        );
    }
}
