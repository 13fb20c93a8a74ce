//! Appending. The order is the safety argument: make room, write, sync, publish.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use crate::disk::{DiskFile, Open};
use crate::entry::{Header, IdKey, Record};
use crate::tree::Frontier;
use crate::types::{LedgerUid, Position};

use super::frame::{self, FrameHeader};
use super::index::{End, Index};
use super::segment::{Form, HEADER_BYTES, SegmentHeader, align};
use super::segments::SegmentLog;
use super::view::OpenSegment;
use super::{AppendError, Tail, footer, group};

/// What the one who appends holds.
pub(crate) struct Writer {
    /// The open segment; `None` while there is none, before the first append and between two segments.
    file: Option<Arc<dyn DiskFile>>,
    /// Why nothing is appended any more.
    stopped: Option<String>,
    buffer: Vec<u8>,
    published: Option<Arc<dyn DiskFile>>,
}

impl Writer {
    pub(crate) fn new(file: Option<Arc<dyn DiskFile>>, stopped: Option<String>) -> Self {
        Self { file, stopped, buffer: Vec::new(), published: None }
    }

    /// Nobody knows what the file holds now: it is never written again.
    fn stop(&mut self, error: io::Error) -> AppendError {
        self.file = None;
        self.stopped = Some(format!("an earlier write failed, open the log anew to repair it: {error}"));
        AppendError::Unknown(error)
    }
}

/// The first bytes of the file that tells how far the log is durable.
const PUBLISHED_MAGIC: &[u8; 8] = b"TKLTAIL1";
const PUBLISHED_NAME: &str = "tail";

