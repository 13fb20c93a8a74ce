//! An account id with all its lives.

use serde::{Deserialize, Serialize};

use super::account::{Account, Status};
use crate::event::{AccountId, Fact, Recorded};
use crate::types::{Position, Time};

/// Everything that is known of one account id. An id that is created again after its deletion begins a new life; at
/// most one life is not deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its lives, incarnation 1 first; never empty.
    lives: Vec<Account>,
    /// The index of the life that counts now.
    current: usize,
    /// How many events there are about this id: the version that a precondition names.
    pub version: u64,
    /// When its latest event occurred.
    pub latest_occurred: Time,
    /// The position of its first event.
    pub first: Position,
    /// The position of its last event.
    pub last: Position,
    /// From here on there are events that this program cannot read: nothing may be decided on this account.
    pub incomplete_from: Option<Position>,
}

impl Slot {
    /// The account that begins with its first event.
    #[must_use]
    pub fn begin(id: &AccountId, recorded: &Recorded) -> Self {
        let mut slot = Self {
            lives: vec![Account::unseen(id, 1)],
            current: 0,
            version: 0,
            latest_occurred: recorded.event.occurred_at,
            first: recorded.position,
            last: recorded.position,
            incomplete_from: None,
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

    /// The life that counts now.
    #[must_use]
    pub fn current(&self) -> &Account {
        // Never out of range: lives only grow, and `current` is only set to an index of one.
        &self.lives[self.current]
    }

    /// All lives, incarnation 1 first.
    #[must_use]
    pub fn lives(&self) -> &[Account] {
        &self.lives
    }

    /// Takes the next event as true.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.version += 1;
        self.last = recorded.position;
        self.latest_occurred = self.latest_occurred.max(recorded.event.occurred_at);
        match &recorded.event.fact {
            Fact::Opaque => {
                self.incomplete_from.get_or_insert(recorded.position);
            }
            Fact::AccountCreated { .. } if self.current().status == Status::Deleted => {
                self.begin_life(recorded)
            }
            Fact::AccountRestored { incarnation, .. } => self.restore(*incarnation, recorded),
            _ => self.lives[self.current].apply(recorded),
        }
    }

    fn begin_life(&mut self, recorded: &Recorded) {
        let id = self.current().id.clone();
        let incarnation = u32::try_from(self.lives.len()).unwrap_or(u32::MAX).saturating_add(1);
        let mut life = Account::unseen(&id, incarnation);
        life.apply(recorded);
        self.lives.push(life);
        self.current = self.lives.len() - 1;
    }

    /// An older life can't come back while a newer one lives.
    fn restore(&mut self, incarnation: u32, recorded: &Recorded) {
        let wanted = usize::try_from(incarnation).ok().and_then(|i| i.checked_sub(1)).unwrap_or(self.current);
        let free = wanted == self.current || self.current().status == Status::Deleted;
        if free && wanted < self.lives.len() {
            self.current = wanted;
            self.lives[wanted].apply(recorded);
        }
    }
}
