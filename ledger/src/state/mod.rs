//! What is true now: the fold of entries.

mod account;
mod accounts;
mod digest;
mod handles;
mod registers;
mod rights;
mod shared;
mod slot;
mod stored;
mod table;
#[cfg(test)]
mod tests;
mod tokens;

use std::sync::Arc;

pub use account::{Account, Deletion, Status};
pub use digest::{DIGEST_CONTEXT, canonical, digest};
pub use registers::{EmitterProgress, Plan, Registers, Run};
pub use rights::{Consumer, Grant};
pub use slot::Slot;
pub use stored::Source;
pub use table::{Packed, Table};
pub use tokens::{Standing, Token, TokenStatus};

use accounts::Accounts;
use handles::{HandleKey, Handles};
use shared::SharedTexts;

use crate::event::{AccountId, Event, Fact, Handle, Namespace, PolicyMode, Recorded};
use crate::types::{Position, StateRoot};

/// The state of a ledger at a position.
#[derive(Clone, Debug, Default)]
pub struct State {
    accounts: Accounts,
    /// Who has a handle: live and disabled accounts only.
    handles: Handles,
    registers: Arc<Registers>,
    /// The position of the next entry: everything below is folded in.
    next: Position,
    /// No part of what is true: texts that many accounts have are held once.
    shared: SharedTexts,
}

/// A state that stays as it is while the one that it was taken of goes on: for snapshots. It shares with that one
/// whatever has not changed since.
#[derive(Clone, Debug)]
pub struct Frozen {
    accounts: Accounts,
    registers: Arc<Registers>,
    next: Position,
}

impl Frozen {
    /// Every entry below this position is folded in.
    #[must_use]
    pub fn next(&self) -> Position {
        self.next
    }

    /// As [`State::root`].
    #[must_use]
    pub fn root(&self) -> StateRoot {
        digest::root(self.accounts.iter())
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.next == other.next
            && self.registers == other.registers
            && self.handles == other.handles
            && self.accounts == other.accounts
    }
}

impl Eq for State {}

impl State {
    /// Every entry below this position is folded in.
    #[must_use]
    pub fn next(&self) -> Position {
        self.next
    }

    /// An account id with its lives.
    #[must_use]
    pub fn slot(&self, id: &AccountId) -> Option<&Slot> {
        self.accounts.get(id).map(Arc::as_ref)
    }

    /// All accounts, by id.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.accounts.iter()
    }

    /// How many account ids there are.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// Policies, runs, plans and emitters.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// The live or disabled accounts with a handle in a namespace.
    pub fn holders(
        &self,
        namespace: Option<&Namespace>,
        handle: &Handle,
    ) -> impl Iterator<Item = &AccountId> {
        self.handles.of(HandleKey::of(namespace, handle)).filter(move |id| {
            let account = self.slot(id).map(Slot::current);
            account.is_some_and(|a| a.namespace.as_ref() == namespace && a.handle == *handle)
        })
    }

    /// How broken rules are treated for an account: by its namespace's policy, else the ledger's.
    #[must_use]
    pub fn mode(&self, namespace: Option<&Namespace>) -> PolicyMode {
        self.registers.mode(namespace)
    }

    /// The root over all accounts: see `docs/format.md`. Takes time in proportion to the state.
    #[must_use]
    pub fn root(&self) -> StateRoot {
        digest::root(self.slots())
    }

    /// The state as it is now, to be kept while this one goes on. Takes no time; what changes afterwards is copied
    /// first, as long as the frozen one is there.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        let (accounts, registers) = (self.accounts.clone(), Arc::clone(&self.registers));
        Frozen { accounts, registers, next: self.next }
    }

    /// Takes the next entry's event as true.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.next = recorded.position.next();
        if let Some(id) = &recorded.event.account {
            self.apply_to_account(id, recorded);
        }
        if registers::concerns(&recorded.event) {
            Arc::make_mut(&mut self.registers).apply(recorded);
        }
    }

    /// What [`State::undo`] needs to take back an event that is about to be applied.
    #[must_use]
    pub fn undo_of(&self, event: &Event) -> Undo {
        Undo {
            account: event.account.clone().map(|id| {
                let before = self.accounts.get(&id).cloned();
                (id, before)
            }),
            registers: registers::concerns(event).then(|| Arc::clone(&self.registers)),
            next: self.next,
        }
    }

    /// Takes back the event that was applied last.
    pub fn undo(&mut self, undo: Undo) {
        if let Some((id, before)) = undo.account {
            let then = before.as_deref().and_then(handle_of);
            let now = self.slot(&id).and_then(handle_of);
            match before {
                Some(slot) => self.accounts.insert(slot),
                None => self.accounts.remove(&id),
            }
            self.handles.hold(now, then, &id);
        }
        if let Some(registers) = undo.registers {
            self.registers = registers;
        }
        self.next = undo.next;
    }

    fn apply_to_account(&mut self, id: &AccountId, recorded: &Recorded) {
        let describes = describes(&recorded.event.fact);
        match self.accounts.get_mut(id) {
            None => {
                let mut slot = Slot::begin(id, recorded);
                self.admit(&mut slot);
                self.accounts.insert(Arc::new(slot));
            }
            Some(slot) if describes => {
                let before = handle_of(slot);
                slot.apply(recorded);
                self.shared.share(slot);
                self.handles.hold(before, handle_of(slot), slot.id());
            }
            Some(slot) => slot.apply(recorded),
        }
    }

    /// Makes ready what an account that comes to the others needs.
    fn admit(&mut self, slot: &mut Slot) {
        self.shared.share(slot);
        self.handles.hold(None, handle_of(slot), slot.id());
    }
}

/// Whether a fact may change the properties of an account, its handle among them, or whether it is there.
fn describes(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::AccountCreated { .. }
            | Fact::LegacyImported { .. }
            | Fact::AccountUpdated { .. }
            | Fact::OwnershipTransferred { .. }
            | Fact::AccountDeleted { .. }
            | Fact::AccountRestored { .. }
    )
}

/// What was true of the subject of an event before it: see [`State::undo_of`].
#[derive(Debug)]
pub struct Undo {
    account: Option<(AccountId, Option<Arc<Slot>>)>,
    registers: Option<Arc<Registers>>,
    next: Position,
}

/// The key of the handle that an account takes, if it is there.
fn handle_of(slot: &Slot) -> Option<HandleKey> {
    let account = slot.current();
    (account.status != Status::Deleted).then(|| HandleKey::of(account.namespace.as_ref(), &account.handle))
}
