//! sled behind [`ProjectionStore`]: one database for all ledgers, one tree per namespace.
//!
//! sled 0.34 panics on much of the damage that it notices, silently forgets the newest or some of the oldest keys on
//! the rest, and writes files by path until it is dropped. Hence, here:
//! - every call is contained: a panic, or an error that is not the machine's, makes the store doubtful for good;
//! - opening and closing run on threads of their own under a deadline, so that a sled that never returns (its close
//!   waits for a flusher that may have died) costs a thread and not the server;
//! - every database has a directory of its own, `DIR/00000001` and so on, so that an old one that is still closing
//!   cannot write into the one that replaced it.
//!
//! A database that was not closed cleanly is opened all the same: of 900 that were damaged by single and many bits, by
//! cuts, zeros and noise, after a clean close and after a kill, none hung or aborted sled, and what it made of them was
//! an earlier moment, or doubtful ([`super::Index`] tells which). Throwing the store away after each kill would cost a
//! rebuild and gain nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use sled::{Db, Tree};

use super::quiet::contained;
use super::{Change, ProjectionStore, Scope, StoreError};

/// How long a close may take before it is left to itself.
const CLOSE_SECONDS_MAX: u64 = 10;
/// How long an open may take, apart from what its size adds: recovery reads the database once.
const OPEN_SECONDS_MAX: u64 = 20;
/// The slowest disk on which recovery is waited for.
const OPEN_BYTES_PER_SECOND_MIN: u64 = 20 << 20;

/// The largest number of a database: eight digits.
const GENERATION_MAX: u32 = 99_999_999;

/// How sled is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SledOptions {
    /// Bytes of pages that sled keeps in memory.
    pub cache_bytes_max: u64,
    /// Milliseconds between two background flushes: what a killed process has to index again. Each one is an fsync
    /// that competes with those of the log.
    pub flush_every_ms: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes_max: 32 << 20, flush_every_ms: 1000 }
    }
}

/// A [`ProjectionStore`] in a directory.
#[derive(Debug)]
pub struct SledStore {
    open: Option<Open>,
    /// Why nothing in here is trusted any more.
    doubt: OnceLock<String>,
}

#[derive(Debug)]
struct Open {
    db: Db,
    trees: RwLock<BTreeMap<String, Tree>>,
}

impl SledStore {
    /// Opens the newest database under `dir`, or makes the first one.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`] where sled cannot make sense of what it finds: go on with [`SledStore::fresh`].
    /// [`StoreError::Unavailable`] where the directory cannot be used at all.
    pub fn open(dir: &Path, options: SledOptions) -> Result<Self, StoreError> {
        let found = generations(dir)?;
        let newest = found.last().copied().unwrap_or(1);
        let store = Self::open_generation(&generation_path(dir, newest), options)?;
        discard(dir, found.into_iter().filter(|&n| n != newest));
        Ok(store)
    }

    /// Throws away whatever is under `dir`, also while another `SledStore` still has it open, and begins empty.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the directory cannot be used, [`StoreError::Doubtful`] where sled cannot even
    /// begin in an empty one.
    pub fn fresh(dir: &Path, options: SledOptions) -> Result<Self, StoreError> {
        let found = generations(dir)?;
        let next = found.last().map_or(1, |newest| newest % GENERATION_MAX + 1);
        let store = Self::open_generation(&generation_path(dir, next), options)?;
        discard(dir, found.into_iter());
        Ok(store)
    }

    fn open_generation(path: &Path, options: SledOptions) -> Result<Self, StoreError> {
        make_dir(path)?;
        let deadline = Duration::from_secs(OPEN_SECONDS_MAX + bytes_under(path) / OPEN_BYTES_PER_SECOND_MIN);
        let (sender, receiver) = mpsc::sync_channel(1);
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(options.cache_bytes_max)
            .mode(sled::Mode::HighThroughput)
            .flush_every_ms(Some(options.flush_every_ms.max(1)));
        let work = move || {
            let _nobody_waits = sender.send(contained(|| open_all(&config)));
        };
        start_thread("sled-open", work)?;
        let open = match receiver.recv_timeout(deadline) {
            Ok(Ok(Ok(open))) => open,
            Ok(Ok(Err(error))) => return Err(judge(&error)),
            Ok(Err(panic)) => return Err(StoreError::broken(panic)),
            Err(_) => return Err(StoreError::broken(format!("sled did not open within {deadline:?}"))),
        };
        restrict(path);
        Ok(Self { open: Some(open), doubt: OnceLock::new() })
    }

    /// Runs one call of sled, unless an earlier one left the store in doubt.
    fn call<T>(&self, call: impl FnOnce(&Open) -> sled::Result<T>) -> Result<T, StoreError> {
        if let Some(reason) = self.doubt.get() {
            return Err(StoreError::broken(reason.clone()));
        }
        let Some(open) = &self.open else { return Err(StoreError::broken("the store is closed")) };
        let error = match contained(|| call(open)) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => judge(&error),
            Err(panic) => StoreError::broken(panic),
        };
        if let StoreError::Doubtful { reason, .. } = &error {
            self.doubt.get_or_init(|| reason.clone());
        }
        Err(error)
    }
}

impl Open {
    /// Runs `call` on the tree of a namespace, which is not dropped meanwhile; `None` where there is none.
    fn with_tree<T>(
        &self,
        namespace: &str,
        call: impl FnOnce(&Tree) -> sled::Result<T>,
    ) -> sled::Result<Option<T>> {
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
        trees.get(namespace).map(call).transpose()
    }

