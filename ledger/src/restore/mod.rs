//! Restore: a deletion replayed in reverse. Pure: the history of an account comes in, the events that bring it back go
//! out; whoever calls appends them.
//!
//! - A history is *all* events of one account id, in order of position.
//! - A [`Group`] is what one deletion took away: the deletion, and the removals that belong to it ([`group`]).
//! - An [`Item`] says what bringing one account back would do, and holds the facts that do it ([`item`]).
//! - A [`Plan`] is the items of many accounts, pinned to a position and hashed ([`plan`]).
//! - An [`Execution`] is an item with ids and times put on its facts ([`execute`]). It works the item out once more
//!   from the history as it is by then, so preview and execution are one code path.
//!
//! Two rules hold everywhere. A restore *takes nothing away*: what was added, before or after the deletion, stays. And it
//! *overwrites nothing*: whatever was done to a token, a grant or a property by anybody else, after the group did
//! something to it, is kept and listed as a difference.

mod chapter;
mod conflict;
mod execute;
mod findings;
mod group;
mod item;
mod plan;
mod reverse;
mod target;

#[cfg(test)]
mod tests;

use crate::event::{AccountId, Handle, Namespace};
use crate::state::{Slot, State, Status};
use crate::types::Time;

pub use conflict::{Conflict, Reason};
pub use execute::{Execution, Order, execute};
pub use group::{DeletionSummary, Group, deletion, deletions, group};
pub use item::{Item, item};
pub use plan::{PLAN_CONTEXT, Plan, plan};

/// How far before a deletion its group reaches if nobody says otherwise, in seconds.
pub const WINDOW_SECONDS: u32 = 60;

/// What a plan takes as given, so that the same history gives the same plan at any later time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The moment for which it is told what has expired.
    pub planned_at: Time,
    /// How far before a deletion its group reaches, in seconds: [`WINDOW_SECONDS`].
    pub window_seconds: u32,
}

/// What a restore asks about accounts other than its own.
pub trait Neighbours {
    /// The live or disabled accounts with a handle in a namespace.
    fn holders(&self, namespace: Option<&Namespace>, handle: &Handle) -> Vec<AccountId>;
    /// Whether an account is there; `None` where the ledger does not know it.
    fn status(&self, account: &AccountId) -> Option<Status>;
}

impl Neighbours for State {
    fn holders(&self, namespace: Option<&Namespace>, handle: &Handle) -> Vec<AccountId> {
        Self::holders(self, namespace, handle).cloned().collect()
    }

    fn status(&self, account: &AccountId) -> Option<Status> {
        self.slot(account).map(Slot::current).map(|account| account.status)
    }
}
