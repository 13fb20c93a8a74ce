//! Opening a log: names, headers and footers are checked against each other, the unsealed last segment is read and
//! hashed from its first frame on. Nothing is written: what a crash left half done is named, to be put right.

mod packed;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Open};
use crate::types::{LedgerUid, Position, Time};

use super::footer::{self, Sealing};
use super::frame::FRAME_HEADER_BYTES;
use super::index::{End, Index, Mark};
use super::judge::{Doubt, Verdict};
use super::packed::PACK_NAME;
use super::read::{footer_of, read_range};
use super::repair::{Last, Left, Repair};
use super::segment::{
    self, BadHeader, Form, HEADER_BYTES, NEXT_NAME, SegmentHeader, TORN_NAME, align, reported,
};
use super::segments::SegmentOptions;
use super::survey::{Survey, survey, survey_sound};
use super::view::{OpenSegment, Sealed, View, tree_before};
use super::{Damage, Tail};

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed, or is too full to keep aside what a repair cuts off. The same call may succeed later.
    #[error("the log cannot be opened: {0}")]
    Io(#[from] io::Error),
    /// A newer program wrote the log. Nothing was changed.
    #[error("{file} has format version {version}, which a newer program wrote; this one reads up to {newest}", newest = segment::FORMAT_VERSION)]
    NewerFormat {
        /// The file, relative to the ledger's directory.
        file: String,
        /// Its version.
        version: u32,
    },
}

/// A log that was found.
pub(crate) struct Opened {
    pub(crate) view: View,
    pub(crate) capacity_last: u64,
    /// What is to be done before it counts as durable and takes appends; nothing where it is damaged.
    pub(crate) left: Left,
}

/// Finds the log of a ledger.
pub(crate) fn find(
    disk: &dyn Disk,
    ledger_dir: &Path,
    options: &SegmentOptions,
) -> Result<Opened, OpenError> {
    let mut opening = Opening::new(disk, ledger_dir, options);
    let names = opening.names()?;
    let segments = names.segments;
    if let Some((last, closed)) = segments.split_last() {
        for (n, (name, first)) in closed.iter().enumerate() {
            let limit = segments.get(n + 1).map_or(*first, |(_, next)| *next);
            opening.closed(name, *first, limit)?;
        }
        opening.last(&last.0, last.1)?;
    }
    for name in &names.unknown {
        let position = opening.before.next;
        opening.damaged(position, name, 0, "this file does not belong to the log");
    }
    opening.check_protected(
        opening.before.next,
        &segments.last().map_or(String::new(), |(n, _)| n.clone()),
        0,
    );
    // Whatever it is, it was never used; whoever wants to use the name removes it in any case.
    opening.left.unused = names.unused.iter().map(|unused| opening.dir.join(unused)).collect();
    let mut opened = opening.finish();
    opened.view.unknown = names.unknown.iter().map(|name| reported(name)).collect();
    Ok(opened)
}

struct Names {
    segments: Vec<(String, Position)>,
    unknown: Vec<String>,
    /// Files that are made beside the log, and became no part of it.
    unused: Vec<&'static str>,
}

struct Opening<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    options: &'a SegmentOptions,
    uid: Option<LedgerUid>,
    /// The end of the segments so far.
    before: End,
    sealed: Vec<Arc<Sealed>>,
    open: Option<OpenSegment>,
    capacity_last: u64,
    damage: Vec<Damage>,
    left: Left,
}

/// A segment's file, and what its header says or should say.
struct Source<'a> {
    name: &'a str,
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    header: SegmentHeader,
    sound: bool,
}

impl<'a> Opening<'a> {
    fn new(disk: &'a dyn Disk, ledger_dir: &'a Path, options: &'a SegmentOptions) -> Self {
        let before = End {
            next: Position(0),
            offset: HEADER_BYTES,
            link: crate::types::Link::default(),
            recorded_at: Time::default(),
            epoch: 0,
        };
        Self {
            disk,
            dir: segment::log_dir(ledger_dir),
            options,
            uid: None,
            before,
            sealed: Vec::new(),
            open: None,
            capacity_last: 0,
            damage: Vec::new(),
            left: Left::default(),
        }
    }

