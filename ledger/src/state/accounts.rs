//! All accounts in order of id, in chunks that copies share: a copy costs nothing when it is made, and a change after
//! that copies what it touches.

use std::sync::Arc;

use super::slot::Slot;
use crate::event::AccountId;

/// A chunk that has more accounts is split in two. What a chunk itself takes does not matter then, and copying one is
/// quick.
const CHUNK_SLOTS: usize = 128;

type Chunk = Arc<Vec<Arc<Slot>>>;

/// Accounts in order of id.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts {
    /// Not one of them is empty.
    chunks: Arc<Vec<Chunk>>,
    len: usize,
}

impl Accounts {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, id: &AccountId) -> Option<&Arc<Slot>> {
        let chunk = self.chunks.get(self.chunk_of(id))?;
        chunk.get(place(chunk, id).ok()?)
    }

    /// An account to be changed.
    pub(super) fn get_mut(&mut self, id: &AccountId) -> Option<&mut Slot> {
        let index = self.chunk_of(id);
        let at = place(self.chunks.get(index)?, id).ok()?;
        let chunk = Arc::make_mut(Arc::make_mut(&mut self.chunks).get_mut(index)?);
        chunk.get_mut(at).map(Arc::make_mut)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(Arc::as_ref)
    }

    /// Puts an account under its id, in place of one that is there.
    pub(super) fn insert(&mut self, slot: Arc<Slot>) {
        let index = self.chunk_of(slot.id());
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Chunk::default());
        }
        let last = index + 1 >= chunks.len();
        let Some(chunk) = chunks.get_mut(index) else { return };
        let slots = Arc::make_mut(chunk);
        match place(slots, slot.id()) {
            Ok(at) => slots[at] = slot,
            Err(at) => {
                let appended = last && at == slots.len();
                slots.insert(at, slot);
                self.len += 1;
                if slots.len() > CHUNK_SLOTS {
                    // Ids that only ascend leave full chunks behind.
                    let right = slots.split_off(if appended { at } else { slots.len() / 2 });
                    slots.shrink_to_fit();
                    chunks.insert(index + 1, Arc::new(right));
                }
            }
        }
    }

    /// Puts an account behind all others; `false` where it does not belong there.
    pub(super) fn push(&mut self, slot: Slot) -> bool {
        let last = self.chunks.last().and_then(|chunk| chunk.last());
        let ascends = last.is_none_or(|last| last.id() < slot.id());
        if ascends {
            self.insert(Arc::new(slot));
        }
        ascends
    }

    pub(super) fn remove(&mut self, id: &AccountId) {
        let index = self.chunk_of(id);
        let Some(at) = self.chunks.get(index).and_then(|chunk| place(chunk, id).ok()) else { return };
        let chunks = Arc::make_mut(&mut self.chunks);
        if let Some(chunk) = chunks.get_mut(index).map(Arc::make_mut) {
            chunk.remove(at);
            self.len -= 1;
            if chunk.is_empty() {
                chunks.remove(index);
            }
        }
    }

    /// The chunk that an id belongs to.
    fn chunk_of(&self, id: &AccountId) -> usize {
        let begins_before = |chunk: &Chunk| chunk.first().is_some_and(|slot| slot.id() <= id);
        self.chunks.partition_point(begins_before).saturating_sub(1)
    }
}

/// Where an id is in a chunk, or else where it belongs.
fn place(slots: &[Arc<Slot>], id: &AccountId) -> Result<usize, usize> {
    slots.binary_search_by(|slot| slot.id().cmp(id))
}

impl PartialEq for Accounts {
    /// How the accounts are cut into chunks does not count.
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for Accounts {}
