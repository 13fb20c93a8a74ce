//! Preparing the next segment: the only place where the log claims space, and so the only one where a full disk is
//! met. Whatever fails here is tried anew from the start, with a new file.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::disk::{DiskFile, Open};
use crate::types::Position;

use super::segment::{CAPACITY_BYTES_MAX, NEXT_NAME, SegmentHeader, align, file_name, log_dir};
use super::segments::SegmentLog;

/// Zeros are written in pieces of so many bytes.
const PIECE_BYTES: usize = 256 * 1024;
/// So many of them are synced at a time: an entry's sync that comes in between waits for no more than that.
const SYNC_BYTES: u64 = 2 * 1024 * 1024;
/// Each segment is so many times larger than the one before.
const GROWTH: u64 = 4;

/// What is known of the segment after the open one.
pub(crate) struct Next {
    /// The capacity of the newest segment; 0 while there is none.
    capacity_last: u64,
    ready: Option<Prepared>,
}

/// A file of durable zeros under [`NEXT_NAME`].
pub(crate) struct Prepared {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) capacity: u64,
}

impl Next {
    pub(crate) fn new(capacity_last: u64) -> Self {
        Self { capacity_last, ready: None }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.is_some()
    }
}

/// Writes zeros from `start` to `end`.
pub(crate) fn write_zeros(file: &dyn DiskFile, start: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; PIECE_BYTES.min(usize::try_from(end.saturating_sub(start)).unwrap_or(PIECE_BYTES))];
    let mut at = start;
    while at < end {
        let bytes = usize::try_from(end - at).unwrap_or(PIECE_BYTES).min(zeros.len());
        file.write_at(&zeros[..bytes], at)?;
        at += bytes as u64;
    }
    Ok(())
}

impl SegmentLog {
    /// Held from taking the prepared segment until it has its name, so that nothing else is prepared in between.
    pub(crate) fn next(&self) -> MutexGuard<'_, Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_path(&self) -> PathBuf {
        log_dir(&self.ledger_dir).join(NEXT_NAME)
    }

    /// Prepares the next segment of the scheduled size, unless it is ready.
    pub(crate) fn prepare_ahead(&self) -> io::Result<()> {
        let mut next = self.next();
        if !next.is_ready() {
            next.ready = Some(self.prepare(self.scheduled(&next))?);
        }
        Ok(())
    }

    fn scheduled(&self, next: &Next) -> u64 {
        let bytes = match next.capacity_last {
            0 => self.options.first_segment_bytes,
            last => last.saturating_mul(GROWTH).min(self.options.segment_bytes_max),
        };
        align(bytes.clamp(1, CAPACITY_BYTES_MAX))
    }

    /// Makes a file of durable zeros. A partial one is cleaned up, as far as the disk allows; the next try does so
    /// first of all in any case.
    fn prepare(&self, capacity: u64) -> io::Result<Prepared> {
        let made = self.try_prepare(capacity);
        if made.is_err() {
            let _ = self.disk.remove(&self.next_path());
        }
        made
    }

    fn try_prepare(&self, capacity: u64) -> io::Result<Prepared> {
        self.disk.make_dir(&log_dir(&self.ledger_dir))?;
        match self.disk.remove(&self.next_path()) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = self.disk.open(&self.next_path(), Open::New)?;
        let mut at = 0;
        while at < capacity {
            let end = capacity.min(at + SYNC_BYTES);
            write_zeros(file.as_ref(), at, end)?;
            file.sync()?;
            at = end;
        }
        Ok(Prepared { file, capacity })
    }

    /// Takes the prepared segment, or prepares one, with at least `bytes_min`; `header` is made durable in it.
    pub(crate) fn take_next(
        &self,
        next: &mut Next,
        bytes_min: u64,
        header: impl FnOnce(u64) -> SegmentHeader,
    ) -> io::Result<Prepared> {
        let ready = next.ready.take().filter(|p| p.capacity >= bytes_min);
        let prepared = match ready {
            Some(prepared) => prepared,
            None => self.prepare(self.scheduled(next).max(align(bytes_min)))?,
        };
        let bytes = header(prepared.capacity).encode();
        let written = prepared.file.write_at(&bytes, 0).and_then(|()| prepared.file.sync());
        if written.is_err() {
            let _ = self.disk.remove(&self.next_path());
        }
        written.map(|()| prepared)
    }

    /// Gives the taken segment its name, which may replace an empty segment that an earlier try left behind.
    pub(crate) fn name_next(&self, next: &mut Next, first: Position, capacity: u64) -> io::Result<String> {
        let name = file_name(first);
        let dir = log_dir(&self.ledger_dir);
        let path = dir.join(&name);
        let named = self.disk.rename(&self.next_path(), &path).and_then(|()| self.disk.sync_dir(&dir));
        self.handles.forget(&name);
        if named.is_err() {
            let _ = self.disk.remove(&self.next_path());
        }
        named?;
        next.capacity_last = capacity;
        Ok(name)
    }
}
