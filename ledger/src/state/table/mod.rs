//! A map from names to what is known of them, packed: what an account has of tokens, grants and the like. Millions of
//! them are held in memory, so a record costs its bytes and hardly more.
//!
//! Records stand in order of key in blocks of some kilobyte (drawn in [`block`]). A table of one block is one
//! allocation; more blocks are shared between copies of the table, and a change copies the one block that it touches.

mod block;
pub(super) mod bytes;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::sync::Arc;

use block::{Edit, Spot, Walk};

use super::stored::{Source, malformed};
use crate::event::Text;

/// A block that has grown beyond this is split: small enough to be searched and copied in no time, large enough for
/// what a block itself takes not to matter.
const BLOCK_BYTES: usize = 1024;

/// What a table can hold: it packs itself into bytes, and comes back as it was. The same value gives the same bytes.
pub trait Packed: Sized {
    /// Appends the value of a key.
    fn pack(&self, key: &str, out: &mut Vec<u8>);
    /// The value of a key; `None` where the bytes are not of one.
    fn unpack(key: &str, body: &[u8]) -> Option<Self>;
    /// Whether [`Packed::unpack`] would find a value.
    fn check(key: &str, body: &[u8]) -> bool {
        Self::unpack(key, body).is_some()
    }
}

/// A map in order of its keys, small in memory. Values come and go by value.
pub struct Table<K, V> {
    blocks: Blocks,
    of: PhantomData<fn() -> (K, V)>,
}

#[derive(Clone)]
enum Blocks {
    /// Nothing, or one block.
    One(Box<[u8]>),
    Many(Box<Many>),
}

/// Blocks in order of their keys, none empty.
#[derive(Clone)]
struct Many {
    blocks: Vec<Block>,
    /// How many records they have.
    len: usize,
}

/// A block with the beginning of its first key beside it: a table of thousands of records is searched without reaching
/// for each block that is passed.
#[derive(Clone)]
struct Block {
    head: Head,
    bytes: Arc<Vec<u8>>,
}

impl Block {
    fn new(bytes: Vec<u8>) -> Self {
        Self { head: Head::of(block::first_key(&bytes)), bytes: Arc::new(bytes) }
    }

    /// Whether its first key is not greater than a key.
    fn begins_before(&self, key: &[u8], head: Head) -> bool {
        match self.head.cmp(&head) {
            Ordering::Equal => block::first_key(&self.bytes) <= key,
            unequal => unequal == Ordering::Less,
        }
    }
}

/// The first bytes of a key, filled up with zeros. Where those of two keys differ, the keys are in the same order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Head(u64, u64, u64);

impl Head {
    fn of(key: &[u8]) -> Self {
        let mut words = key.chunks(8).map(|word| {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
            u64::from_be_bytes(bytes)
        });
        let mut next = || words.next().unwrap_or_default();
        Self(next(), next(), next())
    }
}

impl Blocks {
    fn count(&self) -> usize {
        match self {
            Self::One(block) => usize::from(!block.is_empty()),
            Self::Many(many) => many.blocks.len(),
        }
    }

    fn get(&self, index: usize) -> &[u8] {
        match self {
            Self::One(block) if index == 0 => block,
            Self::One(_) => &[],
            Self::Many(many) => {
                many.blocks.get(index).map(|block| block.bytes.as_slice()).unwrap_or_default()
            }
        }
    }

    /// The block that has a key if one does.
    fn of(&self, key: &[u8]) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Many(many) => {
                let head = Head::of(key);
                let begins_before = |block: &Block| block.begins_before(key, head);
                // Most events are about the newest token, which mostly is the last.
                if many.blocks.last().is_some_and(begins_before) {
                    return many.blocks.len() - 1;
                }
                many.blocks.partition_point(begins_before).saturating_sub(1)
            }
        }
    }

    /// Changes a block; a copy of its own where it is shared.
    fn edit(&mut self, index: usize, edit: &Edit) {
        match self {
            Self::One(block) => *block = edit.made(block).into_boxed_slice(),
            Self::Many(many) => {
                if let Some(block) = many.blocks.get_mut(index) {
                    edit.make(Arc::make_mut(&mut block.bytes));
                    if edit.place.start == 0 {
                        block.head = Head::of(block::first_key(&block.bytes));
                    }
                }
            }
        }
    }

    /// Puts two blocks in the place of one.
    fn put_two(&mut self, index: usize, (left, right): (Vec<u8>, Vec<u8>)) {
        let len = block::count(&left) + block::count(&right);
        let pair = [Block::new(left), Block::new(right)];
        match self {
            Self::One(_) => *self = Self::Many(Box::new(Many { blocks: pair.into(), len })),
            Self::Many(many) => {
                if index < many.blocks.len() {
                    many.blocks.splice(index..=index, pair);
                }
            }
        }
    }

    fn remove(&mut self, index: usize) {
        match self {
            Self::One(block) => *block = Box::default(),
            Self::Many(many) if many.blocks.len() <= 1 => *self = Self::One(Box::default()),
            Self::Many(many) => {
                if index < many.blocks.len() {
                    many.blocks.remove(index);
                }
            }
        }
    }

    /// The bytes of a block, to be changed in place; a copy of its own where it is shared.
    fn get_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        match self {
            Self::One(block) => Some(block),
            Self::Many(many) => {
                many.blocks.get_mut(index).map(|block| Arc::make_mut(&mut block.bytes).as_mut_slice())
            }
        }
    }
}

