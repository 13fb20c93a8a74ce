//! The chain: what the entries read so far require of the next one.

use std::sync::Arc;

use super::tree::Subtrees;
use crate::entry::Header;
use crate::tree::Hash;
use crate::types::{LedgerUid, Link, Position, Time};

/// Where an entry stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Arc<str>,
    pub(super) offset: u64,
}

/// The state of the chain before its next entry.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// The ledger, once anything has named it.
    pub(super) uid: Option<LedgerUid>,
    pub(super) next: Position,
    /// The link of the entry before, recomputed; `None` where that entry cannot be read.
    pub(super) link: Option<Link>,
    /// The link of the last entry that could be read.
    pub(super) head: Link,
    pub(super) recorded_at: Time,
    pub(super) epoch: u32,
    /// The tree over all entries before; `None` where one of them cannot be read.
    pub(super) tree: Option<Subtrees>,
    /// Where the entry before stands.
    pub(super) place: Option<Place>,
}

impl Chain {
    /// Before the genesis.
    pub(super) fn start() -> Self {
        Self {
            uid: None,
            next: Position(0),
            link: Some(Link::default()),
            head: Link::default(),
            recorded_at: Time(i64::MIN),
            epoch: 0,
            tree: Some(Subtrees::from(Position(0))),
            place: None,
        }
    }

    /// Goes on at `next` although the entry before it cannot be read.
    pub(super) fn skip_to(&mut self, next: Position) {
        self.next = next;
        self.link = None;
        self.tree = None;
        self.place = None;
    }

    /// Takes an entry as the one at `next`, and tells of the subtrees that it completes: height, index, root.
    pub(super) fn take(
        &mut self,
        entry: Option<&Header>,
        link: Link,
        leaf: Hash,
        place: Place,
        complete: impl FnMut(u32, u64, Hash),
    ) {
        if let Some(header) = entry {
            self.recorded_at = header.recorded_at;
            self.epoch = header.epoch;
        }
        self.next = after(self.next, 1);
        if let Some(tree) = &mut self.tree {
            tree.push(leaf, complete);
        }
        self.link = Some(link);
        self.head = link;
        self.place = Some(place);
    }
}

/// The position `entries` further on. Positions come from files that may hold anything: never overflow.
pub(super) fn after(position: Position, entries: u64) -> Position {
    Position(position.0.saturating_add(entries))
}
