//! The group replayed in reverse: which things it took that nobody else has touched since, what they were before, and
//! the facts that make them so again.

use std::collections::{BTreeMap, BTreeSet};

use super::chapter::advance;
use super::group::Deleted;
use super::target::{Target, Value, touched_by};
use crate::event::{AccountId, Difference, Fact, Recorded, TokenId};
use crate::state::{Account, Grant, Slot, Token, digest};
use crate::types::{AccountDigest, Position, Time};

/// An event outside the group that touched something of the account after the group's first event.
#[derive(Clone, Debug)]
pub(super) struct Touch {
    /// It happened, and was recorded, after the deletion.
    pub(super) since_deletion: bool,
    /// Who and when, for people.
    pub(super) by: String,
    pub(super) at: Time,
}

/// A group undone, as far as it can be.
pub(super) struct Reversal {
    /// The account before the group's first event.
    pub(super) before: Account,
    /// The account as it is, deleted.
    pub(super) gone: Account,
    /// The account as it will be.
    pub(super) after: Account,
    /// The facts that bring it there. The account's return comes first, since it says which life the others are about;
    /// then what the group took, last first. Plans and differences are not filled in yet.
    pub(super) facts: Vec<Fact>,
    /// What the facts after the first change.
    pub(super) undone: BTreeSet<Target>,
    /// What the group took without the ledger having known it.
    pub(super) unknown: BTreeSet<Target>,
    /// What others did meanwhile.
    pub(super) touched: BTreeMap<Target, Touch>,
}

impl Reversal {
    pub(super) fn of(account: &AccountId, deleted: &Deleted<'_>) -> Option<Self> {
        let mut walk = Walk { slot: deleted.before.clone(), ..Walk::default() };
        walk.group(account, deleted);
        let mut slot = walk.slot.take()?;
        let gone = slot.current().clone();
        let (facts, undone) = walk.inverse(&gone);
        let incarnation = gone.incarnation;
        let returned = Fact::AccountRestored {
            plan: None,
            incarnation,
            digest_before: None,
            digest_after: None,
            differences: Vec::new(),
        };
        let facts: Vec<Fact> = std::iter::once(returned).chain(facts).collect();
        for fact in &facts {
            slot.apply(&as_if_recorded(deleted.event(), &slot, fact));
        }
        let unknown = walk.undo.iter().filter(|(_, (_, value))| value.unknown()).map(|(t, _)| t.clone());
        Some(Self {
            before: deleted.account_before(account),
            gone,
            after: slot.current().clone(),
            facts,
            undone,
            unknown: unknown.collect(),
            touched: walk.touched,
        })
    }

    /// The digest of the account as it will be.
    pub(super) fn digest_after(&self) -> AccountDigest {
        digest(&self.after)
    }

    /// The facts, with what the account's return says about itself.
    pub(super) fn told(self, before: Option<AccountDigest>, listed: &[Difference]) -> Vec<Fact> {
        let after = self.digest_after();
        let mut facts = self.facts;
        if let Some(Fact::AccountRestored { digest_before, digest_after, differences, .. }) =
            facts.first_mut()
        {
            *digest_before = before;
            *digest_after = Some(after);
            *differences = listed.to_vec();
        }
        facts
    }
}

/// An event that holds a fact, for a fold that asks for nothing else.
fn as_if_recorded(deletion: &Recorded, slot: &Slot, fact: &Fact) -> Recorded {
    let mut recorded = deletion.clone();
    recorded.position = slot.last.next();
    recorded.event.fact = fact.clone();
    recorded
}

#[derive(Default)]
struct Walk {
    slot: Option<Slot>,
    /// What the group took or changed, and nobody else has touched since: by which event, and what it was before.
    undo: BTreeMap<Target, (Position, Value)>,
    touched: BTreeMap<Target, Touch>,
    /// Tokens that reached their end meanwhile. That is no reason for them to stay revoked.
    expired: BTreeSet<TokenId>,
}

impl Walk {
    fn group(&mut self, account: &AccountId, deleted: &Deleted<'_>) {
        let first = deleted.members.first().copied().unwrap_or(deleted.deletion);
        for (index, recorded) in deleted.chapter.events.iter().enumerate().skip(first) {
            if deleted.members.binary_search(&index).is_ok() {
                self.member(account, recorded);
            } else {
                self.outsider(deleted, index, recorded);
            }
            advance(&mut self.slot, account, recorded);
        }
    }

    fn member(&mut self, account: &AccountId, recorded: &Recorded) {
        for target in touched_by(&recorded.event.fact) {
            let value = match &self.slot {
                Some(slot) => Value::of(slot.current(), &target),
                None => Value::of(&Account::unseen(account, 1), &target),
            };
            self.undo.entry(target).or_insert((recorded.position, value));
        }
    }

    fn outsider(&mut self, deleted: &Deleted<'_>, index: usize, recorded: &Recorded) {
        let event = &recorded.event;
        if let Fact::TokenExpired { token } = &event.fact {
            self.expired.insert(token.clone());
            return;
        }
        // An introduction of an account that is known already tells nothing new.
        let known = self.slot.as_ref().is_some_and(|slot| slot.current().introduced);
        if known && matches!(event.fact, Fact::AccountCreated { .. } | Fact::LegacyImported { .. }) {
            return;
        }
        let touch = Touch {
            since_deletion: index > deleted.deletion
                && event.occurred_at >= deleted.event().event.occurred_at,
            by: event.actor.id.to_string(),
            at: event.occurred_at,
        };
        for target in touched_by(&event.fact) {
            self.undo.remove(&target);
            self.touched.insert(target, touch.clone());
        }
    }