impl<K, V> Table<K, V> {
    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.blocks {
            Blocks::Many(many) => many.len,
            Blocks::One(block) => block::count(block),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.count() == 0
    }

    /// Calls `each` with every key and packed value, in order.
    pub(super) fn each(&self, mut each: impl FnMut(&str, &[u8])) {
        let mut records = Records::of(&self.blocks);
        while let Some((key, body)) = records.next() {
            each(key, body);
        }
    }

    /// Writes the blocks as they are.
    ///
    /// # Errors
    /// As `out` says.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut number = Vec::new();
        bytes::put_number(&mut number, self.blocks.count());
        for index in 0..self.blocks.count() {
            let block = self.blocks.get(index);
            bytes::put_number(&mut number, block.len());
            out.write_all(&number)?;
            out.write_all(block)?;
            number.clear();
        }
        out.write_all(&number)
    }
}

impl<K: Borrow<str>, V: Packed> Table<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        V::unpack(key.borrow(), self.body(key)?)
    }

    /// Whether there is a key.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.body(key).is_some()
    }

    /// The packed value of a key.
    pub(super) fn body(&self, key: &K) -> Option<&[u8]> {
        let key = key.borrow().as_bytes();
        let block = self.blocks.get(self.blocks.of(key));
        match block::find(block, key) {
            Spot::Known { body, .. } => block.get(body),
            Spot::Free { .. } => None,
        }
    }

    /// Gives a key a value, whether it had one or not.
    pub fn insert(&mut self, key: &K, value: &V) {
        let mut body = Vec::new();
        value.pack(key.borrow(), &mut body);
        let index = self.blocks.of(key.borrow().as_bytes());
        match block::find(self.blocks.get(index), key.borrow().as_bytes()) {
            Spot::Known { length_at, body: old, .. } => self.replace(index, length_at, old, &body),
            Spot::Free { at, shared } => self.add(index, at, shared, key.borrow().as_bytes(), &body),
        }
    }

    /// Changes the value of a key; `false` where it has none.
    pub fn update(&mut self, key: &K, change: impl FnOnce(&mut V)) -> bool {
        self.rewrite(key, |old| {
            let mut body = Vec::with_capacity(old.len() + 32);
            let mut value = V::unpack(key.borrow(), old)?;
            change(&mut value);
            value.pack(key.borrow(), &mut body);
            Some(body)
        })
    }

    /// Changes the packed value of a key, unless `change` has none; `false` where there is no such key.
    pub(super) fn rewrite(&mut self, key: &K, change: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> bool {
        let key = key.borrow().as_bytes();
        let index = self.blocks.of(key);
        let block = self.blocks.get(index);
        let Spot::Known { length_at, body, .. } = block::find(block, key) else { return false };
        if let Some(new) = block.get(body.clone()).and_then(change) {
            self.replace(index, length_at, body, &new);
        }
        true
    }

    /// Removes a key; `false` where there is none.
    pub fn remove(&mut self, key: &K) -> bool {
        let key = key.borrow().as_bytes();
        let index = self.blocks.of(key);
        let block = self.blocks.get(index);
        let Spot::Known { start, .. } = block::find(block, key) else { return false };
        let edit = block::without(block, start);
        let empty = edit.place == (0..block.len()) && edit.bytes.is_empty();
        if let Blocks::Many(many) = &mut self.blocks {
            many.len -= 1;
        }
        if empty {
            self.blocks.remove(index);
        } else {
            self.blocks.edit(index, &edit);
        }
        true
    }

    fn replace(&mut self, index: usize, length_at: usize, old: std::ops::Range<usize>, body: &[u8]) {
        if old.len() == body.len() {
            if let Some(place) = self.blocks.get_mut(index).and_then(|block| block.get_mut(old)) {
                place.copy_from_slice(body);
            }
            return;
        }
        self.settle(index, &block::with_body(length_at, &old, body), Cut::InTheMiddle);
    }

    fn add(&mut self, index: usize, at: usize, shared: usize, key: &[u8], body: &[u8]) {
        let block = self.blocks.get(index);
        let cut = if index == 0 && at == 0 && !block.is_empty() {
            Cut::BehindTheFirst
        } else if index + 1 >= self.blocks.count() && at == block.len() {
            Cut::Before(at)
        } else {
            Cut::InTheMiddle
        };
        let edit = block::with(block, at, shared, key, body);
        if let Blocks::Many(many) = &mut self.blocks {
            many.len += 1;
        }
        self.settle(index, &edit, cut);
    }

    /// Changes a block, and makes two of it where it becomes too large.
    fn settle(&mut self, index: usize, edit: &Edit, cut: Cut) {
        let block = self.blocks.get(index);
        if block.len() - edit.place.len() + edit.bytes.len() > BLOCK_BYTES {
            let changed = edit.made(block);
            if let Some(halves) = block::split(&changed, cut.from(&changed)) {
                return self.blocks.put_two(index, halves);
            }
        }
        self.blocks.edit(index, edit);
    }

    /// All keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)>
    where
        K: From<Text>,
    {
        let mut records = Records::of(&self.blocks);
        std::iter::from_fn(move || {
            let (key, body) = records.next()?;
            Some((K::from(Text::own(key)), V::unpack(key, body)?))
        })
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = K>
    where
        K: From<Text>,
    {
        let mut records = Records::of(&self.blocks);
        std::iter::from_fn(move || records.next().map(|(key, _)| K::from(Text::own(key))))
    }

    /// A table out of its blocks, as [`Table::write`] wrote them.
    ///
    /// # Errors
    /// As `source` says; `InvalidData` where the blocks are not those of a table.
    pub(super) fn read(source: &mut impl Source) -> io::Result<Self> {
        let count = source.number()?;
        let mut many = Many { blocks: Vec::new(), len: 0 };
        let mut last = None;
        for _ in 0..count {
            let length = source.number()?;
            let block = source.bytes(length)?;
            let records = block::check(block, &mut last, V::check);
            many.len += records.ok_or_else(|| malformed("a table"))?;
            if count == 1 {
                return Ok(Self { blocks: Blocks::One(block.into()), of: PhantomData });
            }
            many.blocks.push(Block::new(block.to_vec()));
        }
        let blocks = if count == 0 { Blocks::One(Box::default()) } else { Blocks::Many(Box::new(many)) };
        Ok(Self { blocks, of: PhantomData })
    }
}

/// Where a block that has grown too large is cut. Keys that only ever ascend or descend leave full blocks behind, all
/// others halves.
enum Cut {
    BehindTheFirst,
    InTheMiddle,
    Before(usize),
}

impl Cut {
    fn from(&self, block: &[u8]) -> usize {
        match self {
            Self::BehindTheFirst => 1,
            Self::InTheMiddle => block.len() / 2,
            Self::Before(at) => *at,
        }
    }
}

/// Goes through the records of all blocks.
struct Records<'a> {
    blocks: &'a Blocks,
    index: usize,
    walk: Walk<'a>,
}

