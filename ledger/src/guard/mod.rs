//! May it happen? The rules that an event can break, each a pure function of what is true now.

use crate::event::{AccountId, Event, Fact, Handle, Namespace, RevocationReason, TokenId, Violation};
use crate::state::{Account, Slot, State, Status};
use crate::types::Time;

/// How many things are named that stand against an event, of each kind: a refusal must fit in an entry.
const EVIDENCE_MAX: usize = 40;

/// The rules that an event breaks, and what stands against it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The broken rules.
    pub violations: Vec<Violation>,
    /// The tokens, accounts and others that stand against it.
    pub evidence: Vec<String>,
}

impl Findings {
    fn add(&mut self, rule: &str, message: impl Into<String>) {
        self.violations.push(Violation { rule: rule.to_owned(), message: message.into() });
    }

    /// Whether no rule is broken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Judges an event against the state. `now` is the ledger's time: an event can't make a token old by claiming to be
/// later than it is.
#[must_use]
pub fn judge(state: &State, event: &Event, now: Time) -> Findings {
    judge_slot(state, event.account.as_ref().and_then(|id| state.slot(id)), event, now)
}

/// As [`judge`], by one who has looked up the event's account already: it is the most expensive step of all.
pub(crate) fn judge_slot(state: &State, slot: Option<&Slot>, event: &Event, now: Time) -> Findings {
    let mut findings = Findings::default();
    let Some(id) = &event.account else { return findings };
    match slot {
        None => judge_unseen(event, &mut findings),
        Some(slot) => judge_known(slot, event, now, &mut findings),
    }
    judge_handle(state, slot, id, event, &mut findings);
    findings
}

fn judge_unseen(event: &Event, findings: &mut Findings) {
    if !matches!(event.fact, Fact::AccountCreated { .. } | Fact::LegacyImported { .. }) {
        findings.add("account_unknown", "the account was never created or imported");
    }
}

fn judge_known(slot: &Slot, event: &Event, now: Time, findings: &mut Findings) {
    if let Some(from) = slot.incomplete_from() {
        findings
            .add("account_incomplete", format!("events from position {from} on are newer than this program"));
    }
    let account = slot.current();
    match &event.fact {
        Fact::AccountCreated { .. } if account.introduced && account.status != Status::Deleted => {
            findings.add("account_exists", "the account was created already and is not deleted");
        }
        Fact::AccountRestored { .. } if account.status != Status::Deleted => {
            findings.add("account_not_deleted", "only a deleted account can be restored");
        }
        Fact::AccountCreated { .. }
        | Fact::AccountRestored { .. }
        | Fact::LegacyImported { .. }
        | Fact::TokenRevoked { .. }
        | Fact::TokenExpired { .. } => {}
        _ if account.status == Status::Deleted => {
            findings.add("account_deleted", "the account is deleted");
        }
        _ => {}
    }
    judge_deletion(account, event, now, findings);
    judge_tokens(account, &event.fact, findings);
    judge_rights(account, &event.fact, findings);
}

fn judge_deletion(account: &Account, event: &Event, now: Time, findings: &mut Findings) {
    if !matches!(event.fact, Fact::AccountDeleted { .. }) || account.status == Status::Deleted {
        return;
    }
    let active = account.active_tokens(event.occurred_at.min(now));
    if !active.is_empty() {
        findings.add("active_tokens", format!("the account has {} active token(s)", active.len()));
        findings.evidence.extend(active.iter().take(EVIDENCE_MAX).map(|token| format!("token/{token}")));
    }
}

fn judge_tokens(account: &Account, fact: &Fact, findings: &mut Findings) {
    let known = |token: &TokenId| account.tokens.standing(token);
    match fact {
        Fact::TokenIssued(token) if known(&token.token).is_some_and(|t| t.issued_at.is_some()) => {
            findings.add("token_exists", "a token with this id was issued already");
        }
        Fact::TokenRotated { old, new, .. } => {
            match known(old) {
                None => findings.add("token_unknown", "the token to be replaced was never issued"),
                Some(token) if token.revoked.is_some() || token.leaked => {
                    findings.add("token_revoked", "the token to be replaced was revoked before");
                }
                Some(_) => {}
            }
            if known(&new.token).is_some_and(|t| t.issued_at.is_some()) {
                findings.add("token_exists", "a token with the new id was issued already");
            }
        }
        Fact::TokenReinstated { token, .. } => match known(token) {
            None => findings.add("token_unknown", "the token was never issued"),
            Some(token) if token.leaked => {
                findings.add("token_leaked", "the token's secret is known to others; it can't come back");
            }
            Some(_) => {}
        },
        Fact::TokenRevoked { token, reason } => match known(token) {
            None => findings.add("token_unknown", "the token was never issued"),
            Some(token) if token.revoked.is_some() && *reason != RevocationReason::Leaked => {
                findings.add("token_revoked", "the token was revoked before");
            }
            Some(_) => {}
        },
        Fact::TokenUsed { token, .. } => match known(token) {
            None => findings.add("token_unknown", "the token was never issued"),
            Some(token) if token.revoked.is_some() || token.leaked => {
                findings.add("token_revoked", "the token was revoked before it was used");
            }
            Some(_) => {}
        },
        Fact::TokenExpired { token } if known(token).is_none() => {
            findings.add("token_unknown", "the token was never issued");
        }
        _ => {}
    }
}

fn judge_rights(account: &Account, fact: &Fact, findings: &mut Findings) {
    match fact {
        Fact::GrantChanged { grant, .. } | Fact::GrantRemoved { grant }
            if !account.grants.contains_key(grant) =>
        {
            findings.add("grant_unknown", "the account has no such grant");
        }
        Fact::ConsumerReleased { consumer } if !account.consumers().contains_key(consumer) => {
            findings.add("consumer_unknown", "the account has no such consumer");
        }
        _ => {}
    }
}

/// A handle is taken by at most one account of a namespace that is there.
fn judge_handle(state: &State, slot: Option<&Slot>, id: &AccountId, event: &Event, findings: &mut Findings) {
    let Some((namespace, handle)) = wanted_handle(slot, &event.fact) else { return };
    let others: Vec<&AccountId> =
        state.holders(namespace.as_ref(), &handle).filter(|holder| *holder != id).collect();
    if !others.is_empty() {
        findings.add("handle_taken", "another account has this handle");
        findings
            .evidence
            .extend(others.iter().take(EVIDENCE_MAX).map(|account| format!("account/{account}")));
    }
}

/// The handle that an event gives to its account, if it gives one.
fn wanted_handle(slot: Option<&Slot>, fact: &Fact) -> Option<(Option<Namespace>, Handle)> {
    let now = slot.map(Slot::current);
    match fact {
        Fact::AccountCreated { handle, namespace, .. } | Fact::LegacyImported { handle, namespace, .. } => {
            Some((namespace.clone(), handle.clone()))
        }
        Fact::AccountUpdated { handle, namespace, .. } if handle.is_some() || namespace.is_some() => {
            let now = now?;
            let namespace = namespace.clone().unwrap_or_else(|| now.namespace.clone());
            Some((namespace, handle.clone().unwrap_or_else(|| now.handle.clone())))
        }
        Fact::AccountRestored { incarnation, .. } => {
            let life = slot.and_then(|slot| slot.life(*incarnation)).or(now)?;
            Some((life.namespace.clone(), life.handle.clone()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
