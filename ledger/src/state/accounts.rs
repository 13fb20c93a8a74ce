//! All accounts in order of id, in chunks that copies share: a copy costs nothing when it is made, and a change after
//! that copies what it touches.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    places: Places,
}

/// Where accounts were seen last, by the hash of their ids. Each event asks for its account more than once, and each
/// search compares a dozen ids that lie far apart in memory. A place may be out of date, or that of another account:
/// whoever is told it looks whether the account is there.
#[derive(Debug, Default)]
struct Places(Vec<AtomicU64>);

impl Places {
    /// Makes room for so many accounts; those that were known are looked for once more.
    fn make_room(&mut self, accounts: usize) {
        if self.0.len() < accounts {
            let places = (2 * accounts).next_power_of_two();
            self.0 = std::iter::repeat_with(AtomicU64::default).take(places).collect();
        }
    }

    fn of(&self, id: &AccountId) -> Option<&AtomicU64> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        // There are a power of two of them, or none.
        self.0.get(hasher.finish() as usize & self.0.len().wrapping_sub(1))
    }
}

impl Clone for Places {
    /// A copy of the accounts is asked for few of them.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Accounts {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, id: &AccountId) -> Option<&Arc<Slot>> {
        let (index, at) = self.find(id)?;
        self.chunks.get(index)?.get(at)
    }

    /// The chunk that has an account, and where it stands there.
    fn find(&self, id: &AccountId) -> Option<(usize, usize)> {
        let place = self.places.of(id);
        if let Some(place) = place {
            let seen = place.load(Ordering::Relaxed);
            let (index, at) = ((seen >> 32) as usize, (seen as u32) as usize);
            let there = self.chunks.get(index).and_then(|chunk| chunk.get(at));
            if there.is_some_and(|slot| slot.id() == id) {
                return Some((index, at));
            }
        }
        let index = self.chunk_of(id);
        let at = self::place(self.chunks.get(index)?, id).ok()?;
        if let Some(place) = place {
            place.store((index as u64) << 32 | at as u64, Ordering::Relaxed);
        }
        Some((index, at))
    }

    /// An account to be changed.
    pub(super) fn get_mut(&mut self, id: &AccountId) -> Option<&mut Slot> {
        let (index, at) = self.find(id)?;
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
                self.places.make_room(self.len);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{Accounts, CHUNK_SLOTS};
    use crate::event::{AccountId, Fact, Text};
    use crate::state::Slot;
    use crate::testing::{self, DAY};

    fn id(n: usize) -> AccountId {
        AccountId(Text::own(&format!("bot-{n:05}")))
    }

    fn slot(n: usize) -> Slot {
        let event = crate::event::Event {
            event_id: uuid::Uuid::nil(),
            emitter: crate::types::Emitter::ledger(),
            emitter_sequence: None,
            occurred_at: DAY,
            actor: crate::event::Actor { kind: crate::event::ActorKind::Human, id: Text::own("ann") },
            cause: crate::event::Cause::default(),
            account: Some(id(n)),
            fact: Fact::AccountEnabled,
        };
        Slot::begin(&id(n), &testing::record(vec![event])[0])
    }

    /// In runs, up and down, so that chunks fill and empty, and at one place more than others.
    fn run() -> impl Strategy<Value = (bool, Vec<usize>)> {
        (any::<bool>(), any::<bool>(), 0..600_usize, 1..300_usize, 1..4_usize).prop_map(
            |(insert, down, from, count, step)| {
                let mut run: Vec<usize> = (0..count).map(|n| from + n * step).collect();
                if down {
                    run.reverse();
                }
                (insert, run)
            },
        )
    }

    fn assert_same(accounts: &Accounts, model: &BTreeMap<AccountId, u64>) {
        let ours = accounts.iter().map(|slot| (slot.id(), slot.version));
        assert!(ours.eq(model.iter().map(|(id, version)| (id, *version))));
        assert_eq!(accounts.len(), model.len());
        assert!(accounts.chunks.iter().all(|chunk| (1..=CHUNK_SLOTS).contains(&chunk.len())));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn accounts_are_a_map_whose_copies_stay_as_they_were(runs in vec(run(), 1..10)) {
            let (mut accounts, mut model) = (Accounts::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for (insert, run) in runs {
                copies.push((accounts.clone(), model.clone()));
                for n in run {
                    if let Some(slot) = accounts.get_mut(&id(n)) {
                        slot.version += 1;
                    }
                    model.entry(id(n)).and_modify(|version| *version += 1);
                    if insert && !model.contains_key(&id(n)) {
                        accounts.insert(Arc::new(slot(n)));
                        model.insert(id(n), 1);
                    } else if !insert {
                        accounts.remove(&id(n));
                        model.remove(&id(n));
                    }
                }
            }
            for n in 0..1_500 {
                prop_assert_eq!(accounts.get(&id(n)).map(|slot| slot.version), model.get(&id(n)).copied());
            }
            copies.push((accounts, model));
            for (accounts, model) in copies {
                assert_same(&accounts, &model);
            }
        }
    }

    #[test]
    fn accounts_that_are_read_must_ascend() {
        let mut accounts = Accounts::default();
        assert!(accounts.push(slot(1)) && accounts.push(slot(2)));
        assert!(!accounts.push(slot(2)) && !accounts.push(slot(0)));
        assert_eq!(accounts.len(), 2);
    }
}