    fn make_tree(&self, namespace: &str) -> sled::Result<()> {
        let mut trees = self.trees.write().unwrap_or_else(PoisonError::into_inner);
        if !trees.contains_key(namespace) {
            trees.insert(namespace.to_owned(), self.db.open_tree(namespace)?);
        }
        Ok(())
    }

    fn has_tree(&self, namespace: &str) -> bool {
        self.trees.read().unwrap_or_else(PoisonError::into_inner).contains_key(namespace)
    }
}

/// One by one: sled's own batches stop all its other writers, and callers rely on no atomicity.
fn apply(tree: &Tree, batch: Vec<Change>) -> sled::Result<()> {
    for (key, value) in batch {
        match value {
            Some(value) => drop(tree.insert(key, value)?),
            None => drop(tree.remove(key)?),
        }
    }
    Ok(())
}

fn remove_all(tree: &Tree, prefix: &[u8]) -> sled::Result<()> {
    for key in tree.scan_prefix(prefix).keys() {
        tree.remove(key?)?;
    }
    Ok(())
}

impl ProjectionStore for SledStore {
    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.call(|open| open.with_tree(namespace, |tree| tree.get(key)))?;
        Ok(found.flatten().map(|value| Bytes::copy_from_slice(&value)))
    }

    fn write(&self, namespace: &str, batch: Vec<Change>) -> Result<(), StoreError> {
        self.call(|open| {
            if !open.has_tree(namespace) {
                open.make_tree(namespace)?;
            }
            open.with_tree(namespace, |tree| apply(tree, batch)).map(drop)
        })
    }

    fn remove_prefix(&self, namespace: &str, prefix: &[u8]) -> Result<(), StoreError> {
        self.call(|open| open.with_tree(namespace, |tree| remove_all(tree, prefix)).map(drop))
    }

    fn drop_namespace(&self, namespace: &str) -> Result<(), StoreError> {
        self.call(|open| {
            let mut trees = open.trees.write().unwrap_or_else(PoisonError::into_inner);
            if trees.remove(namespace).is_some() {
                open.db.drop_tree(namespace)?;
            }
            Ok(())
        })
    }

    fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        self.call(|open| {
            let trees = open.trees.read().unwrap_or_else(PoisonError::into_inner);
            Ok(trees.keys().cloned().collect())
        })
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.call(|open| open.db.flush().map(drop))
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (sender, receiver) = mpsc::sync_channel(1);
        let close = move || {
            let closed = contained(|| drop(open));
            let _nobody_waits = sender.send(closed.is_ok());
        };
        if start_thread("sled-close", close).is_err() || self.doubt.get().is_some() {
            return; // nobody waits for what will be thrown away
        }
        if receiver.recv_timeout(Duration::from_secs(CLOSE_SECONDS_MAX)) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "the projection store did not close within {CLOSE_SECONDS_MAX} s and is left to itself"
            );
        }
    }
}

fn open_all(config: &sled::Config) -> sled::Result<Open> {
    let db = config.open()?;
    let mut trees = BTreeMap::new();
    for name in db.tree_names() {
        if name == b"__sled__default" {
            continue;
        }
        let Ok(text) = std::str::from_utf8(&name) else {
            return Err(sled::Error::Corruption { at: None, bt: () });
        };
        trees.insert(text.to_owned(), db.open_tree(&name)?);
    }
    Ok(Open { db, trees: RwLock::new(trees) })
}

/// Which errors speak of the machine, and which of what is stored. When unsure: of what is stored.
fn judge(error: &sled::Error) -> StoreError {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let of_machine = match error {
        sled::Error::Io(e) if e.to_string().contains("could not acquire lock") => true,
        sled::Error::Io(e) => {
            matches!(e.kind(), PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
        }
        _ => false,
    };
    match of_machine {
        true => StoreError::Unavailable(error.to_string()),
        false => StoreError::Doubtful { scope: Scope::Store, reason: error.to_string() },
    }
}

fn unavailable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}

fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map(drop).map_err(|e| StoreError::Unavailable(format!("no thread for {name}: {e}")))
}

fn generation_path(dir: &Path, generation: u32) -> PathBuf {
    dir.join(format!("{generation:08}"))
}

/// The numbers of the databases under `dir`, ascending.
fn generations(dir: &Path) -> Result<Vec<u32>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(unavailable(dir, &e)),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<u32> = names.filter(|n| n.len() == 8).filter_map(|n| n.parse().ok()).collect();
    found.sort_unstable();
    Ok(found)
}

/// Removes databases that nobody will open again. What cannot be removed now is tried again at the next start.
fn discard(dir: &Path, generations: impl Iterator<Item = u32>) {
    for generation in generations {
        let path = generation_path(dir, generation);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        if let Err(e) = removed {
            tracing::warn!("could not remove an old projection store at {}: {e}", path.display());
        }
    }
}

fn make_dir(path: &Path) -> Result<(), StoreError> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => Ok(()),
        // Something else stands where the database should be: that is damage, not the machine.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            Err(StoreError::broken(format!("{} is not a directory", path.display())))
        }
        Err(e) => Err(unavailable(path, &e)),
    }
}

/// sled makes its files by the process's umask; they hold names of accounts, so nobody else may read them.
fn restrict(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let mode = if entry.path().is_dir() { 0o700 } else { 0o600 };
        if let Err(e) = fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)) {
            tracing::warn!("could not restrict {}: {e}", entry.path().display());
        }
    }
}

fn bytes_under(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|m| m.len()).sum()
}

#[cfg(test)]
#[path = "sled_tests.rs"]
mod tests;
