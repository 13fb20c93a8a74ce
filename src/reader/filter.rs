//! Which events are asked for.

use ledger::event::{Fact, Kind, Recorded, TokenId};
use ledger::types::Time;

use super::Stored;
use crate::projection::Tag;

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// About this account.
    pub account: Option<String>,
    /// By this actor.
    pub actor: Option<String>,
    /// Of this run.
    pub run: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// About this token.
    pub token: Option<String>,
    /// With this correlation id.
    pub correlation: Option<String>,
    /// Occurred at or after.
    pub from: Option<Time>,
    /// Occurred before.
    pub to: Option<Time>,
}

impl Filter {
    /// Whether an event passes.
    #[must_use]
    pub fn holds(&self, recorded: &Recorded) -> bool {
        let event = &recorded.event;
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
        };
        let refused = match &event.fact {
            Fact::RequestRefused { refused_account: Some(account), .. } => Some(account.as_str()),
            _ => None,
        };
        let own_run = match &event.fact {
            Fact::RunStarted { run, .. } | Fact::RunFinished { run, .. } => Some(run.as_str()),
            _ => None,
        };
        let in_run = self.run.is_none()
            || is(&self.run, own_run)
            || is(&self.run, event.cause.run.as_ref().map(|r| r.as_str()));
        is(&self.account, event.account.as_ref().map(|a| a.as_str()).or(refused))
            && is(&self.actor, Some(event.actor.id.as_str()))
            && in_run
            && is(&self.kind, Some(event.fact.kind().name()))
            && is(&self.correlation, event.cause.correlation_id.as_ref().map(|c| c.as_str()))
            && self.token.as_ref().is_none_or(|token| tokens(&event.fact).any(|t| t.as_str() == token))
            && self.from.is_none_or(|from| event.occurred_at >= from)
            && self.to.is_none_or(|to| event.occurred_at < to)
    }

    /// As [`Filter::holds`], told from the bytes of the event where they say so at once. Without an answer the event must
    /// be decoded: a refusal counts as one about the account that was refused.
    pub(super) fn holds_stored(&self, stored: &Stored<'_>) -> Option<bool> {
        let Self { account, actor, run, kind, token, correlation, from, to } = self;
        let deep = [actor, run, token, correlation].iter().any(|wanted| wanted.is_some());
        let found = stored.kind.filter(|found| *found != Kind::RequestRefused)?;
        if deep || from.is_some() || to.is_some() {
            return None;
        }
        let of_account = account.as_deref().is_none_or(|wanted| wanted.as_bytes() == stored.account);
        Some(of_account && kind.as_deref().is_none_or(|wanted| wanted == found.name()))
    }

    /// The shortest list that holds every event that passes.
    pub(super) fn list(&self) -> Option<(Tag, &str)> {
        let lists = [
            (Tag::Token, &self.token),
            (Tag::Account, &self.account),
            (Tag::Correlation, &self.correlation),
            (Tag::Run, &self.run),
            (Tag::Kind, &self.kind),
            (Tag::Actor, &self.actor),
        ];
        lists.into_iter().find_map(|(tag, key)| Some((tag, key.as_deref()?)))
    }
}

/// The tokens that a fact names.
fn tokens(fact: &Fact) -> impl Iterator<Item = &TokenId> {
    let (one, other) = match fact {
        Fact::TokenIssued(token) => (Some(&token.token), None),
        Fact::TokenRotated { old, new, .. } => (Some(old), Some(&new.token)),
        Fact::TokenExpired { token }
        | Fact::TokenRevoked { token, .. }
        | Fact::TokenReinstated { token, .. }
        | Fact::TokenUsed { token, .. } => (Some(token), None),
        _ => (None, None),
    };
    one.into_iter().chain(other)
}
