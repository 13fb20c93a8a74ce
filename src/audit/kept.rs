//! What an auditor keeps: the state, and beside it the hashes of everything that was seen.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::audit::{AuditState, BadState};
use ledger::disk::RealDisk;
use ledger::tiles::TreeStore;
use ledger::tree::Frontier;

use super::AuditError;
use crate::whole;

/// A file of a state is never longer.
const STATE_BYTES_MAX: u64 = 128 * 1024;

/// The files of one audited ledger. Only one audit has them at a time.
#[derive(Debug)]
pub struct Kept {
    state: PathBuf,
    tree: PathBuf,
    _lock: File,
}

/// A path with something behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The hashes in a directory, as far as they agree with one of these frontiers.
pub(super) fn tree_in(dir: &Path, trusted: &[Frontier]) -> TreeStore {
    TreeStore::open(Arc::new(RealDisk), dir, trusted)
}

impl Kept {
    /// Takes the files. The state's need not be there yet.
    ///
    /// # Errors
    /// [`AuditError::File`], [`AuditError::Busy`].
    pub fn open(state: &Path) -> Result<Self, AuditError> {
        let tree = beside(state, ".tree");
        let failed = |error| AuditError::File(tree.display().to_string(), error);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&tree).map_err(failed)?;
        let path = tree.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { state: state.to_owned(), tree, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(AuditError::Busy(state.display().to_string())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    fn shown(&self) -> String {
        self.state.display().to_string()
    }

    /// What a state says, with the name of its file where it is wrong.
    pub(super) fn told<T>(&self, said: Result<T, BadState>) -> Result<T, AuditError> {
        said.map_err(|bad| AuditError::State(self.shown(), bad))
    }

    /// What is remembered; nothing before the first audit.
    ///
    /// # Errors
    /// [`AuditError::File`], [`AuditError::State`].
    pub fn read(&self) -> Result<Option<AuditState>, AuditError> {
        let failed = |error| AuditError::File(self.shown(), error);
        let file = match File::open(&self.state) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(STATE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        self.told(AuditState::parse(&bytes)).map(Some)
    }

    /// Remembers something else: after a crash it is this or what was there before, whole.
    ///
    /// # Errors
    /// [`AuditError::File`].
    pub fn write(&self, state: &AuditState) -> Result<(), AuditError> {
        let written = whole::replace_by(&self.state, &self.tree.join("state.next"), &state.to_bytes());
        written.map_err(|error| AuditError::File(self.shown(), error))
    }

    /// The hashes of everything that a state has seen; `None` where they are not there.
    pub(super) fn tree(&self, state: Option<&AuditState>) -> Option<TreeStore> {
        let Some(state) = state else { return Some(tree_in(&self.tree, &[])) };
        let tree = tree_in(&self.tree, &[state.frontier().clone()]);
        (tree.head() == state.head()).then_some(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_audit_has_a_state_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = Kept::open(&state).unwrap();
        assert!(matches!(Kept::open(&state), Err(AuditError::Busy(_))));
        assert!(first.read().unwrap().is_none());
        drop(first);
        assert!(Kept::open(&state).is_ok());
    }

    #[test]
    fn what_is_no_state_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::write(&state, "something else").unwrap();
        let refused = Kept::open(&state).unwrap().read().unwrap_err().to_string();
        assert!(refused.contains("state: it is no state of an audit"), "{refused}");
    }
}
