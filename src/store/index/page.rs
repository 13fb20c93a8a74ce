//! One page of a run: the positions of one term after another, ascending, packed into about 4 KiB.
//!
//! ```text
//! group*    group = shared | suffix bytes | positions bytes      (each a varint length, then the bytes)
//! ```
//! A *term* is a tag and a key. `shared` counts the leading bytes that a term has in common with the term of the group
//! before it (0 in the first group of a page). The first position is stored less the first position of the run, each
//! later one less the one before it.

use std::cmp::Ordering;
use std::ops::Range;

use super::varint;

/// Where a page is closed, in bytes. A single group may exceed it by the length of its term.
pub(super) const PAGE_BYTES: usize = 4000;

/// Packs groups into one page.
#[derive(Debug, Default)]
pub(super) struct PageBuilder {
    body: Vec<u8>,
    /// The term of the open group; empty before the first one.
    term: Vec<u8>,
    /// The term of the group before it.
    before: Vec<u8>,
    positions: Vec<u8>,
    last: u64,
    open: bool,
}

impl PageBuilder {
    /// Whether anything was added.
    pub(super) fn is_empty(&self) -> bool {
        !self.open
    }

    /// Whether the page has reached its size.
    pub(super) fn is_full(&self) -> bool {
        self.body.len() + self.positions.len() + self.term.len() >= PAGE_BYTES
    }

    /// Adds a position, less the first one of the run. Terms come ascending, and positions ascending in each.
    pub(super) fn push(&mut self, term: &[u8], position: u64) {
        if !self.open || self.term != term {
            self.close_group();
            self.open = true;
            self.term.extend_from_slice(term);
            varint::put(&mut self.positions, position);
        } else {
            varint::put(&mut self.positions, position - self.last);
        }
        self.last = position;
    }

    /// The bytes of the page; the builder is empty again.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        self.close_group();
        self.open = false;
        self.before.clear();
        std::mem::take(&mut self.body)
    }

    fn close_group(&mut self) {
        if !self.open {
            return;
        }
        let shared = shared_prefix(&self.before, &self.term);
        varint::put(&mut self.body, shared as u64);
        varint::put_bytes(&mut self.body, &self.term[shared..]);
        varint::put_bytes(&mut self.body, &self.positions);
        std::mem::swap(&mut self.before, &mut self.term);
        self.term.clear();
        self.positions.clear();
    }
}

pub(super) fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// A page whose bytes do not make sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A group as it is read: its term, and its positions still packed.
type PackedGroup<'t, 'p> = (&'t [u8], &'p [u8]);

/// Reads the groups of a page in order.
#[derive(Debug)]
pub(super) struct Groups<'a> {
    rest: &'a [u8],
    term: Vec<u8>,
}

impl<'a> Groups<'a> {
    /// Begins at the first group of a page.
    pub(super) fn new(page: &'a [u8]) -> Self {
        Self { rest: page, term: Vec::new() }
    }

    /// The next group; `None` behind the last one.
    pub(super) fn next(&mut self) -> Result<Option<PackedGroup<'_, 'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let positions = self.read().ok_or(Malformed)?;
        Ok(Some((&self.term, positions)))
    }

    fn read(&mut self) -> Option<&'a [u8]> {
        let (shared, suffix, positions) = take_group(&mut self.rest)?;
        if shared > self.term.len() {
            return None;
        }
        self.term.truncate(shared);
        self.term.extend_from_slice(suffix);
        Some(positions)
    }
}

/// Reads the group that stands `at` in a page: its term takes the place of the one before it, and where its packed
/// positions stand is handed out.
pub(super) fn next_group(page: &[u8], at: &mut usize, term: &mut Vec<u8>) -> Result<Range<usize>, Malformed> {
    let mut rest = page.get(*at..).ok_or(Malformed)?;
    let (shared, suffix, packed) = take_group(&mut rest).ok_or(Malformed)?;
    if shared > term.len() {
        return Err(Malformed);
    }
    term.truncate(shared);
    term.extend_from_slice(suffix);
    *at = page.len() - rest.len();
    Ok(*at - packed.len()..*at)
}

/// A group as it is stored: how many bytes its term shares with the one before, the rest of it, its packed positions.
fn take_group<'a>(rest: &mut &'a [u8]) -> Option<(usize, &'a [u8], &'a [u8])> {
    let shared = usize::try_from(varint::take(rest)?).ok()?;
    let suffix = varint::take_bytes(rest)?;
    Some((shared, suffix, varint::take_bytes(rest)?))
}

/// Unpacks positions that were stored less `base`.
pub(super) fn unpack(packed: &[u8], base: u64) -> Result<Vec<u64>, Malformed> {
    // No number takes less than a byte.
    let mut positions = Vec::with_capacity(packed.len());
    for_each_position(packed, base, |position| -> Result<(), Malformed> {
        positions.push(position);
        Ok(())
    })?;
    Ok(positions)
}

