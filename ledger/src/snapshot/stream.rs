//! A file as a stream that is hashed as it goes, in buffers of a bounded size.

use std::io::{self, Write};
use std::sync::Arc;

use super::HASH_BYTES;
use crate::disk::DiskFile;
use crate::state::Source;

/// How much is gathered before it is written, or read at a time.
const BUFFER_BYTES: usize = 1024 * 1024;
/// How much is written before it is synced. A sync of much at once would hold up those of the log.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;

/// A new file, as it is written.
pub(super) struct Out {
    file: Arc<dyn DiskFile>,
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
    written: u64,
    synced: u64,
}

impl Out {
    pub(super) fn new(file: Arc<dyn DiskFile>) -> Self {
        let gathered = Vec::with_capacity(BUFFER_BYTES);
        Self { file, hasher: blake3::Hasher::new(), gathered, written: 0, synced: 0 }
    }

    /// Writes the hash of everything before, and syncs the file. Returns how many bytes it has.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.hasher.update(&self.gathered);
        self.gathered.extend_from_slice(self.hasher.finalize().as_bytes());
        self.pass_on()?;
        self.file.sync()?;
        Ok(self.written)
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.file.write_at(&self.gathered, self.written)?;
        self.written += self.gathered.len() as u64;
        self.gathered.clear();
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync()?;
            self.synced = self.written;
        }
        Ok(())
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BUFFER_BYTES - self.gathered.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.gathered.extend_from_slice(taken);
        if self.gathered.len() == BUFFER_BYTES {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hasher.update(&self.gathered);
        self.pass_on()
    }
}

/// A file, as it is read.
pub(super) struct Input {
    file: Arc<dyn DiskFile>,
    hasher: blake3::Hasher,
    /// What was read, and how much of it was taken.
    buffer: Vec<u8>,
    taken: usize,
    /// Where the next read begins, and where the hash at the end does.
    offset: u64,
    end: u64,
}

impl Input {
    pub(super) fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let end = file.len()?.checked_sub(HASH_BYTES as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Self { file, hasher: blake3::Hasher::new(), buffer: Vec::new(), taken: 0, offset: 0, end })
    }

    pub(super) fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.bytes(N)?.try_into().map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }

    /// Whether everything was taken, and the hash at the end is that of it.
    pub(super) fn ends_whole(self) -> io::Result<bool> {
        let mut hash = [0; HASH_BYTES];
        let read = self.file.read_at(&mut hash, self.offset)?;
        let all = self.offset == self.end && self.taken == self.buffer.len() && read == HASH_BYTES;
        Ok(all && *self.hasher.finalize().as_bytes() == hash)
    }

    /// Reads on, until at least so many bytes are there to be taken.
    fn fill(&mut self, count: usize) -> io::Result<()> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let (had, left) = (self.buffer.len(), self.end - self.offset);
        let wanted = count.max(BUFFER_BYTES).saturating_sub(had);
        let more = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
        if had.saturating_add(more) < count {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.resize(had + more, 0);
        let place = self.buffer.get_mut(had..).unwrap_or_default();
        if self.file.read_at(place, self.offset)? != more {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.hasher.update(place);
        self.offset += more as u64;
        Ok(())
    }
}

impl Source for Input {
    fn bytes(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.buffer.len() - self.taken < count {
            self.fill(count)?;
        }
        let bytes = self.buffer.get(self.taken..self.taken + count).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.taken += count;
        Ok(bytes)
    }
}
