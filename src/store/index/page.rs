//! One page of a run: the positions of one term after another, ascending, packed into about 4 KiB.
//!
//! ```text
//! group*    group = shared | suffix bytes | positions bytes      (each a varint length, then the bytes)
//! ```
//! A *term* is a tag and a key. `shared` counts the leading bytes that a term has in common with the term of the group
//! before it (0 in the first group of a page). The first position is stored less the first position of the run, each
//! later one less the one before it.

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
        let shared = usize::try_from(varint::take(&mut self.rest)?).ok()?;
        let suffix = varint::take_bytes(&mut self.rest)?;
        if shared > self.term.len() {
            return None;
        }
        self.term.truncate(shared);
        self.term.extend_from_slice(suffix);
        varint::take_bytes(&mut self.rest)
    }
}

/// Unpacks positions that were stored less `base`.
pub(super) fn unpack(mut packed: &[u8], base: u64) -> Result<Vec<u64>, Malformed> {
    let mut positions = Vec::new();
    let mut last = base;
    while !packed.is_empty() {
        last = varint::take(&mut packed).and_then(|delta| last.checked_add(delta)).ok_or(Malformed)?;
        positions.push(last);
    }
    Ok(positions)
}

/// The positions of `term` in a page, less nothing: `base` is added. Empty where the page does not hold the term.
pub(super) fn positions_of(page: &[u8], term: &[u8], base: u64) -> Result<Vec<u64>, Malformed> {
    let mut groups = Groups::new(page);
    while let Some((found, packed)) = groups.next()? {
        match found.cmp(term) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return unpack(packed, base),
            std::cmp::Ordering::Greater => break,
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
