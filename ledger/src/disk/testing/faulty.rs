//! A disk that fails on request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, Open};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `EIO`, and the call has no effect.
    Lost,
    /// `EIO`, although the call has its effect.
    Done,
    /// `ENOSPC`, and the call has no effect.
    FullLost,
    /// `ENOSPC`, although the call has its effect.
    FullDone,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lost, Self::Done, Self::FullLost, Self::FullDone];

    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Lost | Self::Done => EIO,
            Self::FullLost | Self::FullDone => ENOSPC,
        })
    }

    pub(super) fn takes_effect(self) -> bool {
        matches!(self, Self::Done | Self::FullDone)
    }
}

/// A call that changes the disk: `open` (of a new file), `write`, `set_len`, `sync`, `make_dir`, `rename`, `remove`,
/// `sync_dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub kind: &'static str,
    /// The file or directory, by the name under which it was opened.
    pub path: PathBuf,
}

#[derive(Default)]
struct Plan {
    calls: Vec<Call>,
    fail_at: Option<(usize, Failure)>,
    power_cut_after: Option<usize>,
    full: bool,
}

/// Wraps a disk and counts the calls that change it, from 0; one of them can be made to fail. Clones share the plan.
#[derive(Clone)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    plan: Arc<Mutex<Plan>>,
}

impl FaultyDisk {
    /// A disk that does not fail yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, plan: Arc::default() }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the call number `n` fail.
    pub fn fail_at(&self, n: usize, failure: Failure) {
        self.plan().fail_at = Some((n, failure));
    }

    /// Lets every call from number `n` on fail without effect: the power is gone.
    pub fn cut_power_after(&self, n: usize) {
        self.plan().power_cut_after = Some(n);
    }

    /// While full, whatever needs new space (a new file, a write behind the end, a longer file) fails with `ENOSPC`;
    /// overwriting goes on.
    pub fn set_full(&self, full: bool) {
        self.plan().full = full;
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.plan().calls.clone()
    }

    fn change<T>(
        &self,
        kind: &'static str,
        path: &Path,
        grows: bool,
        effect: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let failure = {
            let mut plan = self.plan();
            let number = plan.calls.len();
            plan.calls.push(Call { kind, path: path.to_owned() });
            if plan.power_cut_after.is_some_and(|n| number >= n) {
                Some(Failure::Lost)
            } else if plan.full && grows {
                Some(Failure::FullLost)
            } else {
                plan.fail_at.filter(|(n, _)| *n == number).map(|(_, failure)| failure)
            }
        };
        let Some(failure) = failure else { return effect() };
        if failure.takes_effect() {
            effect()?;
        }
        Err(failure.error())
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = if how == Open::New {
            self.change("open", path, true, || self.inner.open(path, how))?
        } else {
            self.inner.open(path, how)?
        };
        Ok(Arc::new(FaultyFile { disk: self.clone(), path: path.to_owned(), file }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.change("make_dir", dir, false, || self.inner.make_dir(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("rename", from, false, || self.inner.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change("remove", path, false, || self.inner.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change("sync_dir", dir, false, || self.inner.sync_dir(dir))
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let grows = offset + bytes.len() as u64 > self.file.len()?;
        self.disk.change("write", &self.path, grows, || self.file.write_at(bytes, offset))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let grows = bytes > self.file.len()?;
        self.disk.change("set_len", &self.path, grows, || self.file.set_len(bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change("sync", &self.path, false, || self.file.sync())
    }
}
