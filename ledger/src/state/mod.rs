//! What is true now: the fold of entries.

mod account;
mod digest;
mod registers;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use account::{Account, Consumer, Deletion, Grant, Status, Token, TokenStatus};
pub use digest::{DIGEST_CONTEXT, canonical, digest};
pub use registers::{EmitterProgress, Plan, Registers, Run};
pub use slot::Slot;

use crate::event::{AccountId, Event, Handle, Namespace, PolicyMode, Recorded};
use crate::types::{Position, StateRoot};

/// A handle and the namespace in which it is unique.
type HandleKey = (Option<Namespace>, Handle);

/// The state of a ledger at a position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    accounts: BTreeMap<AccountId, Arc<Slot>>,
    /// Who has a handle: live and disabled accounts only.
    handles: BTreeMap<HandleKey, BTreeSet<AccountId>>,
    registers: Arc<Registers>,
    /// The position of the next entry: everything below is folded in.
    next: Position,
}

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
        self.accounts.values().map(Arc::as_ref)
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
        self.handles.get(&(namespace.cloned(), handle.clone())).into_iter().flatten()
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
            let now = match before {
                Some(slot) => self.accounts.insert(id.clone(), slot),
                None => self.accounts.remove(&id),
            };
            hold(&mut self.handles, now.as_deref().and_then(handle_of), then, &id);
        }
        if let Some(registers) = undo.registers {
            self.registers = registers;
        }
        self.next = undo.next;
    }

    fn apply_to_account(&mut self, id: &AccountId, recorded: &Recorded) {
        match self.accounts.get_mut(id) {
            None => {
                let slot = Slot::begin(id, recorded);
                hold(&mut self.handles, None, handle_of(&slot), id);
                self.accounts.insert(id.clone(), Arc::new(slot));
            }
            Some(slot) => {
                let before = handle_of(slot);
                let slot = Arc::make_mut(slot);
                slot.apply(recorded);
                hold(&mut self.handles, before, handle_of(slot), id);
            }
        }
    }
}

/// What was true of the subject of an event before it: see [`State::undo_of`].
#[derive(Debug)]
pub struct Undo {
    account: Option<(AccountId, Option<Arc<Slot>>)>,
    registers: Option<Arc<Registers>>,
    next: Position,
}

/// The handle that an account takes, if it is there.
fn handle_of(slot: &Slot) -> Option<HandleKey> {
    let account = slot.current();
    (account.status != Status::Deleted).then(|| (account.namespace.clone(), account.handle.clone()))
}

fn hold(
    handles: &mut BTreeMap<HandleKey, BTreeSet<AccountId>>,
    before: Option<HandleKey>,
    after: Option<HandleKey>,
    id: &AccountId,
) {
    if before == after {
        return;
    }
    if let Some(key) = before
        && let Some(holders) = handles.get_mut(&key)
    {
        holders.remove(id);
        if holders.is_empty() {
            handles.remove(&key);
        }
    }
    if let Some(key) = after {
        handles.entry(key).or_default().insert(id.clone());
    }
}
