//! What bringing one account back would do.

use super::conflict::{Conflict, Reason};
use super::findings::{Findings, findings};
use super::group::{Deleted, Group, deleted};
use super::reverse::Reversal;
use super::{Neighbours, Terms};
use crate::event::{AccountId, Difference, Fact, Handle, Namespace, Recorded, RestoreOutcome};
use crate::state::{Account, Slot, Status, digest};
use crate::types::AccountDigest;

/// The most that the differences of one restored account may take up in its event, in bytes; an entry holds 65,535. What
/// goes beyond is in the item, and the event says how many are left out.
const LISTED_BYTES_MAX: usize = 32_768;

/// The plan for one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The account.
    pub account: AccountId,
    /// How many events of the account the plan knows of; 0 where there are none.
    pub version: u64,
    /// Which life of the account id this is about; 0 where there is none.
    pub incarnation: u32,
    /// The handle that the account has, or will have.
    pub handle: Option<Handle>,
    /// Where it lives, or will live.
    pub namespace: Option<Namespace>,
    /// The deletion that is undone.
    pub group: Option<Group>,
    /// What carrying it out will come to.
    pub outcome: RestoreOutcome,
    /// What will be there again: `account`, `token/ID`, `grant/ID`, `consumer/ID`, and properties that the group changed.
    pub comes_back: Vec<String>,
    /// What will not be there again, or not work, and why.
    pub stays_gone: Vec<Conflict>,
    /// Every rule that applies, with those of `stays_gone`; sorted.
    pub conflicts: Vec<Conflict>,
    /// Where the account will differ from what it was before the group's first event. Where the two digests differ, this
    /// is not empty.
    pub differences: Vec<Difference>,
    /// The account before the group's first event; `None` where the ledger knew nothing of it then.
    pub digest_before: Option<AccountDigest>,
    /// The account when the facts below are folded in. Of an account that is there: as it is.
    pub digest_after: Option<AccountDigest>,
    /// The facts that bring it back, in this order, without the id of a plan. Empty unless the outcome is `Restored`.
    pub facts: Vec<Fact>,
}

/// Works out what bringing an account back would do. `history` is all events of the account in order of position.
#[must_use]
pub fn item(account: &AccountId, history: &[Recorded], terms: &Terms, neighbours: &dyn Neighbours) -> Item {
    let Some(slot) = Slot::fold(account, history) else {
        return Item::none(account);
    };
    let last = deleted(account, history, terms.window_seconds).pop();
    let standing = match standing(&slot) {
        None => last.and_then(|last| Item::of(account, &slot, &last, terms, neighbours)),
        Some(conflict) => Some(Item::there(&slot, last.as_ref(), conflict)),
    };
    standing.unwrap_or_else(|| Item::none(account))
}

/// Why the account cannot come back whatever its deletion was.
fn standing(slot: &Slot) -> Option<Conflict> {
    let life = slot.current();
    let conflict = |reason, detail: String| Some(Conflict::new(reason, "account", detail));
    if let Some(from) = slot.incomplete_from() {
        let detail = format!(
            "from position {from} on there are events that this program cannot read; use a newer one"
        );
        return conflict(Reason::Incomplete, detail);
    }
    match (life.status, life.deletion()) {
        (Status::Deleted, _) => None,
        (status, Some(_)) => {
            conflict(Reason::AlreadyLive, format!("it was deleted, and is back: {}", status.name()))
        }
        (_, None) if life.incarnation > 1 => conflict(
            Reason::HandleTaken,
            format!(
                "the id was created again after the deletion; life {} must be deleted before an older one can come back",
                life.incarnation
            ),
        ),
        (status, None) => conflict(Reason::NotDeleted, format!("it was never deleted: {}", status.name())),
    }
}

impl Item {
    fn none(account: &AccountId) -> Self {
        let detail = "the ledger has no event of this account; see whether the id is right";
        Self {
            account: account.clone(),
            version: 0,
            incarnation: 0,
            handle: None,
            namespace: None,
            group: None,
            outcome: RestoreOutcome::Refused,
            comes_back: Vec::new(),
            stays_gone: Vec::new(),
            conflicts: vec![Conflict::new(Reason::NeverExisted, "account", detail)],
            differences: Vec::new(),
            digest_before: None,
            digest_after: None,
            facts: Vec::new(),
        }
    }

    /// An account that needs no restore, or can't have one.
    fn there(slot: &Slot, last: Option<&Deleted<'_>>, conflict: Conflict) -> Self {
        let (life, group) = (slot.current(), last.map(Deleted::group));
        let outcome = match conflict.reason {
            Reason::AlreadyLive | Reason::NotDeleted => RestoreOutcome::AlreadyLive,
            _ => RestoreOutcome::Refused,
        };
        let stays_gone = if outcome == RestoreOutcome::Refused { vec![conflict.clone()] } else { Vec::new() };
        Self {
            outcome,
            stays_gone,
            conflicts: vec![conflict],
            digest_before: group.as_ref().and_then(|g| g.digest_before),
            digest_after: (life.status != Status::Deleted).then(|| digest(life)),
            group,
            ..Self::about(slot, life)
        }
    }

    fn about(slot: &Slot, life: &Account) -> Self {
        Self {
            version: slot.version,
            incarnation: life.incarnation,
            handle: Some(life.handle.clone()),
            namespace: life.namespace.clone(),
            ..Self::none(&life.id)
        }
    }

    fn of(
        account: &AccountId,
        slot: &Slot,
        deleted: &Deleted<'_>,
        terms: &Terms,
        neighbours: &dyn Neighbours,
    ) -> Option<Self> {
        let reversal = Reversal::of(account, deleted)?;
        let Findings { comes_back, stays_gone, conflicts, differences } =
            findings(deleted, &reversal, terms, neighbours);
        let group = deleted.group();
        let item = Self {
            digest_before: group.digest_before,
            digest_after: Some(reversal.digest_after()),
            outcome: RestoreOutcome::Restored,
            group: Some(group.clone()),
            conflicts,
            comes_back,
            stays_gone,
            ..Self::about(slot, &reversal.after)
        };
        let facts = reversal.told(group.digest_before, &listed(&differences));
        let item = Self { facts, differences, ..item };
        Some(if item.conflicts.iter().any(Conflict::blocks) { item.refused() } else { item })
    }

    /// The item as nothing but its conflicts.
    pub(super) fn refused(mut self) -> Self {
        self.outcome = RestoreOutcome::Refused;
        self.facts.clear();
        self.comes_back.clear();
        self.differences.clear();
        self.digest_after = None;
        self.stays_gone = self.conflicts.iter().filter(|c| c.blocks()).cloned().collect();
        self
    }
}

/// As many differences as one event can hold, the last of them saying how many it can't.
fn listed(differences: &[Difference]) -> Vec<Difference> {
    let mut bytes = 0;
    let fits = |difference: &&Difference| {
        bytes += difference.what.len() + difference.reason.len() + difference.detail.len() + 16;
        bytes <= LISTED_BYTES_MAX
    };
    let mut listed: Vec<Difference> = differences.iter().take_while(fits).cloned().collect();
    let left_out = differences.len() - listed.len();
    if left_out > 0 {
        listed.push(Difference {
            what: "account".to_owned(),
            reason: "more_differences".to_owned(),
            detail: format!("{left_out} more than an event can hold; plan at this position to see them"),
        });
    }
    listed
}
