//! What belongs to a deletion.

use super::chapter::{Chapter, advance, chapters};
use crate::event::{
    AccountId, Actor, Fact, GrantId, Handle, Namespace, Recorded, RevocationReason, RunId, Text, TokenId,
};
use crate::state::{Account, Slot, digest};
use crate::types::{AccountDigest, Position, Time};

/// A deletion with everything that belongs to it.
///
/// Only events that take something away or change it can belong; what an event adds stays added. Of those, a deletion's
/// group holds, between the creation or restore before it and the creation or restore after it:
/// - every one with the deletion's correlation id, before it or after it;
/// - grants and consumers removed, tokens revoked and the account disabled by the deletion's actor at most
///   `window_seconds` before it (by the time they occurred, so that an event recorded late belongs too), unless it
///   carries another correlation id than the deletion;
/// - tokens revoked *because* the account was deleted, from `window_seconds` before it on.
///
/// A rotation never belongs: its successor works, and undoing it would make two secrets valid for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The position of the deletion.
    pub deletion: Position,
    /// The positions of all events of the group, ascending; the deletion is one of them.
    pub members: Vec<Position>,
    /// Which life of the account id was deleted.
    pub incarnation: u32,
    /// The account before the group's first event; `None` where the ledger knew nothing of it then.
    pub digest_before: Option<AccountDigest>,
}

/// One deletion, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionSummary {
    /// The account.
    pub account: AccountId,
    /// Which of its lives.
    pub incarnation: u32,
    /// The event that deleted it.
    pub position: Position,
    /// When.
    pub occurred_at: Time,
    /// Who did it.
    pub actor: Actor,
    /// The run that did it.
    pub run: Option<RunId>,
    /// The reason that was given.
    pub reason: Option<Text>,
    /// The account before the group's first event.
    pub digest_before: Option<AccountDigest>,
    /// The tokens that worked when it was deleted, had the group not taken them before.
    pub active_tokens: Vec<TokenId>,
    /// The grants before the group's first event.
    pub grants: Vec<GrantId>,
    /// Who answered for it.
    pub owner: Option<AccountId>,
    /// Where it lived.
    pub namespace: Option<Namespace>,
    /// The name by which people know it.
    pub handle: Handle,
}

/// A chapter that ends in a deletion, with the deletion's group.
pub(super) struct Deleted<'a> {
    /// The chapter.
    pub(super) chapter: Chapter<'a>,
    /// The index in the chapter of the deletion.
    pub(super) deletion: usize,
    /// The indexes in the chapter of the group's events, ascending.
    pub(super) members: Vec<usize>,
    /// The account id before the group's first event.
    pub(super) before: Option<Slot>,
}

impl<'a> Deleted<'a> {
    /// `None` where the chapter has no deletion.
    pub(super) fn of(account: &AccountId, chapter: Chapter<'a>, window_seconds: u32) -> Option<Self> {
        let deletion = chapter.deletion?;
        let event = chapter.events.get(deletion)?;
        let member = |(index, recorded): (usize, &Recorded)| {
            (index == deletion || belongs(recorded, event, window_seconds)).then_some(index)
        };
        let members: Vec<usize> = chapter.events.iter().enumerate().filter_map(member).collect();
        let mut before = chapter.before.clone();
        let first = members.first().copied().unwrap_or(deletion);
        for recorded in chapter.events.iter().take(first) {
            advance(&mut before, account, recorded);
        }
        Some(Self { deletion, members, before, chapter })
    }

    pub(super) fn event(&self) -> &'a Recorded {
        &self.chapter.events[self.deletion]
    }

    /// The account before the group's first event, as far as the ledger knew it.
    pub(super) fn account_before(&self, account: &AccountId) -> Account {
        match &self.before {
            Some(slot) => slot.current().clone(),
            None => Account::unseen(account, 1),
        }
    }

    pub(super) fn group(&self) -> Group {
        let position = |index: &usize| self.chapter.events[*index].position;
        Group {
            deletion: self.event().position,
            members: self.members.iter().map(position).collect(),
            incarnation: self.before.as_ref().map_or(1, |slot| slot.current().incarnation),
            digest_before: self.before.as_ref().map(|slot| digest(slot.current())),
        }
    }

    fn summary(&self, account: &AccountId) -> DeletionSummary {
        let (event, group, before) = (self.event(), self.group(), self.account_before(account));
        DeletionSummary {
            account: account.clone(),
            incarnation: group.incarnation,
            position: group.deletion,
            occurred_at: event.event.occurred_at,
            actor: event.event.actor.clone(),
            run: event.event.cause.run.clone(),
            reason: event.event.cause.reason.clone(),
            digest_before: group.digest_before,
            active_tokens: before.active_tokens(event.event.occurred_at),
            grants: before.grants.keys().collect(),
            owner: before.owner,
            namespace: before.namespace,
            handle: before.handle,
        }
    }
}

/// The deletions of a history with their groups, oldest first.
pub(super) fn deleted<'a>(
    account: &AccountId,
    history: &'a [Recorded],
    window_seconds: u32,
) -> Vec<Deleted<'a>> {
    let of = |chapter| Deleted::of(account, chapter, window_seconds);
    chapters(account, history).into_iter().filter_map(of).collect()
}

/// The group of the last deletion in a history; `None` where there was none.
#[must_use]
pub fn group(history: &[Recorded], window_seconds: u32) -> Option<Group> {
    let account = history.first()?.event.account.as_ref()?;
    deleted(account, history, window_seconds).last().map(Deleted::group)
}

/// Every deletion in a history, oldest first.
#[must_use]
pub fn deletions(history: &[Recorded], window_seconds: u32) -> Vec<DeletionSummary> {
    let Some(account) = history.first().and_then(|first| first.event.account.as_ref()) else {
        return Vec::new();
    };
    deleted(account, history, window_seconds).iter().map(|d| d.summary(account)).collect()
}

/// The deletion at a position; `None` where the event there deleted nothing.
#[must_use]
pub fn deletion(history: &[Recorded], position: Position, window_seconds: u32) -> Option<DeletionSummary> {
    deletions(history, window_seconds).into_iter().find(|d| d.position == position)
}

fn belongs(recorded: &Recorded, deletion: &Recorded, window_seconds: u32) -> bool {
    let (event, deletion) = (&recorded.event, &deletion.event);
    let start = deletion.occurred_at.plus_seconds(-i64::from(window_seconds));
    let (own, of_deletion) = (&event.cause.correlation_id, &deletion.cause.correlation_id);
    let apart = own.is_some() && of_deletion.is_some() && own != of_deletion;
    match &event.fact {
        fact if takes_or_changes(fact) && of_deletion.is_some() && own == of_deletion => true,
        Fact::TokenRevoked { reason: RevocationReason::AccountDeleted, .. } => event.occurred_at >= start,
        fact if strips(fact) && !apart => {
            event.actor == deletion.actor && (start..=deletion.occurred_at).contains(&event.occurred_at)
        }
        _ => false,
    }
}

/// What sources do to an account before they delete it.
fn strips(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::GrantRemoved { .. }
            | Fact::TokenRevoked { .. }
            | Fact::ConsumerReleased { .. }
            | Fact::AccountDisabled
    )
}

fn takes_or_changes(fact: &Fact) -> bool {
    strips(fact)
        || matches!(
            fact,
            Fact::GrantChanged { .. }
                | Fact::TokenExpired { .. }
                | Fact::AccountUpdated { .. }
                | Fact::OwnershipTransferred { .. }
                | Fact::EnforcementChanged { .. }
        )
}
