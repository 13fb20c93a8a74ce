//! Reading: every entry is checked again on its way out.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::entry::{self, IdKey, Record};
use crate::types::{LedgerUid, Link, Position};

use super::footer::{self, TRAILER_BYTES};
use super::frame::{self, FRAME_HEADER_BYTES, Found, FrameHeader};
use super::packed::{PackedWalk, keys_of};
use super::segment::reported;
use super::segments::SegmentLog;
use super::view::{Sealed, Span};
use super::{Damage, ReadError};

/// The least and the most that is read from a file at once.
const CHUNK_BYTES: (usize, usize) = (16 * 1024, 256 * 1024);

/// Bytes of `file` from `start` to `end`; fewer where it ends early.
pub(crate) fn read_range(file: &dyn DiskFile, start: u64, end: u64) -> std::io::Result<Vec<u8>> {
    let bytes = usize::try_from(end.saturating_sub(start)).map_err(|_| std::io::ErrorKind::OutOfMemory)?;
    let mut buffer = vec![0; bytes];
    let there = file.read_at(&mut buffer, start)?;
    buffer.truncate(there);
    Ok(buffer)
}

/// Walks the frames of one segment.
struct Walk {
    file: Arc<dyn DiskFile>,
    span: Span,
    /// The frame that comes next, and its offset.
    position: Position,
    offset: u64,
    /// The link of the entry before it, where that was read.
    previous: Option<Link>,
    chunk: Vec<u8>,
    chunk_offset: u64,
    chunk_bytes: usize,
}

impl Walk {
    fn new(file: Arc<dyn DiskFile>, span: Span, bytes_max: usize) -> Self {
        let (position, offset) = span.start;
        let chunk_bytes = bytes_max.clamp(CHUNK_BYTES.0, CHUNK_BYTES.1);
        Self { file, span, position, offset, previous: None, chunk: Vec::new(), chunk_offset: 0, chunk_bytes }
    }

    /// The bytes from the next frame on, at least `bytes` of them where the segment has so many.
    fn here(&mut self, bytes: usize) -> Result<&[u8], ReadError> {
        let held = self.chunk_offset + self.chunk.len() as u64;
        let wanted = (self.offset + bytes as u64).min(self.span.end.1);
        if self.offset < self.chunk_offset || wanted > held {
            let end = (self.offset + bytes.max(self.chunk_bytes) as u64).min(self.span.end.1);
            self.chunk = read_range(self.file.as_ref(), self.offset, end)?;
            self.chunk_offset = self.offset;
        }
        let at = usize::try_from(self.offset - self.chunk_offset).unwrap_or(usize::MAX);
        Ok(self.chunk.get(at..).unwrap_or_default())
    }

    fn damaged(&self, position: Position, reason: &str) -> ReadError {
        let file = reported(&self.span.name);
        ReadError::Damaged(Damage { position, file, offset: self.offset, reason: reason.to_owned() })
    }

    fn header(&mut self) -> Result<FrameHeader, ReadError> {
        let (uid, position) = (self.span.uid, self.position);
        let header = FrameHeader::decode(self.here(FRAME_HEADER_BYTES)?, uid, position);
        header.ok_or_else(|| self.damaged(position, "the frame is not what was written"))
    }

    fn step(&mut self, header: &FrameHeader) {
        self.offset += header.frame_bytes() as u64;
        self.position = self.position.next();
    }