impl SegmentLog {
    pub(crate) fn write_group(&self, expected: Position, group: &[Record]) -> Result<Tail, AppendError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &writer.stopped {
            return Err(AppendError::Stopped(why.clone()));
        }
        let tail = self.view().tail;
        if tail.next != expected {
            return Err(AppendError::Moved { expected, actual: tail.next });
        }
        let (headers, bytes) = group::check(&tail, group)?;
        let Some(last) = headers.last().zip(group.last()) else { return Ok(tail) };
        self.make_room(&mut writer, &tail, last.0.uid, bytes as u64, group.len() as u64)?;
        self.write_frames(&mut writer, &tail, last.0.uid, group)?;
        let tail = Tail::after(last.0, last.1.link);
        let tree = self.grown(group);
        self.publish(&mut writer, tail, tree, &headers, group);
        Ok(tail)
    }

    /// A group never spans two segments: where it does not fit, and its ids in the footer with it, the segment is
    /// sealed and the next one begun.
    fn make_room(
        &self,
        writer: &mut Writer,
        tail: &Tail,
        uid: LedgerUid,
        bytes: u64,
        entries: u64,
    ) -> Result<(), AppendError> {
        let frontier = footer::frontier_bytes(tail.next.0 + entries);
        let needed = |offset: u64, count: u64| {
            align(offset + bytes) + align(footer::footer_bytes(count + entries, frontier))
        };
        let fits = self
            .view()
            .open
            .as_ref()
            .is_some_and(|open| needed(open.index.end.offset, open.index.count()) <= open.capacity);
        if fits && writer.file.is_some() {
            return Ok(());
        }
        // The old segment is sealed only once the space for the next one is claimed; so a full disk finds the log as
        // it was, and can be tried again.
        let mut next = self.next();
        let header = |capacity| SegmentHeader {
            form: Form::Plain,
            uid,
            first: tail.next,
            previous: tail.link,
            capacity,
        };
        let taken = self.take_next(&mut next, needed(HEADER_BYTES, 0), header).map_err(AppendError::Full)?;
        self.seal(writer)?;
        let name = self.name_next(&mut next, tail.next, taken.capacity).map_err(AppendError::Full)?;
        let before = End {
            next: tail.next,
            offset: HEADER_BYTES,
            link: tail.link,
            recorded_at: tail.recorded_at,
            epoch: tail.epoch,
        };
        let index = Index::new(before, self.view().tree_before(tail.next));
        writer.file = Some(taken.file);
        self.view_mut().open = Some(OpenSegment { name, uid, capacity: taken.capacity, index });
        Ok(())
    }

    /// Writes the footer of the open segment, if there is one, and cuts the file behind it.
    fn seal(&self, writer: &mut Writer) -> Result<(), AppendError> {
        let Some(file) = writer.file.take() else { return Ok(()) };
        let (footer, start) = match &self.view().open {
            Some(open) if open.index.count() > 0 => {
                (footer::encode(&open.index), align(open.index.end.offset))
            }
            // An empty segment is replaced under its own name.
            _ => return Ok(()),
        };
        let sealed = file
            .write_at(&footer, start)
            .and_then(|()| file.sync())
            .and_then(|()| file.set_len(start + footer.len() as u64))
            .and_then(|()| file.sync());
        sealed.map_err(|e| writer.stop(e))?;
        let mut view = self.view_mut();
        let closed = view.open.take().map(|open| Arc::new(open.seal(Some(start))));
        view.sealed.extend(closed);
        Ok(())
    }

    fn write_frames(
        &self,
        writer: &mut Writer,
        tail: &Tail,
        uid: LedgerUid,
        group: &[Record],
    ) -> Result<(), AppendError> {
        writer.buffer.clear();
        for (lag, record) in (0_u32..).zip(group) {
            let header = FrameHeader {
                // `group::check` has decoded the entry, which is not larger than 16 bits can say.
                entry_bytes: u16::try_from(record.entry.len()).unwrap_or(u16::MAX),
                batch: record.batch,
                lag,
                entry_crc: crc32fast::hash(&record.entry),
            };
            let position = Position(tail.next.0 + u64::from(lag));
            frame::encode(&mut writer.buffer, uid, position, &header, &record.entry);
        }
        let offset = self.view().open.as_ref().map_or(HEADER_BYTES, |o| o.index.end.offset);
        let Some(file) = &writer.file else {
            return Err(AppendError::Stopped("no segment is open".into()));
        };
        let written = file.write_at(&writer.buffer, offset).and_then(|()| file.sync());
        written.map_err(|e| writer.stop(e))
    }

    /// The tree with a group that was just written. Readers need not wait for its hashes.
    fn grown(&self, group: &[Record]) -> Option<Frontier> {
        let mut tree = self.view().open.as_ref()?.index.tree.clone()?;
        group.iter().for_each(|record| tree.push(record.leaf()));
        Some(tree)
    }

    fn publish(
        &self,
        writer: &mut Writer,
        tail: Tail,
        tree: Option<Frontier>,
        headers: &[Header],
        group: &[Record],
    ) {
        let mut view = self.view_mut();
        if let Some(open) = &mut view.open {
            for (header, record) in headers.iter().zip(group) {
                let bytes = frame::FRAME_EXTRA_BYTES + record.entry.len();
                let key = record.id_key().unwrap_or_else(|| IdKey::of(&header.emitter, &header.event_id));
                open.index.push(header, key, record.link, open.index.end.offset, bytes);
            }
            open.index.tree = tree;
        }
        view.tail = tail;
        drop(view);
        self.publish_to_file(writer, &tail);
    }

    /// Tells a verifier beside the running server how far it may read. Advice only: nothing depends on it, so no sync,
    /// and a failure is nobody's concern.
    fn publish_to_file(&self, writer: &mut Writer, tail: &Tail) {
        if writer.published.is_none() {
            let path: PathBuf = self.ledger_dir.join(PUBLISHED_NAME);
            writer.published =
                self.disk.open(&path, Open::Write).or_else(|_| self.disk.open(&path, Open::New)).ok();
        }
        let mut bytes = PUBLISHED_MAGIC.to_vec();
        bytes.extend_from_slice(&tail.next.0.to_le_bytes());
        bytes.extend_from_slice(&tail.link.0);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let written = writer.published.as_ref().map(|file| file.write_at(&bytes, 0));
        if written.is_some_and(|w| w.is_err()) {
            writer.published = None;
        }
    }

    fn view_mut(&self) -> std::sync::RwLockWriteGuard<'_, super::view::View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}
