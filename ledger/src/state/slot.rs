//! An account id with all its lives.

use serde::{Deserialize, Serialize};

use super::account::{Account, Status};
use crate::event::{AccountId, Fact, Recorded};
use crate::types::{Position, Time};

/// Everything that is known of one account id. An id that is created again after its deletion begins a new life; at
/// most one life is not deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The life that counts now.
    current: Account,
    /// `None` where there is nothing of it.
    unusual: Option<Box<Unusual>>,
    /// How many events there are about this id: the version that a precondition names.
    pub version: u64,
    /// When its latest event occurred.
    pub latest_occurred: Time,
    /// The position of its first event.
    pub first: Position,
    /// The position of its last event.
    pub last: Position,
}

/// What most ids have nothing of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Unusual {
    /// The lives that do not count now, the lowest incarnation first.
    others: Vec<Account>,
    /// From here on there are events that this program cannot read.
    incomplete_from: Option<Position>,
}

impl Slot {
    /// The account that begins with its first event.
    #[must_use]
    pub fn begin(id: &AccountId, recorded: &Recorded) -> Self {
        let mut slot = Self {
            current: Account::unseen(id, 1),
            unusual: None,
            version: 0,
            latest_occurred: recorded.event.occurred_at,
            first: recorded.position,
            last: recorded.position,
        };
        slot.apply(recorded);
        slot
    }

    /// The account as it follows from its events in order of position; `None` where there are none.
    pub fn fold<'a>(id: &AccountId, events: impl IntoIterator<Item = &'a Recorded>) -> Option<Self> {
        events.into_iter().fold(None, |slot, recorded| match slot {
            None => Some(Self::begin(id, recorded)),
            Some(mut slot) => {
                slot.apply(recorded);
                Some(slot)
            }
        })
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &AccountId {
        &self.current.id
    }

    /// The life that counts now.
    #[must_use]
    pub fn current(&self) -> &Account {
        &self.current
    }

    pub(super) fn current_mut(&mut self) -> &mut Account {
        &mut self.current
    }

    fn others(&self) -> &[Account] {
        self.unusual.as_ref().map(|unusual| unusual.others.as_slice()).unwrap_or_default()
    }

    /// All lives, incarnation 1 first.
    pub fn lives(&self) -> impl Iterator<Item = &Account> {
        let others = self.others();
        let earlier = others.partition_point(|life| life.incarnation < self.current.incarnation);
        let (earlier, later) = others.split_at(earlier);
        earlier.iter().chain(std::iter::once(&self.current)).chain(later)
    }

    /// All lives, incarnation 1 first, to be completed when they are read.
    pub(super) fn lives_mut(&mut self) -> impl Iterator<Item = &mut Account> {
        let now = self.current.incarnation;
        let others = self.unusual.as_mut().map(|unusual| unusual.others.as_mut_slice()).unwrap_or_default();
        let earlier = others.partition_point(|life| life.incarnation < now);
        let (earlier, later) = others.split_at_mut(earlier);
        earlier.iter_mut().chain(std::iter::once(&mut self.current)).chain(later)
    }

    /// A life, by its incarnation.
    #[must_use]
    pub fn life(&self, incarnation: u32) -> Option<&Account> {
        self.lives().find(|life| life.incarnation == incarnation)
    }

    /// From here on there are events that this program cannot read: nothing may be decided on this account.
    #[must_use]
    pub fn incomplete_from(&self) -> Option<Position> {
        self.unusual.as_ref().and_then(|unusual| unusual.incomplete_from)
    }

    /// Takes the next event as true.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.version += 1;
        self.last = recorded.position;
        self.latest_occurred = self.latest_occurred.max(recorded.event.occurred_at);
        match &recorded.event.fact {
            Fact::Opaque => {
                self.unusual.get_or_insert_default().incomplete_from.get_or_insert(recorded.position);
            }
            Fact::AccountCreated { .. } if self.current.status == Status::Deleted => {
                self.begin_life(recorded);
            }
            Fact::AccountRestored { incarnation, .. } => self.restore(*incarnation, recorded),
            _ => self.current.apply(recorded),
        }
    }

    fn begin_life(&mut self, recorded: &Recorded) {
        let lives = self.others().len() + 1;
        let incarnation = u32::try_from(lives).unwrap_or(u32::MAX).saturating_add(1);
        let mut life = Account::unseen(self.id(), incarnation);
        life.apply(recorded);
        self.swap(life);
    }

    /// Makes a life the one that counts, and keeps the one that did.
    fn swap(&mut self, life: Account) {
        let before = std::mem::replace(&mut self.current, life);
        let others = &mut self.unusual.get_or_insert_default().others;
        let at = others.partition_point(|other| other.incarnation < before.incarnation);
        others.insert(at, before);
    }

    /// An older life can't come back while a newer one lives.
    fn restore(&mut self, incarnation: u32, recorded: &Recorded) {
        // No life has the number 0: an event without one means the life that counts.
        if incarnation != 0 && incarnation != self.current.incarnation {
            if self.current.status != Status::Deleted {
                return;
            }
            let Some(life) = self.take_other(incarnation) else { return };
            self.swap(life);
        }
        self.current.apply(recorded);
    }

    fn take_other(&mut self, incarnation: u32) -> Option<Account> {
        let others = &mut self.unusual.as_mut()?.others;
        let at = others.iter().position(|life| life.incarnation == incarnation)?;
        Some(others.remove(at))
    }
}
