//! What a reversal means for people: what comes back, what does not and why, and what deserves a look.

use std::collections::BTreeSet;

use super::conflict::{Conflict, Reason};
use super::group::Deleted;
use super::reverse::Reversal;
use super::target::{Target, Value, all};
use super::{Neighbours, Terms};
use crate::event::{AccountId, Difference, Fact, Namespace, TokenId};
use crate::state::{Account, Status, Token, TokenStatus};
use crate::types::Time;

/// A restore seen through the eyes of whoever must approve it.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) comes_back: Vec<String>,
    pub(super) stays_gone: Vec<Conflict>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) differences: Vec<Difference>,
}

struct Look<'a> {
    deleted_at: Time,
    planned_at: Time,
    reversal: &'a Reversal,
    found: Findings,
}

pub(super) fn findings(
    deleted: &Deleted<'_>,
    reversal: &Reversal,
    terms: &Terms,
    neighbours: &dyn Neighbours,
) -> Findings {
    let mut look = Look {
        deleted_at: deleted.event().event.occurred_at,
        planned_at: terms.planned_at,
        reversal,
        found: Findings { comes_back: vec!["account".to_owned()], ..Findings::default() },
    };
    let targets: BTreeSet<Target> =
        all(&reversal.before).chain(all(&reversal.after)).chain(reversal.unknown.iter().cloned()).collect();
    for target in &targets {
        look.at(target);
        look.difference(target);
    }
    look.kept();
    look.surroundings(neighbours);
    look.retention(&deleted.event().event.fact);
    look.found.conflicts.sort();
    look.found.conflicts.dedup();
    look.found
}

