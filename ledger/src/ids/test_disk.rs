//! A disk in memory that knows what would survive a power cut, and that fails from a chosen call on.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, Open};

/// What a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survives {
    /// Only what was synced: names by their directory, contents by their file.
    Synced,
    /// Names as they were last, contents as they were synced: the order that a journal makes likely.
    Names,
    /// Everything, as when only the process dies.
    Everything,
}

/// Whether the first call that fails has its effect all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    /// It fails and did nothing.
    Without,
    /// It fails, but did what was asked.
    With,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    live: Vec<u8>,
    durable: Vec<u8>,
}

type Shared = Arc<Mutex<Contents>>;

#[derive(Debug, Default)]
struct Names {
    live: BTreeMap<PathBuf, Shared>,
    durable: BTreeMap<PathBuf, Shared>,
}

#[derive(Debug)]
struct Calls {
    made: AtomicU64,
    fails_from: AtomicU64,
    fails_before: AtomicU64,
    failing: Mutex<Failing>,
}

impl Calls {
    /// Counts a call, does it, and says how it went.
    fn go<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let limit = self.fails_from.load(Ordering::SeqCst);
        if number < limit || number >= self.fails_before.load(Ordering::SeqCst) {
            return call();
        }
        if number == limit && *lock(&self.failing) == Failing::With {
            let _ = call();
        }
        Err(io::Error::other("the disk fails, as the test asked"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disk.
#[derive(Clone, Debug)]
pub(super) struct TestDisk {
    names: Arc<Mutex<Names>>,
    calls: Arc<Calls>,
}

impl TestDisk {
    pub(super) fn new() -> Self {
        Self::holding(Names::default())
    }

    fn holding(names: Names) -> Self {
        let calls = Calls {
            made: AtomicU64::new(0),
            fails_from: AtomicU64::new(u64::MAX),
            fails_before: AtomicU64::new(u64::MAX),
            failing: Mutex::new(Failing::Without),
        };
        Self { names: Arc::new(Mutex::new(names)), calls: Arc::new(calls) }
    }

    /// How many calls were made.
    pub(super) fn calls(&self) -> u64 {
        self.calls.made.load(Ordering::SeqCst)
    }

    /// The call number `call` and all after it fail.
    pub(super) fn fail_from(&self, call: u64, failing: Failing) {
        self.fail(call, u64::MAX, failing);
    }

    /// The call number `call` fails, and no other.
    pub(super) fn fail_once(&self, call: u64, failing: Failing) {
        self.fail(call, call + 1, failing);
    }

    fn fail(&self, from: u64, before: u64, failing: Failing) {
        *lock(&self.calls.failing) = failing;
        self.calls.fails_from.store(from, Ordering::SeqCst);
        self.calls.fails_before.store(before, Ordering::SeqCst);
    }

    /// No call fails any more.
    pub(super) fn heal(&self) {
        self.fail_from(u64::MAX, Failing::Without);
    }

    /// The disk after a power cut.
    pub(super) fn after_power_cut(&self, survives: Survives) -> Self {
        let names = lock(&self.names);
        let kept = if survives == Survives::Synced { &names.durable } else { &names.live };
        let mut after = Names::default();
        for (path, contents) in kept {
            let contents = lock(contents).clone();
            let bytes = if survives == Survives::Everything { contents.live } else { contents.durable };
            let file = Arc::new(Mutex::new(Contents { live: bytes.clone(), durable: bytes }));
            after.live.insert(path.clone(), Arc::clone(&file));
            after.durable.insert(path.clone(), file);
        }
        Self::holding(after)
    }

    pub(super) fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        lock(&self.names).live.get(path).map(|contents| lock(contents).live.clone())
    }

    /// Changes a file under those who have it open.
    pub(super) fn put_in_place(&self, path: &Path, bytes: Vec<u8>) {
        if let Some(contents) = lock(&self.names).live.get(path) {
            lock(contents).live = bytes;
        }
    }

    /// Puts a file there, durable.
    pub(super) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let contents = Arc::new(Mutex::new(Contents { live: bytes.clone(), durable: bytes }));
        let mut names = lock(&self.names);
        names.live.insert(path.to_owned(), Arc::clone(&contents));
        names.durable.insert(path.to_owned(), contents);
    }
}

struct TestFile {
    contents: Shared,
    calls: Arc<Calls>,
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        self.calls.go(|| {
            let mut names = lock(&self.names);
            if how == Open::New {
                if names.live.contains_key(path) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                names.live.insert(path.to_owned(), Arc::default());
            }
            let contents = names.live.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
            Ok(Arc::new(TestFile { contents, calls: Arc::clone(&self.calls) }) as Arc<dyn DiskFile>)
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.calls.go(|| {
            let names = lock(&self.names);
            let inside = names.live.keys().filter(|path| path.parent() == Some(dir));
            Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
        })
    }

    fn make_dir(&self, _dir: &Path) -> io::Result<()> {
        self.calls.go(|| Ok(()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.calls.go(|| {
            let mut names = lock(&self.names);
            let contents = names.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
            names.live.insert(to.to_owned(), contents);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.calls.go(|| {
            let gone = lock(&self.names).live.remove(path);
            gone.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.calls.go(|| {
            let mut names = lock(&self.names);
            let mut durable = std::mem::take(&mut names.durable);
            durable.retain(|path, _| path.parent() != Some(dir));
            let inside = names.live.iter().filter(|(path, _)| path.parent() == Some(dir));
            durable.extend(inside.map(|(path, contents)| (path.clone(), Arc::clone(contents))));
            names.durable = durable;
            Ok(())
        })
    }
}

impl DiskFile for TestFile {
    fn len(&self) -> io::Result<u64> {
        self.calls.go(|| Ok(lock(&self.contents).live.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.calls.go(|| {
            let contents = lock(&self.contents);
            let begin = contents.live.len().min(offset as usize);
            let n = buffer.len().min(contents.live.len() - begin);
            buffer[..n].copy_from_slice(&contents.live[begin..begin + n]);
            Ok(n)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.calls.go(|| {
            let mut contents = lock(&self.contents);
            let end = offset as usize + bytes.len();
            if contents.live.len() < end {
                contents.live.resize(end, 0);
            }
            contents.live[offset as usize..end].copy_from_slice(bytes);
            Ok(())
        })
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.calls.go(|| {
            lock(&self.contents).live.resize(bytes as usize, 0);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.calls.go(|| {
            let mut contents = lock(&self.contents);
            contents.durable = contents.live.clone();
            Ok(())
        })
    }
}
