//! A history cut where a life begins or comes back. A chapter holds at most one deletion, and no group reaches out of its
//! chapter: what an earlier deletion took, or an earlier restore brought, is not this deletion's doing.

use crate::event::{AccountId, Recorded};
use crate::state::{Slot, Status};

/// The events from one beginning of a life, or its return, to the next.
pub(super) struct Chapter<'a> {
    /// The account id before the first of these events; `None` before its first event ever.
    pub(super) before: Option<Slot>,
    /// The events. The creation or restore with which the chapter begins is not among them, save for an id's first event.
    pub(super) events: &'a [Recorded],
    /// The index of the event that deleted the account.
    pub(super) deletion: Option<usize>,
}

/// Cuts a history into chapters, oldest first. Empty only where the history is.
pub(super) fn chapters<'a>(account: &AccountId, history: &'a [Recorded]) -> Vec<Chapter<'a>> {
    let mut chapters = Vec::new();
    let (mut slot, mut before, mut start, mut deletion) = (None, None, 0, None);
    for (index, recorded) in history.iter().enumerate() {
        let was = slot.as_ref().map(standing);
        let is = standing(advance(&mut slot, account, recorded));
        if was.is_some_and(|was| begins(was, is)) {
            let events = history.get(start..index).unwrap_or_default();
            chapters.push(Chapter { before: std::mem::replace(&mut before, slot.clone()), events, deletion });
            (start, deletion) = (index + 1, None);
        } else if is.1 == Status::Deleted && was.is_none_or(|was| was.1 != Status::Deleted) {
            deletion = Some(index - start);
        }
    }
    if let Some(events) = history.get(start..).filter(|_| slot.is_some()) {
        chapters.push(Chapter { before, events, deletion });
    }
    chapters
}

/// Takes the next event of an account as true.
pub(super) fn advance<'a>(slot: &'a mut Option<Slot>, account: &AccountId, recorded: &Recorded) -> &'a Slot {
    match slot {
        Some(slot) => {
            slot.apply(recorded);
            slot
        }
        None => slot.insert(Slot::begin(account, recorded)),
    }
}

fn standing(slot: &Slot) -> (u32, Status) {
    let life = slot.current();
    (life.incarnation, life.status)
}

fn begins(was: (u32, Status), is: (u32, Status)) -> bool {
    was.0 != is.0 || (was.1 == Status::Deleted && is.1 != Status::Deleted)
}
