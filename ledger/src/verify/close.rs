//! The end of a segment: zeros, or a footer.

use std::io;

use super::chain::after;
use super::footer::{self, Claim, Expected, Facts};
use super::source::sector_up;
use super::walk::{Batch, Torn, Walk, known, range};
use crate::types::{Link, Position, Time};

impl Walk<'_> {
    /// Whether the frames end here.
    pub(super) fn at_end(&mut self) -> io::Result<bool> {
        let offset = self.offset;
        if self.last_nonzero()?.is_none() && self.hint.is_none() {
            return Ok(true);
        }
        let start = sector_up(offset);
        let computable = self.whole && matches!(self.batch, Batch::Between);
        if computable && self.contents.ids.is_empty() {
            // Nothing is sealed before it holds an entry.
            return Ok(false);
        }
        let ended = if computable { self.at_footer(start)? } else { self.hint == Some(start) };
        let ended = ended && (computable || self.source.zero(offset, start)?);
        if ended {
            self.footer = Some(start);
        }
        Ok(ended)
    }

    /// Whether the footer at `start` is that of the entries read so far, and not of one more that cannot be read.
    fn at_footer(&mut self, start: u64) -> io::Result<bool> {
        let expected = self.expected(start)?;
        if expected.differences(&mut self.source, start)?.is_empty() {
            return Ok(true);
        }
        let counted = after(self.first, self.contents.ids.len() as u64);
        let claimed = Claim::read(&mut self.source, start)?.map(|claim| after(claim.first, claim.entries));
        Ok(claimed.is_none_or(|claimed| claimed <= counted)
            && self.source.zero(self.offset, start)?
            && (claimed == Some(counted)
                || expected.resembles(&mut self.source, start)?
                || expected.torn(&mut self.source, start)?))
    }

    fn expected(&mut self, start: u64) -> io::Result<Expected> {
        let without = footer::bytes_without_tree(self.contents.ids.len() as u64);
        let place = (start, footer::FIXED_BYTES as u64);
        let tree = footer::frontier(&mut self.source, place, without, self.chain.tree.as_ref())?;
        let facts = Facts {
            first: self.first,
            link: known(self.chain.link),
            recorded_at: self.chain.recorded_at,
            epoch: self.chain.epoch,
            end: self.offset,
            tree,
        };
        Ok(Expected::of(self.contents.clone(), &facts))
    }

    /// Judges what lies behind the frames.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if self.torn.is_some() {
            return Ok(());
        }
        self.close_batch()?;
        match self.footer {
            _ if self.torn.is_some() => {}
            Some(start) => self.close_sealed(start)?,
            None if self.segment.follower.is_some() => {
                self.damage(
                    self.chain.next,
                    self.offset,
                    "the segment has no footer, though it is not the last",
                );
            }
            None => self.close_open(),
        }
        Ok(())
    }

    /// A batch that is not complete was either lost in a crash, or was complete once.
    pub(super) fn close_batch(&mut self) -> io::Result<()> {
        let Batch::Inside { before, .. } = &self.batch else { return Ok(()) };
        let open = self.segment.follower.is_none() && self.footer.is_none();
        match before.as_deref().cloned() {
            Some((chain, offset)) if open => {
                let end = self.offset.min(self.source.len());
                let last = self.source.last_nonzero(offset)?.map_or(offset, |last| (last + 1).min(end));
                self.doubt();
                self.torn = Some(Torn { from: chain.next, bytes: last - offset });
                (self.chain, self.offset) = (chain, offset);
            }
            before => {
                let (position, offset) =
                    before.map_or((self.chain.next, self.offset), |(chain, offset)| (chain.next, offset));
                self.damage(position, offset, "the batch that begins here is not complete");
            }
        }
        Ok(())
    }

    fn close_open(&mut self) {
        if let Some(capacity) = self.capacity.filter(|capacity| *capacity < self.source.len()) {
            self.damage(self.chain.next, capacity, "the file is longer than the capacity in its header");
        }
        if let Some(capacity) = self.capacity.filter(|capacity| *capacity < self.offset) {
            self.damage(self.chain.next, capacity, "entries stand behind the capacity in the header");
        }
    }

    fn close_sealed(&mut self, start: u64) -> io::Result<()> {
        if let Some(offset) = self.source.first_nonzero(self.offset, start)? {
            self.damage(self.chain.next, offset, "a byte before the footer is not zero");
        }
        if self.whole { self.compare_footer(start) } else { self.question_footer(start) }
    }

    /// Compares the footer with what the entries say it must be.
    fn compare_footer(&mut self, start: u64) -> io::Result<()> {
        let expected = self.expected(start)?;
        let end = start + expected.bytes.len() as u64;
        let last = self.segment.follower.is_none();
        let differences = expected.differences(&mut self.source, start)?;
        let behind = self.source.first_nonzero(end, u64::MAX)?;
        if last && !differences.is_empty() && expected.torn(&mut self.source, start)? {
            let written = self.source.last_nonzero(start)?.map_or(start, |last| (last + 1).min(end));
            self.doubt();
            self.torn = Some(Torn { from: self.chain.next, bytes: written - start });
        } else {
            for (position, offset, reason) in differences {
                self.damage(position, offset, reason);
            }
        }
        if let Some(offset) = behind {
            self.damage(self.chain.next, offset, "a byte that is not zero behind the footer");
        } else if self.source.len() > end && !last {
            self.damage(self.chain.next, end, "the file goes on behind its footer");
        }
        Ok(())
    }

    /// Some entries cannot be read, so the footer cannot be computed: asks it what it knows, if it fits its own CRC.
    fn question_footer(&mut self, start: u64) -> io::Result<()> {
        let Some(claim) = Claim::read(&mut self.source, start)? else {
            self.damage(self.first, start, "the footer does not fit its CRC");
            return Ok(());
        };
        let end = after(claim.first, claim.entries);
        if claim.first != self.first {
            self.damage(self.first, start + 20, "the footer's first position is not the segment's");
        }
        if sector_up(claim.end) != start {
            self.damage(self.first, start + 72, "the footer does not stand behind the frames that it closes");
        }
        self.question_end(end, claim.link, start);
        self.question_ids(&claim, start);
        self.take_claim(claim.link, claim.recorded_at, claim.epoch, end);
        Ok(())
    }

    fn question_ids(&mut self, claim: &Claim, start: u64) {
        let unlisted: Vec<u32> = self
            .contents
            .ids
            .iter()
            .filter(|(key, number)| !claim.lists(*key, *number))
            .map(|id| id.1)
            .collect();
        for number in unlisted {
            let position = after(self.first, u64::from(number));
            self.damage(position, start, "the footer does not list the entry's event id");
        }
    }

    /// Compares where the entries end with where a footer at `start` says that they do.
    pub(super) fn question_end(&mut self, end: Position, link: Link, start: u64) {
        if end > self.chain.next {
            let missing = range(self.chain.next, end);
            self.damage(self.chain.next, start + 12, format!("{missing} missing, which the footer counts"));
        } else if end < self.chain.next {
            self.damage(end, start + 12, "the footer counts fewer entries");
        } else if self.chain.link.is_some_and(|known| known != link) {
            self.blame_before(start + 28, "the footer");
        }
    }

    /// What the footer knows of the last entry stands in for an entry that cannot be read.
    pub(super) fn take_claim(&mut self, link: Link, recorded_at: Time, epoch: u32, end: Position) {
        if self.chain.link.is_some() && self.chain.next == end {
            return;
        }
        self.chain.skip_to(end.max(self.chain.next));
        self.chain.link = Some(link);
        self.chain.head = link;
        self.chain.recorded_at = recorded_at;
        self.chain.epoch = epoch;
    }
}
