//! A block: some records of a table in order of their keys, each key by how it differs from the one before.
//!
//! ```text
//! record = shared (number)   bytes that the key begins with as the key before does; 0 for the first
//!          n (number)        bytes of the rest of the key
//!          rest              n bytes
//!          m (number)        bytes of the body
//!          body              m bytes
//! ```
//!
//! Numbers are those of [`super::bytes`]. The same records give the same bytes, however they came in.

use std::ops::Range;

use super::bytes::{Reader, common, put_number};

/// What the numbers of a record take at most where it is not a large one.
const HEAD_BYTES: usize = 8;
/// A block in a row of blocks grows by so much at a time.
const ROOM_BYTES: usize = 256;

/// A record as it stands in a block.
pub(super) struct Record<'a> {
    shared: usize,
    rest: &'a [u8],
    body: &'a [u8],
    /// Where the length of its body stands.
    length_at: usize,
    /// Where the next record begins.
    end: usize,
}

/// The record that begins at an offset; `None` at the end.
fn record_at(block: &[u8], at: usize) -> Option<Record<'_>> {
    let mut reader = Reader(block.get(at..).filter(|bytes| !bytes.is_empty())?);
    let shared = reader.number()?;
    let length = reader.number()?;
    let rest = reader.bytes(length)?;
    let length_at = block.len() - reader.0.len();
    let length = reader.number()?;
    let body = reader.bytes(length)?;
    Some(Record { shared, rest, body, length_at, end: block.len() - reader.0.len() })
}

/// The first key of a block.
pub(super) fn first_key(block: &[u8]) -> &[u8] {
    record_at(block, 0).map(|record| record.rest).unwrap_or_default()
}

/// Where a key stands, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// Its record begins at `start`; the length of its body stands at `length_at`.
    Known { start: usize, length_at: usize, body: Range<usize> },
    /// It belongs at `at`, and begins with `shared` bytes as the key before that does.
    Free { at: usize, shared: usize },
}

/// Finds a key. No other key is put together for it: how much of `key` the record before has tells whether this one is
/// smaller or greater.
pub(super) fn find(block: &[u8], key: &[u8]) -> Spot {
    let (mut at, mut matched) = (0, 0);
    while let Some(record) = record_at(block, at) {
        if record.shared < matched {
            break;
        }
        if record.shared == matched {
            let wanted = key.get(matched..).unwrap_or_default();
            let more = common(record.rest, wanted);
            match (record.rest.get(more), wanted.get(more)) {
                (None, None) => {
                    let body = record.end - record.body.len()..record.end;
                    return Spot::Known { start: at, length_at: record.length_at, body };
                }
                (Some(theirs), Some(ours)) if theirs > ours => break,
                (Some(_), None) => break,
                _ => matched += more,
            }
        }
        at = record.end;
    }
    Spot::Free { at, shared: matched }
}

fn put_head(out: &mut Vec<u8>, shared: usize, rest: [&[u8]; 2]) {
    put_number(out, shared);
    put_number(out, rest[0].len() + rest[1].len());
    out.extend_from_slice(rest[0]);
    out.extend_from_slice(rest[1]);
}

fn put_body(out: &mut Vec<u8>, body: &[u8]) {
    put_number(out, body.len());
    out.extend_from_slice(body);
}

/// Other bytes in the place of some of a block.
pub(super) struct Edit {
    pub(super) place: Range<usize>,
    pub(super) bytes: Vec<u8>,
}

impl Edit {
    /// The block with the edit made, as long as it is and not a byte longer.
    pub(super) fn made(&self, block: &[u8]) -> Vec<u8> {
        let before = block.get(..self.place.start).unwrap_or_default();
        [before, &self.bytes, block.get(self.place.end..).unwrap_or_default()].concat()
    }

    /// Makes the edit in its place. A block that grows gets some room, so that it need not move each time.
    pub(super) fn make(&self, block: &mut Vec<u8>) {
        let (old, new) = (block.len(), block.len() - self.place.len() + self.bytes.len());
        if new > block.capacity() {
            block.reserve_exact(new.next_multiple_of(ROOM_BYTES) - old);
        }
        block.resize(old.max(new), 0);
        block.copy_within(self.place.end..old, self.place.start + self.bytes.len());
        block.truncate(new);
        if let Some(place) = block.get_mut(self.place.start..self.place.start + self.bytes.len()) {
            place.copy_from_slice(&self.bytes);
        }
    }
}