    /// Goes forward to a position; over a broken frame by searching for the wanted one at every offset behind it.
    fn go_to(&mut self, wanted: Position) -> Result<(), ReadError> {
        while self.position < wanted {
            match self.header() {
                Ok(header) => self.step(&header),
                Err(ReadError::Damaged(damage)) => {
                    return self
                        .search(wanted)
                        .ok_or(ReadError::Damaged(Damage { position: wanted, ..damage }));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn search(&mut self, wanted: Position) -> Option<()> {
        let bytes = read_range(self.file.as_ref(), self.offset, self.span.end.1).ok()?;
        let (at, _) = frame::search(&bytes, 1, self.span.uid, wanted.0..wanted.0 + 1)?;
        self.offset += at as u64;
        self.position = wanted;
        Some(())
    }

    fn record(&mut self, entry_bytes_max: Option<usize>) -> Result<Option<Record>, ReadError> {
        let header = self.header()?;
        if entry_bytes_max.is_some_and(|max| usize::from(header.entry_bytes) > max) {
            return Ok(None);
        }
        let (uid, position, previous) = (self.span.uid, self.position, self.previous);
        let Found::Whole(_, entry) = frame::look(self.here(header.frame_bytes())?, uid, position) else {
            return Err(self.damaged(position, "the entry is not what was written"));
        };
        let sound = continues(entry, uid, position, previous);
        let record = Record::new(Bytes::copy_from_slice(entry), entry::link(entry), header.batch);
        if let Err(reason) = sound {
            return Err(self.damaged(position, reason));
        }
        self.previous = Some(record.link);
        self.step(&header);
        Ok(Some(record))
    }
}

pub(super) fn continues(
    entry: &[u8],
    uid: LedgerUid,
    at: Position,
    previous: Option<Link>,
) -> Result<(), &'static str> {
    let (header, _) = entry::decode(entry).map_err(|_| "the entry's header cannot be read")?;
    if header.uid != uid || header.position != at {
        return Err("the entry belongs elsewhere");
    }
    if previous.is_some_and(|link| link != header.previous) {
        return Err("the entry does not carry the link of the one before");
    }
    Ok(())
}

/// Where to begin reading, and the file that is meant.
type Located = (Span, Arc<dyn DiskFile>);

/// Walks the entries of a segment, whatever its form.
enum AnyWalk {
    Plain(Walk),
    Packed(PackedWalk),
}

impl AnyWalk {
    /// From `at` on, behind an entry whose link is `previous`, where that was read.
    fn new(
        file: Arc<dyn DiskFile>,
        mut span: Span,
        at: Position,
        bytes_max: usize,
        previous: Option<Link>,
    ) -> Result<Self, ReadError> {
        if let Some(sealed) = span.packed.take() {
            let mut walk = PackedWalk::new(file, sealed, at, bytes_max);
            walk.previous = previous;
            return Ok(Self::Packed(walk));
        }
        let mut walk = Walk::new(file, span, bytes_max);
        walk.go_to(at)?;
        walk.previous = previous;
        Ok(Self::Plain(walk))
    }

    fn position(&self) -> Position {
        match self {
            Self::Plain(walk) => walk.position,
            Self::Packed(walk) => walk.position,
        }
    }

    fn record(&mut self, entry_bytes_max: Option<usize>) -> Result<Option<Record>, ReadError> {
        match self {
            Self::Plain(walk) => walk.record(entry_bytes_max),
            Self::Packed(walk) => walk.record(entry_bytes_max),
        }
    }
}

impl SegmentLog {
    pub(crate) fn read_entries(&self, from: Position, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        let mut records = Vec::new();
        let mut room = bytes_max;
        let mut previous = None;
        loop {
            let at = Position(from.0 + records.len() as u64);
            let read = self.read_span(at, &mut previous, &mut records, &mut room);
            match read {
                Ok(true) => {}
                Ok(false) => return Ok(records),
                // The next call starts at the damage, and says so.
                Err(_) if !records.is_empty() => return Ok(records),
                Err(e) => return Err(e),
            }
        }
    }

    /// Where `at` stands; `None` at the end of the log.
    pub(super) fn find(&self, at: Position) -> Result<Option<Span>, ReadError> {
        let view = self.view();
        if let Some(span) = view.span(at) {
            return Ok(Some(span));
        }
        // A log that was found damaged may end where it should not, or have a hole.
        let of_entries = |d: &&Damage| !view.is_beside_entries(d);
        let here = |d: &&Damage| d.position == at || (d.position < at && at < view.tail.next);
        let damage = view.damage.iter().filter(of_entries).find(here);
        if let Some(damage) = damage {
            return Err(ReadError::Damaged(Damage { position: at, ..damage.clone() }));
        }
        Ok(None)
    }

    /// Where `at` stands, and the file; `None` at the end of the log.
    pub(super) fn locate(&self, at: Position) -> Result<Option<Located>, ReadError> {
        let mut files = self.handles.lock();
        let Some(span) = self.find(at)? else { return Ok(None) };
        let file = files.get(self.disk.as_ref(), &self.ledger_dir, &span.name)?;
        Ok(Some((span, file)))
    }

    /// Reads on from `at` to the end of its segment. Whether there may be more, behind it.
    fn read_span(
        &self,
        at: Position,
        previous: &mut Option<Link>,
        records: &mut Vec<Record>,
        room: &mut usize,
    ) -> Result<bool, ReadError> {
        let Some((span, file)) = self.locate(at)? else { return Ok(false) };
        let end = span.end.0;
        let mut walk = AnyWalk::new(file, span, at, *room, *previous)?;
        while walk.position() < end {
            let limit = (!records.is_empty()).then_some(*room);
            let Some(record) = walk.record(limit)? else { return Ok(false) };
            *room = room.saturating_sub(record.entry.len());
            *previous = Some(record.link);
            records.push(record);
        }
        Ok(true)
    }

    pub(crate) fn each_id(
        &self,
        from: Position,
        f: &mut dyn FnMut(IdKey, Position),
    ) -> Result<(), ReadError> {
        let sealed: Vec<Arc<Sealed>> = self.view().sealed.iter().filter(|s| s.next > from).cloned().collect();
        for segment in &sealed {
            if !self.ids_of_footer(segment, from, f)? {
                self.ids_of_entries(from.max(segment.first), segment.next, f)?;
            }
        }
        // A segment that was sealed since is read from memory no more; its entries are still there.
        let from = sealed.last().map_or(from, |s| s.next.max(from));
        let tail = self.view().tail.next;
        match self.open_ids(from) {
            Some(ids) => ids.into_iter().for_each(|(key, position)| f(key, position)),
            None => self.ids_of_entries(from, tail, f)?,
        }
        Ok(())
    }

    /// The ids of the open segment from `from` on; `None` where that begins later, or is known to have holes.
    fn open_ids(&self, from: Position) -> Option<Vec<(IdKey, Position)>> {
        let view = self.view();
        let open = view.open.as_ref()?;
        let index = &open.index;
        if from < index.first || index.ids.len() as u64 != index.count() {
            return None;
        }
        let ids = index.ids.iter().map(|(key, n)| (*key, Position(index.first.0 + u64::from(*n))));
        Some(ids.filter(|(_, position)| *position >= from).collect())
    }

    /// A sealed segment as it is now, which may have been packed meanwhile, and its file.
    fn current(&self, segment: &Arc<Sealed>) -> std::io::Result<(Arc<Sealed>, Arc<dyn DiskFile>)> {
        let mut files = self.handles.lock();
        let view = self.view();
        let now = view.sealed.iter().find(|s| s.first == segment.first && s.name == segment.name);
        let now = Arc::clone(now.unwrap_or(segment));
        drop(view);
        let file = files.get(self.disk.as_ref(), &self.ledger_dir, &now.name)?;
        Ok((now, file))
    }

    /// Whether the segment's footer is sound; if so, its ids were passed on.
    fn ids_of_footer(
        &self,
        segment: &Arc<Sealed>,
        from: Position,
        f: &mut dyn FnMut(IdKey, Position),
    ) -> Result<bool, ReadError> {
        let (segment, file) = self.current(segment)?;
        let Some(start) = segment.footer else { return Ok(false) };
        if let Some(blocks) = &segment.blocks {
            let Some(keys) = keys_of(file.as_ref(), start, blocks.file_bytes)? else { return Ok(false) };
            let ids = (segment.first.0..segment.next.0).map(Position).zip(keys);
            ids.filter(|(position, _)| *position >= from).for_each(|(position, key)| f(key, position));
            return Ok(true);
        }
        let bytes = read_range(file.as_ref(), start, file.len()?)?;
        let Some((footer, ids)) = footer::decode(&bytes, start) else { return Ok(false) };
        // A footer that names an entry twice names another one not at all, whatever its CRC says.
        let mut keys: Vec<Option<IdKey>> = vec![None; ids.len() / footer::ID_BYTES as usize];
        for (key, number) in footer::ids(ids) {
            match usize::try_from(number).ok().and_then(|number| keys.get_mut(number)) {
                Some(place @ None) => *place = Some(key),
                _ => return Ok(false),
            }
        }
        let positions = (footer.first.0..segment.next.0).map(Position);
        for (position, key) in positions.zip(keys.into_iter().flatten()).filter(|(p, _)| *p >= from) {
            f(key, position);
        }
        Ok(true)
    }

    fn ids_of_entries(
        &self,
        from: Position,
        end: Position,
        f: &mut dyn FnMut(IdKey, Position),
    ) -> Result<(), ReadError> {
        let mut at = from;
        while at < end {
            let records = self.read_entries(at, CHUNK_BYTES.1)?;
            if records.is_empty() {
                return Ok(());
            }
            for record in records {
                if at < end
                    && let Ok((header, _)) = entry::decode(&record.entry)
                {
                    f(IdKey::of(&header.emitter, &header.event_id), at);
                }
                at = at.next();
            }
        }
        Ok(())
    }
}

/// Reads the footer of a file of `bytes`: what it says and where it begins. `None` where it has no sound one.
pub(crate) fn footer_of(file: &dyn DiskFile, bytes: u64) -> std::io::Result<Option<(footer::Footer, u64)>> {
    let trailer = read_range(file, bytes.saturating_sub(TRAILER_BYTES), bytes)?;
    let Some(start) = footer::start(&trailer, bytes) else { return Ok(None) };
    let footer = read_range(file, start, bytes)?;
    let Some((footer, _)) = footer::decode(&footer, start) else { return Ok(None) };
    let padding = read_range(file, footer.end.offset, start)?;
    Ok(padding.iter().all(|b| *b == 0).then_some((footer, start)))
}
