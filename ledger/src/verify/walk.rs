//! One segment, read from its first byte to its last.

use std::io;
use std::sync::Arc;

use super::chain::{Chain, Place, after};
use super::findings::Findings;
use super::footer::{self, Contents};
use super::frame::{FRAME_HEADER_BYTES, Frame, FrameHeader, Look, look};
use super::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::packed;
use super::sought::{Noted, Sought};
use super::source::Source;
use crate::entry::{Header, IdKey};
use crate::log::Damage;
use crate::types::{LedgerUid, Link, Position};

/// Which file is judged, and what its name and its neighbours say.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Relative to the ledger's directory.
    pub(crate) file: Arc<str>,
    pub(crate) named: Position,
    /// The name of the segment behind it; `None` for the last one, which alone may be open.
    pub(super) follower: Option<Position>,
}

/// A tail that a crash has torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    /// The first position that a repair gives up.
    pub(super) from: Position,
    /// Bytes from the cut to the last one that is not zero.
    pub(super) bytes: u64,
}

/// The judgement of one segment.
pub(super) struct Verdict {
    /// The chain behind it.
    pub(super) chain: Chain,
    /// The chain before the first thing that is not as it should be.
    pub(super) sound: Chain,
    pub(super) findings: Findings,
    pub(super) torn: Option<Torn>,
    /// What was found in it that is looked for.
    pub(super) noted: Noted,
}

/// Where in an atomic batch the walk is.
#[derive(Clone, Debug)]
pub(super) enum Batch {
    /// Before the first entry of one.
    Between,
    /// Entries were lost: the next one may stand anywhere in its batch.
    Unknown,
    /// Behind an entry that is not the last of its batch.
    Inside {
        index: u16,
        count: u16,
        /// The chain and the offset before the batch; `None` where its beginning was lost.
        before: Option<Box<(Chain, u64)>>,
    },
}

/// Where in the chain a frame that was found belongs.
enum Placed {
    /// At the position that is due, be it that those before it are missing.
    Here,
    /// At the position that is due, whatever it says.
    Misnamed,
    /// At none: its position has been read before.
    Nowhere,
}

/// One segment being read.
pub(super) struct Walk<'a> {
    pub(super) source: Source<'a>,
    pub(super) segment: &'a Segment,
    /// The ledger for which the frames of this file were written.
    pub(super) uid: Option<LedgerUid>,
    pub(super) first: Position,
    pub(super) capacity: Option<u64>,
    pub(super) chain: Chain,
    pub(super) batch: Batch,
    pub(super) contents: Contents,
    /// Every entry so far was read, so the footer can be computed.
    pub(super) whole: bool,
    /// The frames stand in compressed blocks.
    packed: bool,
    pub(super) offset: u64,
    /// Where the end of the file says that the footer begins.
    pub(super) hint: Option<u64>,
    /// Where the footer begins, once the walk has come to it.
    pub(super) footer: Option<u64>,
    last_nonzero: Option<Option<u64>>,
    pub(super) findings: Findings,
    sound: Option<Chain>,
    pub(super) torn: Option<Torn>,
    sought: &'a Sought,
    noted: Noted,
}

/// Judges one segment, `chain` being what the segments before it require.
///
/// # Errors
/// Where the file cannot be read.
pub(super) fn judge(
    mut source: Source<'_>,
    segment: &Segment,
    chain: Chain,
    sought: &Sought,
) -> io::Result<Verdict> {
    let reached = chain.clone();
    let hint = footer::hinted(&mut source)?;
    let packed = packed::is_packed(&mut source)?;
    let mut walk = Walk {
        source,
        segment,
        uid: chain.uid,
        first: segment.named,
        capacity: None,
        chain,
        batch: Batch::Between,
        contents: Contents::default(),
        whole: true,
        packed,
        offset: SEGMENT_HEADER_BYTES,
        hint,
        footer: None,
        last_nonzero: None,
        findings: Findings::default(),
        sound: None,
        torn: None,
        sought,
        noted: Noted::default(),
    };
    match walk.header()? {
        true if packed => walk.packed()?,
        true => {
            walk.frames()?;
            walk.close()?;
        }
        false => {}
    }
    let chain = if walk.chain.next < reached.next { reached } else { walk.chain };
    let sound = walk.sound.unwrap_or_else(|| chain.clone());
    Ok(Verdict { chain, sound, findings: walk.findings, torn: walk.torn, noted: walk.noted })
}

