//! A plan: what a restore will do to every account of it, pinned to a position and hashed.

use std::collections::BTreeMap;

use super::conflict::Conflict;
use super::findings::handle_taken_by;
use super::item::{Item, item};
use super::{Neighbours, Terms};
use crate::event::{
    AccountId, Actor, ActorKind, Cause, Difference, Event, Fact, Handle, Namespace, Recorded, RestoreOutcome,
    Text, encode_sent,
};
use crate::types::{AccountDigest, Emitter, Position, Time};

/// The context of the hash's key derivation.
pub const PLAN_CONTEXT: &str = "tokenledger 2026 restore plan v1";

/// What a restore will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The last position that it knows of.
    pub pinned: Position,
    /// When it was made, and how far the groups reach.
    pub terms: Terms,
    /// One item for each account, sorted by account.
    pub items: Vec<Item>,
}

/// Works out a plan for accounts and their histories. Of a history, only what stands at or before `pinned` counts, so that
/// a plan can be worked out again later. Neighbours must answer as of that position too.
#[must_use]
pub fn plan<'a>(
    accounts: impl IntoIterator<Item = (&'a AccountId, &'a [Recorded])>,
    pinned: Position,
    terms: Terms,
    neighbours: &dyn Neighbours,
) -> Plan {
    let accounts: BTreeMap<&AccountId, &[Recorded]> = accounts.into_iter().collect();
    let mut claims = BTreeMap::new();
    let planned = |(account, history): (&AccountId, &[Recorded])| {
        let known = history.get(..history.partition_point(|r| r.position <= pinned)).unwrap_or_default();
        claim(&mut claims, item(account, known, &terms, neighbours))
    };
    Plan { pinned, terms, items: accounts.into_iter().map(planned).collect() }
}

/// Two accounts of one plan can't both have a handle: the first in order of id gets it.
fn claim(claims: &mut BTreeMap<(Option<Namespace>, Handle), AccountId>, mut item: Item) -> Item {
    let Some(handle) = item.handle.clone().filter(|_| item.outcome == RestoreOutcome::Restored) else {
        return item;
    };
    let first = claims.entry((item.namespace.clone(), handle)).or_insert_with(|| item.account.clone());
    if *first == item.account {
        return item;
    }
    item.conflicts.push(handle_taken_by(&format!("{first}, of the same plan,")));
    item.conflicts.sort();
    item.refused()
}

impl Plan {
    /// BLAKE3 `derive_key` (context [`PLAN_CONTEXT`]) over everything that the plan says. Nothing in a plan moves with the
    /// clock: what has expired is told as of `terms.planned_at`, which is part of the plan. So the same histories up to
    /// `pinned`, under the same terms, give the same hash at any later time.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key(PLAN_CONTEXT, &self.canonical())
    }

    /// The item of an account.
    #[must_use]
    pub fn item(&self, account: &AccountId) -> Option<&Item> {
        let index = self.items.binary_search_by(|item| item.account.cmp(account)).ok()?;
        self.items.get(index)
    }

    /// The plan as bytes. Numbers are little-endian: positions, versions and times 8 bytes, all others 4. A text is its
    /// length (4 bytes) and its bytes; a list is its length (4 bytes) and its items; what may be absent is one byte, 0, or
    /// 1 and the value. A fact is a text: the bytes of `tokenledger.v1.Event` with nothing but the fact, an actor `-` and
    /// the time 0. The plan is its position, its time, its window and its items; an item and what it holds are their fields
    /// in the order in which [`Item`], [`Group`](super::Group), [`Conflict`] and [`Difference`] declare them, outcomes and
    /// reasons as their names.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Canonical::default();
        out.long(self.pinned.0);
        out.0.extend_from_slice(&self.terms.planned_at.0.to_le_bytes());
        out.number(self.terms.window_seconds);
        out.list(&self.items, Canonical::item);
        out.0
    }
}

#[derive(Default)]
struct Canonical(Vec<u8>);

impl Canonical {
    fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn number(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.number(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], one: fn(&mut Self, &T)) {
        self.count(items.len());
        items.iter().for_each(|item| one(self, item));
    }

    fn optional<T>(&mut self, value: Option<T>, one: impl FnOnce(&mut Self, T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            one(self, value);
        }
    }

    fn item(&mut self, item: &Item) {
        self.text(item.account.as_str());
        self.long(item.version);
        self.number(item.incarnation);
        self.optional(item.handle.as_ref(), |out, handle| out.text(handle.as_str()));
        self.optional(item.namespace.as_ref(), |out, namespace| out.text(namespace.as_str()));
        self.optional(item.group.as_ref(), |out, group| {
            out.long(group.deletion.0);
            out.list(&group.members, |out, position| out.long(position.0));
            out.number(group.incarnation);
            out.digest(group.digest_before);
        });
        self.text(match item.outcome {
            RestoreOutcome::Restored => "restored",
            RestoreOutcome::AlreadyLive => "already_live",
            RestoreOutcome::Refused => "refused",
        });
        self.list(&item.comes_back, |out, what| out.text(what));
        self.list(&item.stays_gone, Self::conflict);
        self.list(&item.conflicts, Self::conflict);
        self.list(&item.differences, Self::difference);
        self.digest(item.digest_before);
        self.digest(item.digest_after);
        self.list(&item.facts, |out, fact| out.bytes(&fact_bytes(fact)));
    }

    fn conflict(&mut self, conflict: &Conflict) {
        self.text(conflict.reason.name());
        self.text(&conflict.what);
        self.text(&conflict.detail);
    }

    fn difference(&mut self, difference: &Difference) {
        self.text(&difference.what);
        self.text(&difference.reason);
        self.text(&difference.detail);
    }

    fn digest(&mut self, digest: Option<AccountDigest>) {
        self.optional(digest, |out, digest| out.0.extend_from_slice(&digest.0));
    }
}

fn fact_bytes(fact: &Fact) -> Vec<u8> {
    encode_sent(&Event {
        event_id: uuid::Uuid::nil(),
        emitter: Emitter::ledger(),
        emitter_sequence: None,
        occurred_at: Time::default(),
        actor: Actor { kind: ActorKind::Unknown, id: Text::own("-") },
        cause: Cause::default(),
        account: None,
        fact: fact.clone(),
    })
}
