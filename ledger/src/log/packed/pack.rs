//! Packing: a sealed segment is checked, compressed into a file beside it, and that file read back and compared,
//! before it takes the segment's name. Until then nothing is lost by losing it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, TryLockError};

use crate::disk::{DiskFile, Open};
use crate::log::Damage;
use crate::log::read::read_range;
use crate::log::segment::{Form, HEADER_BYTES, SegmentHeader, log_dir};
use crate::log::segments::SegmentLog;
use crate::log::view::Sealed;
use crate::types::{LedgerUid, Position};

use super::block::{self, BlockWriter, FRAMES_BYTES};
use super::source::Source;
use super::{Head, PACK_NAME, PackedTotals, footer, head_of};

/// How much is written at once.
const WRITE_BYTES: usize = 256 * 1024;

/// A segment that was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedSegment {
    /// Its first position.
    pub first: Position,
    /// Its entries.
    pub entries: u64,
    /// Bytes of its file before, and now.
    pub bytes_before: u64,
    /// See `bytes_before`.
    pub bytes: u64,
}

/// Why a segment was not packed. It is left as it was.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It is not what was written. It is not tried again before the log is opened anew.
    #[error("a segment is not packed: {0}")]
    Damaged(Damage),
    /// What was packed was not what it was packed from.
    #[error("the packed copy of {0} reads back differently; it was thrown away")]
    Differs(String),
    /// The disk failed or is full. The next call tries anew.
    #[error("a segment cannot be packed: {0}")]
    Io(#[from] io::Error),
}

impl SegmentLog {
    /// Packs the oldest segment that is to be packed, and gives it; `None` where there is none, where another call is
    /// packing already, or where `go_on`, which is asked every few hundred kilobytes, said no meanwhile. The newest
    /// `keep` sealed segments are left as they are, and the last segment in any case; of a damaged log, all are.
    ///
    /// Appends and reads go on meanwhile.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn pack_next(
        &self,
        keep: usize,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<PackedSegment>, PackError> {
        let mut unfit = match self.packing.try_lock() {
            Ok(unfit) => unfit,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        let Some(sealed) = self.candidate(keep, &unfit) else { return Ok(None) };
        let packed = self.pack(&sealed, go_on);
        if !matches!(packed, Ok(Some(_))) {
            // What is left of it is removed here or, where that fails too, by the next try or start.
            let _ = self.disk.remove(&self.pack_path());
        }
        if matches!(packed, Err(PackError::Damaged(_) | PackError::Differs(_))) {
            unfit.push(sealed.first);
        }
        packed
    }

    /// How many segments before the newest `keep` sealed ones are not packed, whatever the reason.
    #[must_use]
    pub fn waits_for_packing(&self, keep: usize) -> usize {
        self.view().cold(keep).iter().filter(|sealed| sealed.is_plain()).count()
    }

    /// How much of the log is packed.
    #[must_use]
    pub fn packed(&self) -> PackedTotals {
        let view = self.view();
        let packed = view.sealed.iter().filter_map(|sealed| sealed.blocks.as_ref());
        packed.fold(PackedTotals::default(), |sum, blocks| PackedTotals {
            segments: sum.segments + 1,
            bytes: sum.bytes + blocks.file_bytes,
            bytes_before: sum.bytes_before + blocks.bytes_before,
        })
    }

    fn pack_path(&self) -> PathBuf {
        log_dir(&self.ledger_dir).join(PACK_NAME)
    }

    /// The oldest segment that is to be packed.
    fn candidate(&self, keep: usize, unfit: &[Position]) -> Option<Arc<Sealed>> {
        let view = self.view();
        if !view.damage.is_empty() {
            return None;
        }
        let fit = |sealed: &&Arc<Sealed>| sealed.is_plain() && !unfit.contains(&sealed.first);
        view.cold(keep).iter().find(fit).map(Arc::clone)
    }

    fn pack(
        &self,
        sealed: &Arc<Sealed>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<PackedSegment>, PackError> {
        let plain = self.plain_file(sealed)?;
        match self.disk.remove(&self.pack_path()) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        let mut output = Output::new(self.disk.open(&self.pack_path(), Open::New)?);
        // A footer from before there was a tree has none to compare with.
        let tree = sealed.tree.as_ref().and_then(|_| self.view().tree_before(sealed.first));
        let source = Source::new(Arc::clone(&plain), Arc::clone(sealed), sealed.end, tree)?;
        let Some(source) = output.pack(source, go_on)? else { return Ok(None) };
        let Some(head) = self.read_back(&source, plain.as_ref(), go_on)? else { return Ok(None) };
        let packed = PackedSegment {
            first: sealed.first,
            entries: sealed.next.0 - sealed.first.0,
            bytes_before: plain.len()?,
            bytes: head.blocks.file_bytes,
        };
        self.swap(sealed, head)?;
        Ok(Some(packed))
    }

    /// The file of a segment that is not packed.
    fn plain_file(&self, sealed: &Sealed) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&log_dir(&self.ledger_dir).join(&sealed.name), Open::Read)
    }