/// One more record, which belongs `at` an offset where its key shares so much with the one before.
pub(super) fn with(block: &[u8], at: usize, shared: usize, key: &[u8], body: &[u8]) -> Edit {
    let rest = key.get(shared..).unwrap_or_default();
    let mut bytes = Vec::with_capacity(rest.len() + body.len() + 2 * HEAD_BYTES);
    put_head(&mut bytes, shared, [rest, &[]]);
    put_body(&mut bytes, body);
    match record_at(block, at) {
        Some(next) if next.shared == shared => {
            let more = common(next.rest, rest);
            put_head(&mut bytes, shared + more, [next.rest.get(more..).unwrap_or_default(), &[]]);
            Edit { place: at..next.length_at, bytes }
        }
        _ => Edit { place: at..at, bytes },
    }
}

/// The record that begins at `start` is gone.
pub(super) fn without(block: &[u8], start: usize) -> Edit {
    let mut bytes = Vec::new();
    let Some(gone) = record_at(block, start) else { return Edit { place: start..start, bytes } };
    match record_at(block, gone.end) {
        // What the next key took from the one that is gone it has to say itself now.
        Some(next) if next.shared > gone.shared => {
            let taken = gone.rest.get(..next.shared - gone.shared).unwrap_or_default();
            put_head(&mut bytes, gone.shared, [taken, next.rest]);
            Edit { place: start..next.length_at, bytes }
        }
        _ => Edit { place: start..gone.end, bytes },
    }
}

/// Another body in a record: `length_at` and `old` are its [`Spot`].
pub(super) fn with_body(length_at: usize, old: &Range<usize>, body: &[u8]) -> Edit {
    let mut bytes = Vec::with_capacity(body.len() + HEAD_BYTES);
    put_body(&mut bytes, body);
    Edit { place: length_at..old.end, bytes }
}

/// Two blocks out of one that has grown, cut where the first record begins at or behind an offset, else before the last
/// one; `None` where there is but one record.
pub(super) fn split(block: &[u8], from: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut walk = Walk::new(block);
    let mut at = walk.step()?.end;
    while let Some(record) = walk.step() {
        if at >= from || record.end == block.len() {
            let mut right = Vec::with_capacity(block.len() - at + record.shared + 2);
            put_head(&mut right, 0, [&walk.key, &[]]);
            right.extend_from_slice(block.get(record.length_at..)?);
            return Some((block.get(..at)?.to_vec(), right));
        }
        at = record.end;
    }
    None
}

/// How many records a block has.
pub(super) fn count(block: &[u8]) -> usize {
    let mut at = 0;
    std::iter::from_fn(|| record_at(block, at).map(|record| at = record.end)).count()
}

/// Goes through the records of a block.
pub(super) struct Walk<'a> {
    block: &'a [u8],
    at: usize,
    key: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        Self { block, at: 0, key: Vec::new() }
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.block.len()
    }

    fn step(&mut self) -> Option<Record<'a>> {
        let record = record_at(self.block, self.at)?;
        self.key.truncate(record.shared);
        self.key.extend_from_slice(record.rest);
        self.at = record.end;
        Some(record)
    }

    /// The next record: its key and its body.
    pub(super) fn next(&mut self) -> Option<(&[u8], &'a [u8])> {
        let record = self.step()?;
        Some((&self.key, record.body))
    }
}

/// How many records a block has; `None` where its bytes are not those of a block, where a key does not come after the
/// one before (`last`, which it moves on), or where `whole` does not take a record.
pub(super) fn check(
    block: &[u8],
    last: &mut Option<Vec<u8>>,
    whole: impl Fn(&str, &[u8]) -> bool,
) -> Option<usize> {
    let (mut at, mut count) = (0, 0);
    while at < block.len() {
        let record = record_at(block, at)?;
        let ascends = match last.as_deref() {
            Some(before) if at == 0 => record.shared == 0 && before < record.rest,
            Some(before) => before.get(record.shared..)?.first() < record.rest.first(),
            None => record.shared == 0,
        };
        let key = last.get_or_insert_default();
        key.truncate(record.shared);
        key.extend_from_slice(record.rest);
        if !ascends || !whole(std::str::from_utf8(key).ok()?, record.body) {
            return None;
        }
        (at, count) = (record.end, count + 1);
    }
    (count > 0).then_some(count)
}
