//! A disk in memory that knows which of its bytes and names would survive a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, Open};

const SECTOR_BYTES: usize = 512;

/// One change that is not durable yet; a crash keeps or loses each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// A sector of a file's contents (file number, sector number).
    Sector(usize, usize),
    /// The length of a file (file number).
    Length(usize),
    /// A change of a name (its number in order of time).
    Name(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Put(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Put(path, _) | Self::Rename(path, _, _) | Self::Remove(path) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Put(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

#[derive(Clone, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl Content {
    fn set_len(&mut self, bytes: usize) {
        if bytes > self.live.len() {
            // Zeros that replace durable bytes are a change like any other.
            let hidden = self.live.len()..bytes.min(self.durable.len());
            if !hidden.is_empty() {
                self.dirty.extend(hidden.start / SECTOR_BYTES..=(hidden.end - 1) / SECTOR_BYTES);
            }
        }
        self.live.resize(bytes, 0);
        self.dirty.retain(|sector| sector * SECTOR_BYTES < bytes);
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if bytes.is_empty() {
            return;
        }
        if end > self.live.len() {
            self.set_len(end);
        }
        self.live[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            if self.differs(sector) {
                self.dirty.insert(sector);
            } else {
                self.dirty.remove(&sector);
            }
        }
    }

    /// A sector written with what it held already survives as it is; it need not be tried both ways.
    fn differs(&self, sector: usize) -> bool {
        let part = |bytes: &[u8]| {
            let mut out = [0; SECTOR_BYTES];
            let start = bytes.len().min(sector * SECTOR_BYTES);
            let end = bytes.len().min(start + SECTOR_BYTES);
            out[..end - start].copy_from_slice(&bytes[start..end]);
            out
        };
        part(&self.live) != part(&self.durable)
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.live);
        self.dirty.clear();
    }

    fn after_crash(&self, keep_length: bool, keep_sector: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        if keep_length {
            bytes.resize(self.live.len(), 0);
        }
        for sector in self.dirty.iter().copied().filter(|s| keep_sector(*s)) {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(bytes.len()).min(self.live.len());
            if start < end {
                bytes[start..end].copy_from_slice(&self.live[start..end]);
            }
        }
        bytes
    }
}

#[derive(Clone, Default)]
struct State {
    files: Vec<Content>,
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    changes: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
}

impl State {
    fn reachable(&self) -> BTreeSet<usize> {
        let renamed = self.changes.iter().filter_map(|change| match change {
            NameChange::Put(_, file) | NameChange::Rename(_, _, file) => Some(*file),
            NameChange::Remove(_) => None,
        });
        self.live.values().chain(self.durable.values()).copied().chain(renamed).collect()
    }

    fn pending(&self) -> Vec<Pending> {
        let mut pending = Vec::new();
        for file in self.reachable() {
            let content = &self.files[file];
            pending.extend(content.dirty.iter().map(|sector| Pending::Sector(file, *sector)));
            if content.live.len() != content.durable.len() {
                pending.push(Pending::Length(file));
            }
        }
        pending.extend((0..self.changes.len()).map(Pending::Name));
        pending
    }
}

/// A disk in memory. Clones share it.
///
/// Contents become durable by [`DiskFile::sync`], in sectors of 512 bytes; names by [`Disk::sync_dir`]; directories at
/// once.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is not durable yet, in a fixed order.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        self.state().pending()
    }

    /// The disk as it is found after a power cut, where of what was not durable exactly that survived for which `keep`
    /// says so. This disk stays as it is.
    #[must_use]
    pub fn crash(&self, keep: &mut dyn FnMut(&Pending) -> bool) -> Self {
        let state = self.state();
        let kept: Vec<Pending> = state.pending().into_iter().filter(|p| keep(p)).collect();
        let mut after =
            State { dirs: state.dirs.clone(), durable: state.durable.clone(), ..State::default() };
        for (number, change) in state.changes.iter().enumerate() {
            if kept.contains(&Pending::Name(number)) {
                change.apply(&mut after.durable);
            }
        }
        for (file, content) in state.files.iter().enumerate() {
            let bytes = content.after_crash(kept.contains(&Pending::Length(file)), |sector| {
                kept.contains(&Pending::Sector(file, sector))
            });
            after.files.push(Content { live: bytes.clone(), durable: bytes, dirty: BTreeSet::new() });
        }
        after.live = after.durable.clone();
        Self(Arc::new(Mutex::new(after)))
    }

    /// An independent copy, durable throughout.
    #[must_use]
    pub fn copy(&self) -> Self {
        self.crash(&mut |_| true)
    }

    /// The bytes of a file; `None` where there is none.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.live.get(path).map(|file| state.files[*file].live.clone())
    }

    /// Puts a file there, durable, over an older one; as a hand that is not the program's would.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let file = state.files.len();
        state.files.push(Content { live: bytes.to_vec(), durable: bytes.to_vec(), dirty: BTreeSet::new() });
        state.live.insert(path.to_owned(), file);
        state.durable.insert(path.to_owned(), file);
        let mut dir = path.parent();
        while let Some(above) = dir {
            state.dirs.insert(above.to_owned());
            dir = above.parent();
        }
    }

    /// Flips bits of a byte of a file, in place, so that those who hold the file open see it too.
    pub fn flip(&self, path: &Path, offset: usize, mask: u8) {
        let mut state = self.state();
        let file = state.live.get(path).copied();
        if let Some(content) = file.and_then(|f| state.files.get_mut(f)) {
            content.live[offset] ^= mask;
            content.durable[offset] ^= mask;
        }
    }

    /// Every file, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().live.keys().cloned().collect()
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{} is not there", path.display()))
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let file = match (state.live.get(path).copied(), how) {
            (Some(_), Open::New) => return Err(ErrorKind::AlreadyExists.into()),
            (Some(file), _) => file,
            (None, Open::New) if path.parent().is_none_or(|dir| state.dirs.contains(dir)) => {
                let file = state.files.len();
                state.files.push(Content::default());
                state.live.insert(path.to_owned(), file);
                state.changes.push(NameChange::Put(path.to_owned(), file));
                file
            }
            (None, _) => return Err(missing(path)),
        };
        Ok(Arc::new(MemoryFile { disk: self.clone(), file }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let below = state.live.keys().chain(state.dirs.iter()).filter(|path| path.parent() == Some(dir));
        let mut names: Vec<String> =
            below.filter_map(|path| path.file_name()).map(|n| n.to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        for above in dir.ancestors() {
            state.dirs.insert(above.to_owned());
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let file = state.live.remove(from).ok_or_else(|| missing(from))?;
        state.live.insert(to.to_owned(), file);
        state.changes.push(NameChange::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.live.remove(path).ok_or_else(|| missing(path))?;
        state.changes.push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let changes = std::mem::take(&mut state.changes);
        let (done, rest): (Vec<_>, Vec<_>) = changes.into_iter().partition(|c| c.dir() == Some(dir));
        for change in done {
            change.apply(&mut state.durable);
        }
        state.changes = rest;
        Ok(())
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].live.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let live = &state.files[self.file].live;
        let start = live.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let n = buffer.len().min(live.len() - start);
        buffer[..n].copy_from_slice(&live[start..start + n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        self.disk.state().files[self.file].write(bytes, offset);
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| ErrorKind::FileTooLarge)?;
        self.disk.state().files[self.file].set_len(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.state().files[self.file].sync();
        Ok(())
    }
}