    /// Reads the packed file as every reader will, and compares its frames with those it was made from.
    fn read_back(
        &self,
        source: &Source,
        plain: &dyn DiskFile,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Head>, PackError> {
        let file = self.disk.open(&self.pack_path(), Open::Read)?;
        let differs = || PackError::Differs(source.name());
        let head = head_of(file.as_ref(), file.len()?)?.ok_or_else(differs)?;
        let same = head.uid == source.header.uid
            && head.first == source.header.first
            && head.end == source.index.end
            && head.tree == source.index.tree
            && footer::keys_of(file.as_ref(), head.start, head.blocks.file_bytes)?
                .is_some_and(|keys| keys.iter().eq(source.index.ids.iter().map(|(key, _)| key)))
            && source.has_header(file.as_ref())?;
        if !same {
            return Err(differs());
        }
        let mut offset = HEADER_BYTES;
        for nth in 0.. {
            let Some(place) = head.blocks.get(nth) else { break };
            if nth % 64 == 0 && !go_on() {
                return Ok(None);
            }
            let block = read_range(file.as_ref(), place.start, place.end)?;
            let opened = block::open(&block, head.uid, super::at(head.first, place.first));
            let (entries, frames) = opened.ok_or_else(differs)?;
            let end = offset + frames.len() as u64;
            if entries != place.entries || read_range(plain, offset, end)? != frames {
                return Err(differs());
            }
            offset = end;
        }
        if offset == source.index.end.offset { Ok(Some(head)) } else { Err(differs()) }
    }

    /// Gives the packed file the segment's name. Whoever looks for the segment finds either the old file with the old
    /// description of it, or the new one with the new: nobody looks in between.
    fn swap(&self, sealed: &Arc<Sealed>, head: Head) -> io::Result<()> {
        let dir = log_dir(&self.ledger_dir);
        let path = dir.join(&sealed.name);
        let mut files = self.handles.lock();
        let renamed = self.disk.rename(&self.pack_path(), &path);
        if renamed.is_err() && !self.is_packed(&path)? {
            return renamed;
        }
        let packed = Arc::new(Sealed {
            name: sealed.name.clone(),
            uid: sealed.uid,
            first: sealed.first,
            next: sealed.next,
            end: sealed.end,
            strides: Vec::new(),
            footer: Some(head.start),
            blocks: Some(head.blocks),
            tree: head.tree,
        });
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = view.sealed.iter_mut().find(|s| Arc::ptr_eq(s, sealed)) {
            *old = packed;
        }
        drop(view);
        files.forget(&sealed.name);
        drop(files);
        self.disk.sync_dir(&dir)
    }

    /// Whether the file of a segment is a packed one: a rename that failed may have happened.
    fn is_packed(&self, path: &Path) -> io::Result<bool> {
        let file = self.disk.open(path, Open::Read)?;
        let header = read_range(file.as_ref(), 0, HEADER_BYTES)?;
        Ok(SegmentHeader::decode(&header).is_ok_and(|header| header.form == Form::Packed))
    }
}

/// The packed file while it is written.
struct Output {
    file: Arc<dyn DiskFile>,
    written: u64,
    buffer: Vec<u8>,
    starts: Vec<(u32, u32)>,
    /// The frames of the next block, and the position of the first.
    frames: Vec<u8>,
    first: Position,
    entries: u32,
}

impl Output {
    fn new(file: Arc<dyn DiskFile>) -> Self {
        let (buffer, starts, frames) = (Vec::new(), Vec::new(), Vec::new());
        Self { file, written: 0, buffer, starts, frames, first: Position(0), entries: 0 }
    }

    /// Writes all of it and makes it durable. `None` where `go_on` said no.
    fn pack(&mut self, mut source: Source, go_on: &dyn Fn() -> bool) -> Result<Option<Source>, PackError> {
        let mut writer = BlockWriter::new()?;
        let (uid, segment) = (source.header.uid, source.header.first);
        self.buffer.extend_from_slice(&SegmentHeader { form: Form::Packed, ..source.header }.encode());
        while let Some(entry) = source.next()? {
            if !self.frames.is_empty() && self.frames.len() + entry.frame.len() > FRAMES_BYTES {
                self.block(&mut writer, uid, segment)?;
            }
            if self.entries == 0 {
                self.first = entry.position;
            }
            self.frames.extend_from_slice(entry.frame);
            self.entries += 1;
            if self.buffer.len() >= WRITE_BYTES {
                self.flush()?;
                if !go_on() {
                    return Ok(None);
                }
            }
        }
        source.close()?;
        self.block(&mut writer, uid, segment)?;
        self.buffer.extend(footer::encode(&source.index, uid, &self.starts));
        self.flush()?;
        self.file.sync()?;
        Ok(Some(source))
    }

    fn block(&mut self, writer: &mut BlockWriter, uid: LedgerUid, segment: Position) -> io::Result<()> {
        let offset = u32::try_from(self.written + self.buffer.len() as u64);
        let number = u32::try_from(self.first.0 - segment.0);
        let (Ok(number), Ok(offset)) = (number, offset) else { return Err(ErrorKind::FileTooLarge.into()) };
        self.starts.push((number, offset));
        writer.write(&mut self.buffer, uid, self.first, self.entries, &self.frames)?;
        self.frames.clear();
        self.entries = 0;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