impl Look<'_> {
    fn at(&mut self, target: &Target) {
        let after = Value::of(&self.reversal.after, target);
        match (target, after) {
            (Target::Token(id), Value::Token(Some(token))) => self.token(id, &token),
            (Target::Grant(_), Value::Grant(Some(grant))) => {
                self.back(target);
                if grant.expires_at.is_some_and(|end| end <= self.planned_at && end > self.deleted_at) {
                    self.expired_meanwhile(target, grant.expires_at);
                }
            }
            (Target::Consumer(_), Value::Consumer(Some(_))) => self.back(target),
            (Target::Token(_) | Target::Grant(_) | Target::Consumer(_), _) => {
                let (reason, detail) = self.why(target);
                self.gone(reason, target, detail);
            }
            _ if self.reversal.undone.contains(target) => self.back(target),
            _ => {}
        }
    }

    fn back(&mut self, target: &Target) {
        self.found.comes_back.push(target.to_string());
    }

    fn gone(&mut self, reason: Reason, target: &Target, detail: String) {
        let entry = Conflict::new(reason, target, detail);
        self.found.conflicts.push(entry.clone());
        self.found.stays_gone.push(entry);
    }

    fn expired_meanwhile(&mut self, target: &Target, end: Option<Time>) {
        let when = end.map_or_else(|| "by report".to_owned(), |end| format!("at {end}"));
        let detail = format!("it ended {when}, after the deletion; it comes back, ended");
        self.found.conflicts.push(Conflict::new(Reason::ExpiredMeanwhile, target, detail));
    }

    fn token(&mut self, id: &TokenId, token: &Token) {
        let target = &Target::Token(id.clone());
        let before = self.reversal.before.tokens.standing(id);
        let ended_before = before.is_some_and(|t| t.status(self.deleted_at) == TokenStatus::Expired);
        match token.status(self.planned_at) {
            TokenStatus::Active => {
                self.back(target);
                self.newer(id, token);
            }
            TokenStatus::Expired if ended_before => {
                let detail = "it had ended before the deletion; it is there again, ended";
                self.gone(Reason::ExpiredBeforeTheGroup, target, detail.to_owned());
            }
            TokenStatus::Expired => {
                self.back(target);
                let end = if let crate::event::Expiry::At(end) = token.expiry { Some(end) } else { None };
                self.expired_meanwhile(target, end);
            }
            TokenStatus::Revoked if before.is_some_and(|t| t.revoked.is_some()) && !self.leaked(id) => {
                let detail = "it was revoked before the deletion began, and stays so";
                self.gone(Reason::RevokedBeforeTheGroup, target, detail.to_owned());
            }
            TokenStatus::Revoked => {
                let (reason, detail) = self.why(target);
                self.gone(reason, target, detail);
            }
        }
    }

    /// Reported as leaked by the group or after it.
    fn leaked(&self, id: &TokenId) -> bool {
        let leaked = |account: &Account| account.tokens.standing(id).is_some_and(|t| t.leaked);
        leaked(&self.reversal.after) && !leaked(&self.reversal.before)
    }

    fn newer(&mut self, id: &TokenId, token: &Token) {
        let newer = |(other, t): (TokenId, Token)| {
            other != *id && t.family == token.family && t.issued_at > token.issued_at
        };
        if self.reversal.undone.contains(&Target::Token(id.clone()))
            && self.reversal.after.tokens.iter().any(newer)
        {
            let detail = "its family has a newer token; see whether the older one must still work";
            self.found.conflicts.push(Conflict::new(
                Reason::NewerTokenInFamily,
                Target::Token(id.clone()),
                detail,
            ));
        }
    }

    /// Why a thing is not as it was.
    fn why(&self, target: &Target) -> (Reason, String) {
        if let Target::Token(id) = target
            && self.leaked(id)
        {
            let detail = "its secret was reported as known to others; it never comes back: issue a new token";
            return (Reason::LeakedSince, detail.to_owned());
        }
        match self.reversal.touched.get(target) {
            Some(touch) if touch.since_deletion => (
                Reason::ChangedSince,
                format!("{} changed it at {}, after the deletion; that is kept", touch.by, touch.at),
            ),
            Some(touch) => (
                Reason::OutsideTheGroup,
                format!("{} changed it at {}, not as part of the deletion; that is kept", touch.by, touch.at),
            ),
            None => (
                Reason::UnknownBefore,
                "the ledger met it only when it was taken away, and does not guess what it was".to_owned(),
            ),
        }
    }

    fn difference(&mut self, target: &Target) {
        let before = Value::of(&self.reversal.before, target);
        if !before.same(&Value::of(&self.reversal.after, target)) {
            let (reason, detail) = self.why(target);
            self.found.differences.push(Difference {
                what: target.to_string(),
                reason: reason.name().to_owned(),
                detail,
            });
        }
    }

    /// What was done after the deletion, and is not undone.
    fn kept(&mut self) {
        for (target, touch) in &self.reversal.touched {
            if touch.since_deletion && !self.reversal.undone.contains(target) {
                let (reason, detail) = self.why(target);
                self.found.conflicts.push(Conflict::new(reason, target, detail));
            }
        }
    }

    fn surroundings(&mut self, neighbours: &dyn Neighbours) {
        let after = &self.reversal.after;
        let conflicts = &mut self.found.conflicts;
        // It comes back under the handle with which it went, and takes up its own again.
        for life in [&self.reversal.gone, after] {
            conflicts.extend(handle_taken(life, neighbours));
        }
        if let Some(owner) = after.owner.as_ref().filter(|owner| **owner != after.id)
            && let Some(status @ (Status::Deleted | Status::Disabled)) = neighbours.status(owner)
        {
            let detail = format!("{owner}, who answers for it, is {}; name a new owner", status.name());
            conflicts.push(Conflict::new(Reason::OwnerLeft, Target::Owner, detail));
        }
        if let Some(parent) = after.namespace.as_ref().filter(|parent| as_account(parent) != after.id)
            && neighbours.status(&as_account(parent)) == Some(Status::Deleted)
        {
            let detail = format!("{parent}, in which it lives, is deleted; restore that first");
            conflicts.push(Conflict::new(Reason::ParentGone, Target::Namespace, detail));
        }
    }

    fn retention(&mut self, deletion: &Fact) {
        if let Fact::AccountDeleted { retain_until: Some(until) } = deletion
            && *until <= self.planned_at
        {
            let detail =
                format!("the platform keeps it only until {until}; see whether it can still take it back");
            self.found.conflicts.push(Conflict::new(Reason::RetentionOver, "account", detail));
        }
    }
}

/// A namespace may be an account itself, such as a project with grants of its own.
fn as_account(namespace: &Namespace) -> AccountId {
    AccountId(namespace.0.clone())
}

fn handle_taken(after: &Account, neighbours: &dyn Neighbours) -> Option<Conflict> {
    let others: Vec<String> = neighbours
        .holders(after.namespace.as_ref(), &after.handle)
        .iter()
        .filter(|holder| **holder != after.id)
        .map(ToString::to_string)
        .collect();
    let taken = !others.is_empty();
    taken.then(|| handle_taken_by(&others.join(", ")))
}

/// Somebody else has the handle.
pub(super) fn handle_taken_by(others: &str) -> Conflict {
    let detail = format!("{others} has its handle; rename or delete that account, then plan again");
    Conflict::new(Reason::HandleTaken, Target::Handle, detail)
}