impl Walk<'_> {
    /// Notes a damage in this file.
    pub(super) fn damage(&mut self, position: Position, offset: u64, reason: impl Into<String>) {
        let file = self.segment.file.to_string();
        self.damage_in(Damage { position, file, offset, reason: reason.into() });
    }

    fn damage_in(&mut self, damage: Damage) {
        self.doubt();
        self.findings.add(self.chain.next, damage);
    }

    /// Remembers how far the log was sound when the first doubt arose.
    pub(super) fn doubt(&mut self) {
        if self.sound.is_none() {
            self.sound = Some(self.cut().0);
        }
    }

    /// The chain and the offset to which a repair would go back: before an incomplete batch.
    pub(super) fn cut(&self) -> (Chain, u64) {
        match &self.batch {
            Batch::Inside { before: Some(before), .. } => (**before).clone(),
            _ => (self.chain.clone(), self.offset),
        }
    }

    /// The last byte of the file that is not zero, if it stands behind the walk.
    pub(super) fn last_nonzero(&mut self) -> io::Result<Option<u64>> {
        let last = match self.last_nonzero {
            Some(last) => last,
            None => *self.last_nonzero.insert(self.source.last_nonzero(self.offset)?),
        };
        Ok(last.filter(|last| *last >= self.offset))
    }

    /// Judges the segment's header; false where nothing behind it can be judged.
    fn header(&mut self) -> io::Result<bool> {
        let raw = self.source.read(0, SEGMENT_HEADER_BYTES as usize)?.to_vec();
        let (peeked, told) = self.first_frame()?;
        match SegmentHeader::read(&raw) {
            Ok(header) => {
                self.first = header.first;
                self.capacity = Some(header.capacity);
                self.begin();
                for (offset, reason) in header.faults(&raw, self.segment.named) {
                    self.damage(self.first, offset, reason);
                }
                self.header_against_chain(&header, peeked.as_deref());
                Ok(header.known())
            }
            // A crash between preparing a segment and beginning it.
            Err(_) if self.segment.follower.is_none() && self.source.zero(0, u64::MAX)? => Ok(false),
            Err((offset, reason)) => {
                self.begin();
                self.damage(self.first, offset, reason);
                self.uid = self.chain.uid.or(peeked.map(|frame| frame.uid)).or(told);
                self.chain.uid = self.uid;
                Ok(raw.len() as u64 == SEGMENT_HEADER_BYTES)
            }
        }
    }

    /// The first frame, if it is sound, and the ledger that a packed segment's footer names.
    fn first_frame(&mut self) -> io::Result<(Option<Box<Frame>>, Option<LedgerUid>)> {
        if self.packed {
            return packed::first_frame(&mut self.source, self.segment.named);
        }
        let peeked = self.peek(SEGMENT_HEADER_BYTES, None)?;
        Ok((if let Look::Frame(frame) = peeked { Some(frame) } else { None }, None))
    }

    /// Joins the segment's first position to the end of the one before.
    fn begin(&mut self) {
        let (due, first) = (self.chain.next, self.first);
        if first > due {
            let file = segment_file(due);
            let reason = format!("no segment holds {}", range(due, first));
            self.damage_in(Damage { position: due, file, offset: 0, reason });
            self.chain.skip_to(first);
        } else if first < due {
            self.damage(first, 0, format!("the segments before this one already reach position {due}"));
            self.chain.skip_to(first);
        }
    }

    fn header_against_chain(&mut self, header: &SegmentHeader, first: Option<&Frame>) {
        let uid = *self.chain.uid.get_or_insert(first.map_or(header.uid, |frame| frame.uid));
        self.uid = Some(header.uid);
        if header.uid != uid {
            self.damage(self.first, 12, format!("the header names ledger {}, not {uid}", header.uid));
        }
        // The first entry is a second witness to the link: where it agrees with the header, the entry before is the
        // one that was changed, and is blamed when the first entry is read.
        let witness = first.and_then(|frame| frame.entry.as_ref().ok()).map(|entry| entry.previous);
        let expected = self.chain.link.or(witness).unwrap_or(header.link_before);
        if header.link_before != expected && witness != Some(header.link_before) {
            self.damage(self.first, 36, "the header's link is not that of the entry before");
        }
    }

    /// Takes a frame as that of the next position, into the chain and the tree.
    pub(super) fn take(&mut self, frame: &Frame, place: Place) {
        let Self { chain, sought, noted, .. } = self;
        chain.take(frame.entry.as_ref().ok(), frame.link, frame.leaf, place, |height, index, root| {
            noted.wrong.add(sought.stored.compare(height, index, &[root]));
        });
        noted.entry(sought, chain, frame.leaf);
    }

    /// The frame that stands at `offset`, looked at as that of the next position.
    pub(super) fn peek(&mut self, offset: u64, uid: Option<LedgerUid>) -> io::Result<Look> {
        self.peek_for(offset, uid, self.chain.next)
    }

    pub(super) fn peek_for(
        &mut self,
        offset: u64,
        uid: Option<LedgerUid>,
        position: Position,
    ) -> io::Result<Look> {
        let head = self.source.read(offset, FRAME_HEADER_BYTES as usize)?;
        let Some(header) = FrameHeader::read(head) else { return Ok(Look::Nothing) };
        Ok(look(self.source.read(offset, header.frame_bytes() as usize)?, uid, position))
    }

    fn frames(&mut self) -> io::Result<()> {
        loop {
            match self.peek(self.offset, self.uid)? {
                Look::Frame(frame) => self.frame(&frame)?,
                _ if self.at_end()? || self.tail_is_torn()? => return Ok(()),
                Look::Header(header) => self.pass(&header)?,
                Look::Nothing if self.resync()? => {}
                Look::Nothing => return Ok(()),
            }
        }
    }

    /// Judges a frame that fits its CRCs: is it the one that is due here?
    fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        if !self.ours(frame.uid) {
            let reason = format!("an entry of ledger {} stands here", frame.uid);
            self.damage(self.chain.next, self.offset, reason);
        }
        let placed = if frame.position == self.chain.next { Placed::Here } else { self.find_place(frame)? };
        match placed {
            Placed::Here => {
                self.entry(frame);
                self.step_batch(&frame.header);
                let place = Place { file: Arc::clone(&self.segment.file), offset: self.offset };
                self.take(frame, place);
            }
            Placed::Misnamed => {
                self.whole = false;
                self.step_batch(&frame.header);
                self.chain.skip_to(after(self.chain.next, 1));
            }
            Placed::Nowhere => {}
        }
        self.offset += frame.header.frame_bytes();
        Ok(())
    }

    pub(super) fn ours(&self, uid: LedgerUid) -> bool {
        Some(uid) == self.uid || Some(uid) == self.chain.uid
    }

    /// An entry names another position than the one that is due.
    fn find_place(&mut self, frame: &Frame) -> io::Result<Placed> {
        let (due, named, offset) = (self.chain.next, frame.position, self.offset);
        let behind = offset + frame.header.frame_bytes();
        let follows = matches!(
            self.peek_for(behind, self.uid, after(due, 1))?,
            Look::Frame(f) if f.position == after(due, 1)
        );
        let possible = self.segment.follower.is_none_or(|follower| named < follower);
        if follows || (named > due && !possible) {
            self.damage(due, offset, format!("the entry names position {named}, not {due}"));
            return Ok(Placed::Misnamed);
        }
        self.whole = false;
        self.batch = Batch::Unknown;
        if named > due {
            self.damage(due, offset, format!("{} missing", range(due, named)));
            self.chain.skip_to(named);
            return Ok(Placed::Here);
        }
        self.damage(named, offset, format!("the entry of position {named} stands where {due} is due"));
        Ok(Placed::Nowhere)
    }

    /// Judges an entry by what the chain requires.
    pub(super) fn entry(&mut self, frame: &Frame) {
        let (position, offset) = (self.chain.next, self.offset);
        if u64::from(frame.header.lag) > position.0 {
            self.damage(position, offset + 8, "the frame's lag is larger than its position");
        }
        match &frame.entry {
            Err(bad) => {
                self.whole = false;
                self.damage(position, offset + FRAME_HEADER_BYTES, bad.to_string());
            }
            Ok(entry) => {
                self.entry_header(entry, offset + FRAME_HEADER_BYTES);
                let key = IdKey::of(&entry.emitter, &entry.event_id).0;
                self.contents.note(position.0.saturating_sub(self.first.0), offset, key);
            }
        }
    }

    fn entry_header(&mut self, entry: &Header, offset: u64) {
        let position = self.chain.next;
        if !self.ours(entry.uid) {
            self.damage(position, offset + 1, format!("the entry belongs to ledger {}", entry.uid));
        }
        if entry.position != position {
            self.damage(position, offset + 17, format!("the entry names position {}", entry.position));
        }
        if entry.epoch < self.chain.epoch {
            self.damage(position, offset + 25, "the epoch is lower than that of the entry before");
        }
        if entry.recorded_at < self.chain.recorded_at {
            self.damage(position, offset + 61, "it was recorded earlier than the entry before");
        }
        if self.chain.link.is_some_and(|link| link != entry.previous) {
            self.blame_before(offset + 29, "the entry after it");
        }
    }

    /// The link of the entry before, recomputed, is not the one that was recorded in `witness`.
    pub(super) fn blame_before(&mut self, offset: u64, witness: &str) {
        let file = self.segment.file.to_string();
        let damage = match (self.chain.next.0.checked_sub(1), &self.chain.place) {
            (Some(before), Some(place)) => Damage {
                position: Position(before),
                file: place.file.to_string(),
                offset: place.offset,
                reason: format!("the entry's link, recomputed, is not the one that {witness} holds"),
            },
            (before, _) => Damage {
                position: Position(before.unwrap_or(0)),
                file,
                offset,
                reason: "the link held here is not that of the entry before".to_owned(),
            },
        };
        self.damage_in(damage);
    }

    /// Goes behind a frame whose header is sound and whose entry or end mark is not.
    fn pass(&mut self, header: &FrameHeader) -> io::Result<()> {
        let (position, offset) = (self.chain.next, self.offset);
        let frame = self.source.read(offset, header.frame_bytes() as usize)?;
        if header.holds(header.entry(frame)) {
            self.damage(position, offset + header.frame_bytes() - 1, "the frame does not end with its mark");
        } else {
            self.damage(position, offset, "the entry does not fit its CRC");
        }
        self.step_batch(header);
        self.whole = false;
        self.chain.skip_to(after(position, 1));
        self.offset += header.frame_bytes();
        Ok(())
    }

    /// Follows an entry into, through or out of its batch.
    pub(super) fn step_batch(&mut self, header: &FrameHeader) {
        let (index, count) = header.batch;
        let position = self.chain.next;
        let follows = match &self.batch {
            Batch::Between => index == 0,
            Batch::Unknown => true,
            Batch::Inside { index: before, count: of, .. } => {
                u32::from(index) == u32::from(*before) + 1 && count == *of
            }
        };
        if !follows {
            let reason = match &self.batch {
                Batch::Inside { .. } => "the batch before this entry is not complete",
                _ => "the entries of its batch before this one are missing",
            };
            self.damage(position, self.offset + 4, reason);
        }
        if index >= count {
            self.damage(position, self.offset + 4, "the index in the batch is not below its size");
        }
        self.batch = if u32::from(index) + 1 >= u32::from(count) {
            Batch::Between
        } else {
            Batch::Inside { index, count, before: self.before_batch(index) }
        };
    }

    fn before_batch(&mut self, index: u16) -> Option<Box<(Chain, u64)>> {
        if index == 0 {
            return Some(Box::new((self.chain.clone(), self.offset)));
        }
        match std::mem::replace(&mut self.batch, Batch::Unknown) {
            Batch::Inside { before, .. } => before,
            _ => None,
        }
    }
}

/// The name of the segment that begins at a position, relative to the ledger's directory.
pub(super) fn segment_file(first: Position) -> String {
    format!("log/{:020}.seg", first.0)
}

/// Positions from `from` up to but not including `to`, in words.
pub(super) fn range(from: Position, to: Position) -> String {
    match to.0.saturating_sub(1) {
        last if last <= from.0 => format!("position {from}"),
        last => format!("positions {from} to {last}"),
    }
}

/// The link that a footer or chain holds, where there is one.
pub(super) fn known(link: Option<Link>) -> Link {
    link.unwrap_or_default()
}