/// Calls `each` with the positions that were stored less `base`, until it fails.
pub(super) fn for_each_position<E: From<Malformed>>(
    mut packed: &[u8],
    base: u64,
    mut each: impl FnMut(u64) -> Result<(), E>,
) -> Result<(), E> {
    let mut last = base;
    while !packed.is_empty() {
        last = varint::take(&mut packed).and_then(|delta| last.checked_add(delta)).ok_or(Malformed)?;
        each(last)?;
    }
    Ok(())
}

/// The positions of `term` in a page, less nothing: `base` is added. Empty where the page does not hold the term.
///
/// Terms are not put together for this: how far each agrees with the one before it tells, for most, that it still lies
/// before the one that is sought.
pub(super) fn positions_of(page: &[u8], term: &[u8], base: u64) -> Result<Vec<u64>, Malformed> {
    let mut rest = page;
    // How long the group before is, and how many bytes of it are those of the term sought, before which it lies.
    let (mut before, mut agreed) = (0, 0);
    while !rest.is_empty() {
        let (shared, suffix, packed) = take_group(&mut rest).ok_or(Malformed)?;
        if shared > before {
            return Err(Malformed);
        }
        before = shared + suffix.len();
        match shared.cmp(&agreed) {
            Ordering::Greater => continue,
            Ordering::Less => break,
            Ordering::Equal => {}
        }
        let sought = term.get(agreed..).ok_or(Malformed)?;
        match suffix.cmp(sought) {
            Ordering::Less => agreed += shared_prefix(suffix, sought),
            Ordering::Equal => return unpack(packed, base),
            Ordering::Greater => break,
        }
    }
    Ok(Vec::new())
}

/// The terms of a page, ascending.
pub(super) fn terms(page: &[u8]) -> Result<Vec<Box<[u8]>>, Malformed> {
    let mut groups = Groups::new(page);
    let mut terms = Vec::new();
    while let Some((term, _)) = groups.next()? {
        terms.push(term.into());
    }
    Ok(terms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(groups: &[(&str, &[u64])]) -> Vec<u8> {
        let mut builder = PageBuilder::default();
        for (term, positions) in groups {
            positions.iter().for_each(|&p| builder.push(term.as_bytes(), p));
        }
        builder.finish()
    }

    #[test]
    fn groups_are_read_back_as_packed() {
        let page = page_of(&[("acct/a", &[0, 1, 300]), ("acct/ab", &[7]), ("b", &[u64::MAX - 5])]);
        assert_eq!(positions_of(&page, b"acct/a", 5), Ok(vec![5, 6, 305]));
        assert_eq!(positions_of(&page, b"acct/ab", 0), Ok(vec![7]));
        assert_eq!(positions_of(&page, b"acct/aa", 0), Ok(vec![]));
        assert_eq!(positions_of(&page, b"b", 5), Ok(vec![u64::MAX]));
        let terms: Vec<_> =
            terms(&page).unwrap().into_iter().map(|t| String::from_utf8(t.into()).unwrap()).collect();
        assert_eq!(terms, ["acct/a", "acct/ab", "b"]);
    }

    #[test]
    fn every_term_is_found_among_terms_that_share_much_and_little() {
        let mut terms: Vec<Vec<u8>> = vec![vec![], vec![0], vec![255], vec![255, 255]];
        for n in 0..400_u32 {
            let mixed = n.wrapping_mul(2_654_435_761);
            terms.push(format!("{:x}", mixed % 97).into_bytes());
            terms.push(format!("acct/{:03}/{:x}", n / 40, mixed % 1009).into_bytes());
        }
        terms.sort();
        terms.dedup();
        let mut builder = PageBuilder::default();
        let held = |nth: usize| nth % 3 != 1;
        for (nth, term) in terms.iter().enumerate().filter(|(nth, _)| held(*nth)) {
            builder.push(term, nth as u64);
            builder.push(term, nth as u64 + 1000);
        }
        let page = builder.finish();
        for (nth, term) in terms.iter().enumerate() {
            let there = if held(nth) { vec![nth as u64, nth as u64 + 1000] } else { vec![] };
            assert_eq!(positions_of(&page, term, 0), Ok(there), "{:?}", String::from_utf8_lossy(term));
        }
    }

    #[test]
    fn a_builder_begins_the_next_page_without_a_trace_of_the_last() {
        let mut builder = PageBuilder::default();
        builder.push(b"same", 1);
        let first = builder.finish();
        assert!(builder.is_empty());
        builder.push(b"same", 2);
        assert_eq!(positions_of(&first, b"same", 0), Ok(vec![1]));
        assert_eq!(positions_of(&builder.finish(), b"same", 0), Ok(vec![2]));
    }

    #[test]
    fn a_page_cut_anywhere_is_malformed_or_shorter_and_never_panics() {
        let page = page_of(&[("aa", &[1, 2]), ("ab", &[3])]);
        for cut in 0..page.len() {
            let found = terms(&page[..cut]);
            assert!(found.is_err() || found.unwrap().len() < 2);
        }
        assert_eq!(positions_of(&[9, 0, 0], b"a", 0), Err(Malformed), "shares more than there is");
        assert_eq!(unpack(&[1], u64::MAX), Err(Malformed), "beyond the last position");
    }
}