    fn names(&self) -> io::Result<Names> {
        let mut names = Names { segments: Vec::new(), unknown: Vec::new(), unused: Vec::new() };
        for name in self.disk.list(&self.dir)? {
            match segment::position_in(&name) {
                Some(first) => names.segments.push((name, first)),
                None if name == NEXT_NAME => names.unused.push(NEXT_NAME),
                None if name == PACK_NAME => names.unused.push(PACK_NAME),
                None if name == TORN_NAME => {}
                None => names.unknown.push(name),
            }
        }
        Ok(names)
    }

    fn damaged(&mut self, position: Position, name: &str, offset: u64, reason: &str) {
        let file = if name.is_empty() { "log".to_owned() } else { reported(name) };
        self.damage.push(Damage { position, file, offset, reason: reason.to_owned() });
    }

    /// Reads the header of a segment and checks that it continues the one before.
    fn source<'n>(&mut self, name: &'n str, first: Position) -> Result<Source<'n>, OpenError> {
        let file = self.disk.open(&self.dir.join(name), Open::Read)?;
        let file_bytes = file.len()?;
        let bytes = read_range(file.as_ref(), 0, HEADER_BYTES)?;
        let (header, sound) = match SegmentHeader::decode(&bytes) {
            Ok(header) => (header, true),
            Err(BadHeader::Newer(version)) => {
                return Err(OpenError::NewerFormat { file: reported(name), version });
            }
            Err(BadHeader::Damaged) => {
                self.damaged(first, name, 0, "the segment's header is not what was written");
                let header = match self.guess_packed(file.as_ref(), first, file_bytes)? {
                    Some(header) => header,
                    None => self.guess_header(file.as_ref(), first, file_bytes)?,
                };
                (header, false)
            }
        };
        let source = Source { name, file, file_bytes, header, sound };
        self.check_chain(&source, first);
        self.uid.get_or_insert(source.header.uid);
        self.capacity_last = source.header.capacity;
        Ok(source)
    }

    /// What the header of a segment should say, so that its entries can still be served.
    fn guess_header(&self, file: &dyn DiskFile, first: Position, bytes: u64) -> io::Result<SegmentHeader> {
        let at = HEADER_BYTES + FRAME_HEADER_BYTES as u64 + 1;
        let told = read_range(file, at, at + 16)?;
        let uid = self.uid.or_else(|| told.first_chunk().map(|b| LedgerUid(*b))).unwrap_or_default();
        let capacity = align(bytes.max(1));
        Ok(SegmentHeader { form: Form::Plain, uid, first, previous: self.before.link, capacity })
    }

    fn check_chain(&mut self, source: &Source<'_>, first: Position) {
        let (header, expected) = (&source.header, self.before);
        let reason = if header.first != first {
            "the segment's header and its name give different positions"
        } else if first > expected.next {
            self.damaged(expected.next, source.name, 0, "the entries before this segment are missing");
            return;
        } else if first < expected.next {
            "the segment begins before the end of the one before it"
        } else if self.uid.is_some_and(|uid| uid != header.uid) {
            "the segment belongs to another ledger"
        } else if header.previous != expected.link {
            "the segment does not carry the link of the last entry before it"
        } else {
            return;
        };
        self.damaged(first, source.name, 0, reason);
    }

    /// Where a survey of the segment begins.
    fn before_of(&self, source: &Source<'_>, first: Position) -> End {
        End { next: first, link: source.header.previous, ..self.before }
    }

    /// Takes in a segment that its footer describes; `None` where it has no sound footer.
    fn by_footer(&mut self, source: &Source<'_>, first: Position) -> io::Result<Option<()>> {
        let Some((footer, start)) = footer_of(source.file.as_ref(), source.file_bytes)? else {
            return Ok(None);
        };
        if footer.first != first {
            return Ok(None);
        }
        self.before = footer.end;
        self.sealed.push(Arc::new(Sealed {
            name: source.name.to_owned(),
            uid: source.header.uid,
            first,
            next: footer.end.next,
            end: footer.end.offset,
            strides: footer.strides,
            footer: Some(start),
            blocks: None,
            tree: footer.tree,
        }));
        Ok(Some(()))
    }

    /// Takes in a segment that is not the last: it must be sealed.
    fn closed(&mut self, name: &str, first: Position, limit: Position) -> Result<(), OpenError> {
        let source = self.source(name, first)?;
        if source.header.form == Form::Packed {
            return self.packed(&source, first, Some(limit));
        }
        if self.by_footer(&source, first)?.is_some() {
            return Ok(());
        }
        let end = source.file_bytes.saturating_sub(footer::TRAILER_BYTES);
        self.damaged(first, name, end, "the segment's footer is not what was written");
        let bytes = read_range(source.file.as_ref(), 0, source.file_bytes)?;
        let found = survey(&bytes, source.header.uid, self.before_of(&source, first), None);
        let index = found.salvage(&bytes, source.header.uid, limit);
        self.before = End { next: limit, ..index.end };
        let segment = self.segment(&source, index);
        self.sealed.push(Arc::new(segment.seal(None)));
        Ok(())
    }

    fn segment(&self, source: &Source<'_>, index: Index) -> OpenSegment {
        let (name, capacity) = (source.name.to_owned(), source.header.capacity);
        OpenSegment { name, uid: source.header.uid, capacity, index }
    }

    /// Takes in the last segment, which may be open.
    fn last(&mut self, name: &str, first: Position) -> Result<(), OpenError> {
        let source = self.source(name, first)?;
        if source.header.form == Form::Packed {
            return self.packed(&source, first, None);
        }
        if self.by_footer(&source, first)?.is_some() {
            self.left.last = Some((self.dir.join(name), Last::Sealed { through: source.file_bytes }));
            return Ok(());
        }
        let (before, tree) = (self.before_of(&source, first), tree_before(&self.sealed, first));
        if source.sound && source.file_bytes == source.header.capacity {
            let (file, uid) = (source.file.as_ref(), source.header.uid);
            if let Some(found) = survey_sound(file, source.file_bytes, uid, before, tree.clone())? {
                return Ok(self.settle(&source, found, &[], State::Clean)?);
            }
        }
        let mut bytes = read_range(source.file.as_ref(), 0, source.file_bytes)?;
        let present = bytes.len();
        bytes.resize(present.max(usize::try_from(source.header.capacity).unwrap_or(present)), 0);
        let found = survey(&bytes, source.header.uid, before, tree);
        let state = self.state(&source, &found, &bytes, present);
        self.settle(&source, found, &bytes, state)?;
        Ok(())
    }

    /// What the bytes behind the sound entries of the last segment are.
    fn state(&mut self, source: &Source<'_>, found: &Survey, bytes: &[u8], present: usize) -> State {
        let end = found.index.end;
        let offset = usize::try_from(end.offset).unwrap_or(usize::MAX);
        if !source.sound {
            return State::Damaged(None);
        }
        if let Some(reason) = found.foreign {
            return State::Damaged(Some(reason.to_owned()));
        }
        if found.open_batch.is_none() {
            match footer::sealing(&found.index, bytes, present) {
                Sealing::NotBegun => {}
                Sealing::Done => return State::Sealed,
                Sealing::Torn => return State::TornFooter,
                Sealing::Damaged => {
                    return State::Damaged(Some("the segment's footer is not what was written".into()));
                }
            }
        }
        let doubt = Doubt { bytes, present, uid: source.header.uid, offset, position: end.next };
        match doubt.verdict() {
            Verdict::Damaged(reason) => State::Damaged(Some(reason)),
            // Of a file that ends early all that is there is kept, zeros at its end too.
            Verdict::Torn { .. } if present < bytes.len() => {
                State::Torn(present as u64, "the file ended early")
            }
            Verdict::Torn { end } => State::Torn(end as u64, "a write that a crash cut short"),
            Verdict::Nothing if found.open_batch.is_some() => {
                State::Torn(end.offset, "an atomic batch that a crash cut short")
            }
            Verdict::Nothing if present < bytes.len() => State::Torn(end.offset, "the file ended early"),
            Verdict::Nothing => State::Clean,
        }
    }

    fn settle(&mut self, source: &Source<'_>, found: Survey, bytes: &[u8], state: State) -> io::Result<()> {
        let cut_at = found.open_batch.clone().unwrap_or_else(|| found.index.mark());
        if let State::Damaged(reason) = state {
            let end = found.index.end;
            if let Some(reason) = reason {
                self.damaged(end.next, source.name, end.offset, &reason);
            }
            let limit = Position(end.next.0.saturating_add(bytes.len() as u64));
            let index = found.salvage(bytes, source.header.uid, limit);
            self.take_open(source, index);
            return Ok(());
        }
        let mut index = found.index;
        index.back_to(&cut_at);
        self.check_protected(cut_at.end.next, source.name, cut_at.end.offset);
        let last = self.last_left(source, &index, &cut_at, &state);
        self.left.last = last.map(|last| (self.dir.join(source.name), last));
        if matches!(state, State::Sealed) {
            self.before = index.end;
            let start = align(index.end.offset);
            let sealed = self.segment(source, index).seal(Some(start));
            self.sealed.push(Arc::new(sealed));
            return Ok(());
        }
        self.take_open(source, index);
        Ok(())
    }

    fn take_open(&mut self, source: &Source<'_>, index: Index) {
        self.before = index.end;
        self.open = Some(self.segment(source, index));
    }

    /// What is to be done on the disk about the last segment.
    fn last_left(&self, source: &Source<'_>, index: &Index, cut_at: &Mark, state: &State) -> Option<Last> {
        let (start, end, reason) = match state {
            State::Sealed => {
                let frontier = footer::frontier(index).len() as u64;
                let bytes = align(index.end.offset) + footer::footer_bytes(index.count(), frontier);
                return Some(Last::Uncut { bytes });
            }
            State::Clean => return Some(Last::Open { through: index.end.offset }),
            State::Damaged(_) => return None,
            State::Torn(end, reason) => (cut_at.end.offset, *end, *reason),
            State::TornFooter => {
                (align(index.end.offset), source.file_bytes, "a footer that a crash cut short")
            }
        };
        let end = end.min(source.file_bytes).max(start);
        let repair = Repair {
            position: cut_at.end.next,
            link: cut_at.end.link,
            file: reported(source.name),
            offset: start,
            bytes: end - start,
            kept: None,
            reason: reason.to_owned(),
        };
        let entries = matches!(state, State::Torn(..));
        Some(Last::Torn { repair, entries, present: source.file_bytes, capacity: source.header.capacity })
    }

    /// A log that ends before a checkpoint that is known of it has lost entries, whatever the reason.
    fn check_protected(&mut self, next: Position, name: &str, offset: u64) {
        let protected = self.options.protected_through;
        if next < protected && self.damage.is_empty() {
            let reason = format!("a checkpoint covers {protected} entries, but the log ends here");
            self.damaged(next, name, offset, &reason);
        }
    }

    fn finish(self) -> Opened {
        let entries = self.before.next > Position(0);
        let tail = Tail {
            next: self.before.next,
            link: self.before.link,
            recorded_at: self.before.recorded_at,
            uid: self.uid.filter(|_| entries).unwrap_or_default(),
            epoch: self.before.epoch,
        };
        let view =
            View { tail, sealed: self.sealed, open: self.open, damage: self.damage, unknown: Vec::new() };
        // Where anything is damaged nothing is written.
        let left = if view.damage.is_empty() { self.left } else { Left::default() };
        Opened { view, capacity_last: self.capacity_last, left }
    }
}

/// What the bytes behind the sound entries of the last segment are, and so what is to be done.
enum State {
    Clean,
    /// Sealed, but not yet cut to its length.
    Sealed,
    TornFooter,
    /// To be cut, up to this offset; with the reason.
    Torn(u64, &'static str),
    /// With the reason, where it has not been told yet.
    Damaged(Option<String>),
}
