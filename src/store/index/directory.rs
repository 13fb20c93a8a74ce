//! The directory of a run: for each page the term and position that it begins with, and the check of its bytes.
//!
//! It is held in memory while the run lives, about 50 bytes for each page of 4 KiB, so that a page which is missing,
//! stale, altered or in the wrong place is noticed the moment it is read, and a lookup reads only the pages it needs.

use super::page::shared_prefix;
use super::varint;

/// A directory is stored in pieces of about this many bytes.
const PIECE_BYTES: usize = 16 << 10;

/// The list of the pages of one run.
#[derive(Debug, Default)]
pub(super) struct Directory {
    checks: Vec<u32>,
    /// The first position in each page, less the first position of the run.
    firsts: Vec<u64>,
    /// The first terms of all pages, one behind the other.
    terms: Vec<u8>,
    /// Where the first term of each page ends.
    term_ends: Vec<usize>,
}

impl Directory {
    /// Adds the next page.
    pub(super) fn push(&mut self, term: &[u8], first: u64, check: u32) {
        self.checks.push(check);
        self.firsts.push(first);
        self.terms.extend_from_slice(term);
        self.term_ends.push(self.terms.len());
    }

    /// How many pages there are.
    pub(super) fn len(&self) -> usize {
        self.checks.len()
    }

    /// The first term of a page; empty where there is no such page.
    pub(super) fn term(&self, page: usize) -> &[u8] {
        let start = page.checked_sub(1).and_then(|p| self.term_ends.get(p)).copied().unwrap_or(0);
        let end = self.term_ends.get(page).copied().unwrap_or(start);
        self.terms.get(start..end).unwrap_or_default()
    }

    /// The check of a page.
    pub(super) fn check(&self, page: usize) -> Option<u32> {
        self.checks.get(page).copied()
    }

    /// The pages that may hold positions of `term` from `start` to before `end` (less the run's first).
    pub(super) fn pages_for(&self, term: &[u8], start: u64, end: u64) -> std::ops::Range<usize> {
        let first = self.count_while(|t, p| (t, p) <= (term, start)).saturating_sub(1);
        first..self.count_while(|t, p| (t, p) < (term, end)).max(first)
    }

    /// The number of pages whose first term is not beyond `term`.
    pub(super) fn pages_through(&self, term: &[u8]) -> usize {
        self.count_while(|t, _| t <= term)
    }

    /// How many of the first pages satisfy `holds`, which must be true of all before it is false of one.
    fn count_while(&self, holds: impl Fn(&[u8], u64) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.firsts.get(middle).is_some_and(|&first| holds(self.term(middle), first)) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// The stored form, in pieces.
    pub(super) fn encode(&self) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let mut piece = Vec::new();
        let mut before: &[u8] = &[];
        for (page, (&check, &first)) in self.checks.iter().zip(&self.firsts).enumerate() {
            let term = self.term(page);
            let shared = shared_prefix(before, term);
            varint::put(&mut piece, shared as u64);
            varint::put_bytes(&mut piece, &term[shared..]);
            varint::put(&mut piece, first);
            piece.extend_from_slice(&check.to_le_bytes());
            before = term;
            if piece.len() >= PIECE_BYTES {
                pieces.push(std::mem::take(&mut piece));
                before = &[];
            }
        }
        pieces.push(piece);
        pieces
    }

    /// Adds the pages of one stored piece; `None` where its bytes do not make sense.
    pub(super) fn decode_piece(&mut self, mut piece: &[u8]) -> Option<()> {
        let mut term = Vec::new();
        while !piece.is_empty() {
            let shared = usize::try_from(varint::take(&mut piece)?).ok()?;
            let suffix = varint::take_bytes(&mut piece)?;
            if shared > term.len() {
                return None;
            }
            term.truncate(shared);
            term.extend_from_slice(suffix);
            let first = varint::take(&mut piece)?;
            let (check, rest) = piece.split_first_chunk::<4>()?;
            piece = rest;
            self.push(&term, first, u32::from_le_bytes(*check));
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::Directory;

    fn sample() -> Directory {
        let mut directory = Directory::default();
        for (term, first) in [("a", 3), ("b", 0), ("b", 10), ("b", 20), ("d", 1)] {
            directory.push(term.as_bytes(), first, 0);
        }
        directory
    }

    #[test]
    fn a_lookup_names_the_few_pages_that_can_hold_it() {
        let directory = sample();
        assert_eq!(directory.pages_for(b"b", 0, u64::MAX), 1..4);
        assert_eq!(directory.pages_for(b"b", 5, u64::MAX), 1..4);
        assert_eq!(directory.pages_for(b"b", 12, 20), 2..3);
        assert_eq!(directory.pages_for(b"b", 12, 21), 2..4);
        assert_eq!(directory.pages_for(b"a", 0, 100), 0..1);
        assert_eq!(directory.pages_for(b"c", 0, 100), 3..4, "it may begin behind the last b");
        assert_eq!(directory.pages_for(b"A", 0, 100), 0..0, "before everything");
    }

    #[test]
    fn a_directory_of_many_pieces_is_read_back_as_stored() {
        let mut directory = Directory::default();
        for n in 0..3000_u32 {
            directory.push(format!("term {n:06}").as_bytes(), u64::from(n) * 7, n ^ 0xdead_beef);
        }
        let pieces = directory.encode();
        assert!(pieces.len() > 1);
        let mut read = Directory::default();
        pieces.iter().for_each(|piece| read.decode_piece(piece).unwrap());
        assert_eq!(format!("{read:?}"), format!("{directory:?}"));
    }

    #[test]
    fn a_cut_piece_is_refused_or_shorter() {
        let piece = sample().encode().remove(0);
        for cut in 0..piece.len() {
            let mut read = Directory::default();
            assert!(read.decode_piece(&piece[..cut]).is_none() || read.len() < 5);
        }
    }
}