impl<'a> Records<'a> {
    fn of(blocks: &'a Blocks) -> Self {
        Self { blocks, index: 0, walk: Walk::new(blocks.get(0)) }
    }

    fn next(&mut self) -> Option<(&str, &'a [u8])> {
        while self.walk.at_end() && self.index < self.blocks.count() {
            self.index += 1;
            self.walk = Walk::new(self.blocks.get(self.index));
        }
        let (key, body) = self.walk.next()?;
        // Keys were texts when they came in, and are checked where they come from a file.
        Some((std::str::from_utf8(key).ok()?, body))
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { blocks: self.blocks.clone(), of: PhantomData }
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { blocks: Blocks::One(Box::default()), of: PhantomData }
    }
}

impl<K, V> PartialEq for Table<K, V> {
    /// What is in it counts, not how it is cut into blocks. The same value packs to the same bytes.
    fn eq(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (Records::of(&self.blocks), Records::of(&other.blocks));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (ours, theirs) if ours != theirs => return false,
                _ => {}
            }
        }
    }
}

impl<K, V> Eq for Table<K, V> {}

impl<K, V> fmt::Debug for Table<K, V>
where
    K: Borrow<str> + From<Text> + fmt::Debug,
    V: Packed + fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Borrow<str>, V: Packed> FromIterator<(K, V)> for Table<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(records: I) -> Self {
        let mut table = Self::default();
        records.into_iter().for_each(|(key, value)| table.insert(&key, &value));
        table
    }
}