    /// The inverse facts, those of the group's last event first, and what they change.
    fn inverse(&self, gone: &Account) -> (Vec<Fact>, BTreeSet<Target>) {
        let mut steps: BTreeMap<Position, Vec<(&Target, &Value)>> = BTreeMap::new();
        for (target, (position, value)) in &self.undo {
            steps.entry(*position).or_default().push((target, value));
        }
        let (mut facts, mut undone) = (Vec::new(), BTreeSet::new());
        for (target, value) in steps.values().rev().flatten() {
            let inverse = self.back_to(gone, target, value);
            if !inverse.is_empty() {
                undone.insert((*target).clone());
                join(&mut facts, inverse);
            }
        }
        (facts, undone)
    }

    /// The facts that make a thing of a deleted account what it was. None where it is so already, where the ledger did
    /// not know it, and where it must not come back.
    fn back_to(&self, gone: &Account, target: &Target, value: &Value) -> Vec<Fact> {
        let now = Value::of(gone, target);
        if let (Target::Token(id), Value::Token(Some(before)), Value::Token(Some(now))) =
            (target, value, &now)
        {
            return self.token_back(id, before, now);
        }
        // The status is not that of now, deleted, but that to which the account returns.
        let status = gone.deletion().map(|d| Value::Status(d.status_before));
        let same = if *target == Target::Status { status.as_ref() == Some(value) } else { now.same(value) };
        if same { Vec::new() } else { fact_back(target, value).into_iter().collect() }
    }

    fn token_back(&self, id: &TokenId, before: &Token, now: &Token) -> Vec<Fact> {
        let expired = before.expired || self.expired.contains(id);
        if now.leaked || before.revoked.is_some() || (now.revoked.is_none() && now.expired == expired) {
            return Vec::new();
        }
        let valid = Fact::TokenReinstated { token: id.clone(), plan: None };
        // A token that is valid again has not reached its end; one that had, must be told so once more.
        let ended = expired.then(|| Fact::TokenExpired { token: id.clone() });
        std::iter::once(valid).chain(ended).collect()
    }
}

fn fact_back(target: &Target, value: &Value) -> Option<Fact> {
    match (target, value.clone()) {
        (Target::Status, Value::Status(crate::state::Status::Live)) => Some(Fact::AccountEnabled),
        (Target::Owner, Value::Owner(owner)) => Some(Fact::OwnershipTransferred { owner }),
        (Target::Grant(grant), Value::Grant(Some(Grant { resource, access, expires_at }))) => {
            Some(Fact::GrantAdded { grant: grant.clone(), resource, access, expires_at })
        }
        (Target::Consumer(consumer), Value::Consumer(Some(c))) => Some(Fact::ConsumerDeclared {
            consumer: consumer.clone(),
            component: c.component,
            location: c.location,
            environment: c.environment,
            token: c.token,
        }),
        (Target::Rule(rule), Value::Rule(Some(enforced))) => {
            Some(Fact::EnforcementChanged { rule: rule.clone(), enforced })
        }
        (_, value) => property_back(target, value),
    }
}

fn property_back(target: &Target, value: Value) -> Option<Fact> {
    let (mut handle, mut namespace, mut environment, mut protected) = (None, None, None, None);
    let (mut attributes_set, mut attributes_removed) = (BTreeMap::new(), Vec::new());
    match (target, value) {
        (_, Value::Handle(h)) => handle = Some(h),
        (_, Value::Namespace(n)) => namespace = Some(n),
        (_, Value::Environment(e)) => environment = Some(e),
        (_, Value::Protected(p)) => protected = Some(p),
        (Target::Attribute(key), Value::Attribute(Some(value))) => {
            attributes_set.insert(key.clone(), value);
        }
        (Target::Attribute(key), Value::Attribute(None)) => attributes_removed.push(key.clone()),
        _ => return None,
    }
    Some(Fact::AccountUpdated {
        handle,
        namespace,
        environment,
        protected,
        attributes_set,
        attributes_removed,
    })
}

/// Adds facts; updates of properties that follow one another become one.
fn join(facts: &mut Vec<Fact>, more: Vec<Fact>) {
    for fact in more {
        match (facts.last_mut(), fact) {
            (
                Some(Fact::AccountUpdated {
                    handle,
                    namespace,
                    environment,
                    protected,
                    attributes_set,
                    attributes_removed,
                }),
                Fact::AccountUpdated {
                    handle: h,
                    namespace: n,
                    environment: e,
                    protected: p,
                    attributes_set: set,
                    attributes_removed: removed,
                },
            ) => {
                *handle = h.or(handle.take());
                *namespace = n.or(namespace.take());
                *environment = e.or(environment.take());
                *protected = p.or(*protected);
                attributes_set.extend(set);
                attributes_removed.extend(removed);
            }
            (_, fact) => facts.push(fact),
        }
    }
}
