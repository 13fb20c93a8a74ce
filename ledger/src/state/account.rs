//! One account: what its events make of it. The fold of an account needs nothing but the account's own events, so that
//! the account at any moment follows from its history alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{
    AccountId, AccountKind, Actor, ConsumerId, Expiry, Fact, FamilyId, GrantId, Handle, IssuedToken,
    Namespace, Recorded, RevocationReason, Text, TokenDigest, TokenId,
};
use crate::types::{Position, Time};

/// Whether an account is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It may be used.
    Live,
    /// It is there, and may not be used.
    Disabled,
    /// It is gone.
    Deleted,
}

impl Status {
    /// The status in words: `live`, `disabled` or `deleted`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        }
    }
}

/// Whether a token of a live account would work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    /// It would.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody ended it.
    Revoked,
}

impl TokenStatus {
    /// The status in words: `active`, `expired` or `revoked`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A token of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The tokens it was rotated with.
    pub family: FamilyId,
    /// Digest of its secret, where known.
    pub digest: Option<TokenDigest>,
    /// What it may be used for.
    pub scopes: Vec<Text>,
    /// When it ends.
    pub expiry: Expiry,
    /// Its end was reported as an event.
    pub expired: bool,
    /// Somebody ended it: when and why.
    pub revoked: Option<(Time, RevocationReason)>,
    /// Its secret is known to others: it never comes back.
    pub leaked: bool,
    /// The token that replaced it.
    pub replaced_by: Option<TokenId>,
    /// When it was issued; `None` where the ledger met it later.
    pub issued_at: Option<Time>,
    /// When it was last reported as used.
    pub last_used_at: Option<Time>,
}

impl Token {
    fn met_later(id: &TokenId) -> Self {
        Self {
            family: FamilyId(id.0.clone()),
            digest: None,
            scopes: Vec::new(),
            expiry: Expiry::Unknown,
            expired: false,
            revoked: None,
            leaked: false,
            replaced_by: None,
            issued_at: None,
            last_used_at: None,
        }
    }

    fn issued(token: &IssuedToken, family: FamilyId, at: Time) -> Self {
        Self {
            family,
            digest: token.digest.clone(),
            scopes: token.scopes.clone(),
            expiry: token.expiry,
            issued_at: Some(at),
            ..Self::met_later(&token.token)
        }
    }

    /// The issue of a token that was met before it: what it is becomes known, and what has ended it stays.
    fn describe(&mut self, issued: Self) {
        let Self { family, digest, scopes, expiry, issued_at, .. } = issued;
        // An overlap that has begun ends a token earlier than its own expiry does.
        let expiry = match (self.expiry, expiry) {
            (Expiry::At(known), Expiry::At(own)) => Expiry::At(known.min(own)),
            (Expiry::At(known), _) => Expiry::At(known),
            (_, own) => own,
        };
        *self = Self {
            family,
            digest,
            scopes,
            expiry,
            issued_at,
            expired: self.expired,
            revoked: self.revoked,
            leaked: self.leaked,
            replaced_by: self.replaced_by.take(),
            last_used_at: self.last_used_at,
        };
    }

    /// Whether it works at a moment, its account being live. An unknown expiry never counts as over.
    #[must_use]
    pub fn status(&self, at: Time) -> TokenStatus {
        match self.expiry {
            _ if self.revoked.is_some() || self.leaked => TokenStatus::Revoked,
            _ if self.expired => TokenStatus::Expired,
            Expiry::At(end) if end <= at => TokenStatus::Expired,
            _ => TokenStatus::Active,
        }
    }
}

/// A membership or right of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What it gives access to; `None`: what its id says.
    pub resource: Option<Text>,
    /// How much.
    pub access: Option<Text>,
    /// It ends by itself then.
    pub expires_at: Option<Time>,
}

/// A component that uses an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumer {
    /// What it is.
    pub component: Option<Text>,
    /// Where it is configured.
    pub location: Option<Text>,
    /// Such as `production`.
    pub environment: Option<Text>,
    /// The token it uses; `None`: the account as a whole.
    pub token: Option<TokenId>,
}

/// How an account went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// The event that deleted it.
    pub position: Position,
    /// When.
    pub occurred_at: Time,
    /// Who did it.
    pub actor: Actor,
    /// What it was before: live or disabled.
    pub status_before: Status,
}

/// One life of an account id, from its creation to its deletion and, if restored, on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id, which is never reused for another account.
    pub id: AccountId,
    /// Which life of this id it is, from 1.
    pub incarnation: u32,
    /// What it is.
    pub kind: AccountKind,
    /// The name by which people know it.
    pub handle: Handle,
    /// Who answers for it.
    pub owner: Option<AccountId>,
    /// Where it lives.
    pub namespace: Option<Namespace>,
    /// Such as `production`.
    pub environment: Option<Text>,
    /// Its deletion needs a second person.
    pub protected: bool,
    /// What else the platform knows.
    pub attributes: BTreeMap<Text, String>,
    /// Its tokens: a set, since a rotated account has several.
    pub tokens: BTreeMap<TokenId, Token>,
    /// Its grants.
    pub grants: BTreeMap<GrantId, Grant>,
    /// The components that use it.
    pub consumers: BTreeMap<ConsumerId, Consumer>,
    /// Rules that were turned on or off for it.
    pub enforced: BTreeMap<Text, bool>,
    /// Whether it is there.
    pub status: Status,
    /// How it went, if it did; kept when it comes back.
    pub deletion: Option<Deletion>,
    /// When it was created; `None` where the ledger met it later.
    pub created_at: Option<Time>,
    /// Its creation or import was recorded; otherwise only other facts about it were.
    pub introduced: bool,
}

impl Account {
    /// A life that begins with whatever fact comes first.
    pub(crate) fn unseen(id: &AccountId, incarnation: u32) -> Self {
        Self {
            id: id.clone(),
            incarnation,
            kind: AccountKind::Service,
            handle: Handle(id.0.clone()),
            owner: None,
            namespace: None,
            environment: None,
            protected: false,
            attributes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            grants: BTreeMap::new(),
            consumers: BTreeMap::new(),
            enforced: BTreeMap::new(),
            status: Status::Live,
            deletion: None,
            created_at: None,
            introduced: false,
        }
    }

    /// The tokens that work at a moment, if the account is live.
    pub fn active_tokens(&self, at: Time) -> impl Iterator<Item = &TokenId> {
        self.tokens.iter().filter(move |(_, token)| token.status(at) == TokenStatus::Active).map(|(id, _)| id)
    }

    /// Takes a fact as true. Facts that contradict the account (a second creation, a token issued twice) change nothing
    /// that was known before: the event stands in the log with its violations.
    pub(super) fn apply(&mut self, recorded: &Recorded) {
        let at = recorded.event.occurred_at;
        match &recorded.event.fact {
            Fact::AccountDeleted { .. } => self.delete(recorded),
            Fact::AccountRestored { .. } => self.restore(),
            Fact::AccountDisabled if self.status == Status::Live => self.status = Status::Disabled,
            Fact::AccountEnabled if self.status == Status::Disabled => self.status = Status::Live,
            Fact::OwnershipTransferred { owner } => self.owner.clone_from(owner),
            fact @ (Fact::AccountCreated { .. }
            | Fact::LegacyImported { .. }
            | Fact::AccountUpdated { .. }) => {
                self.describe(fact, at);
            }
            fact @ (Fact::GrantAdded { .. }
            | Fact::GrantChanged { .. }
            | Fact::GrantRemoved { .. }
            | Fact::EnforcementChanged { .. }
            | Fact::ConsumerDeclared { .. }
            | Fact::ConsumerReleased { .. }) => self.apply_right(fact),
            fact => self.apply_token(fact, at),
        }
    }

    fn delete(&mut self, recorded: &Recorded) {
        if self.status == Status::Deleted {
            return;
        }
        self.deletion = Some(Deletion {
            position: recorded.position,
            occurred_at: recorded.event.occurred_at,
            actor: recorded.event.actor.clone(),
            status_before: self.status,
        });
        self.status = Status::Deleted;
    }

    fn restore(&mut self) {
        if self.status == Status::Deleted {
            self.status = self.deletion.as_ref().map_or(Status::Live, |d| d.status_before);
        }
    }

    fn describe(&mut self, fact: &Fact, at: Time) {
        match fact {
            Fact::AccountCreated { kind, handle, owner, namespace, environment, protected, attributes }
                if !self.introduced =>
            {
                self.introduced = true;
                self.created_at = Some(at);
                self.kind = *kind;
                self.handle = handle.clone();
                self.owner.clone_from(owner);
                self.namespace.clone_from(namespace);
                self.environment.clone_from(environment);
                self.protected = *protected;
                self.attributes.clone_from(attributes);
            }
            Fact::LegacyImported { kind, handle, namespace, .. } if !self.introduced => {
                self.introduced = true;
                self.kind = *kind;
                self.handle = handle.clone();
                self.namespace.clone_from(namespace);
            }
            Fact::AccountUpdated {
                handle,
                namespace,
                environment,
                protected,
                attributes_set,
                attributes_removed,
            } => {
                set(&mut self.handle, handle.as_ref());
                set(&mut self.namespace, namespace.as_ref());
                set(&mut self.environment, environment.as_ref());
                set(&mut self.protected, protected.as_ref());
                self.attributes.retain(|key, _| !attributes_removed.contains(key));
                self.attributes.extend(attributes_set.clone());
            }
            _ => {}
        }
    }

    fn apply_right(&mut self, fact: &Fact) {
        match fact.clone() {
            Fact::GrantAdded { grant, resource, access, expires_at } => {
                self.grants.insert(grant, Grant { resource, access, expires_at });
            }
            Fact::GrantChanged { grant, access, expires_at } => {
                if let Some(known) = self.grants.get_mut(&grant) {
                    set(&mut known.access, access.as_ref());
                    known.expires_at = expires_at.or(known.expires_at);
                }
            }
            Fact::GrantRemoved { grant } => {
                self.grants.remove(&grant);
            }
            Fact::EnforcementChanged { rule, enforced } => {
                self.enforced.insert(rule, enforced);
            }
            Fact::ConsumerDeclared { consumer, component, location, environment, token } => {
                self.consumers.insert(consumer, Consumer { component, location, environment, token });
            }
            Fact::ConsumerReleased { consumer } => {
                self.consumers.remove(&consumer);
            }
            _ => {}
        }
    }

    fn token(&mut self, id: &TokenId) -> &mut Token {
        self.tokens.entry(id.clone()).or_insert_with(|| Token::met_later(id))
    }

    fn apply_token(&mut self, fact: &Fact, at: Time) {
        match fact {
            Fact::TokenIssued(token) => {
                let family = token.family.clone().unwrap_or_else(|| FamilyId(token.token.0.clone()));
                self.issue(token, family, at);
            }
            Fact::TokenRotated { old, new, overlap_until } => self.rotate(old, new, *overlap_until, at),
            Fact::TokenExpired { token } => self.token(token).expired = true,
            Fact::TokenRevoked { token, reason } => {
                let token = self.token(token);
                token.leaked |= *reason == RevocationReason::Leaked;
                token.revoked.get_or_insert((at, *reason));
            }
            Fact::TokenReinstated { token, .. } => {
                let token = self.token(token);
                if !token.leaked {
                    token.revoked = None;
                    token.expired = false;
                }
            }
            Fact::TokenUsed { token, .. } => {
                let token = self.token(token);
                token.last_used_at = token.last_used_at.max(Some(at));
            }
            _ => {}
        }
    }

    fn issue(&mut self, token: &IssuedToken, family: FamilyId, at: Time) {
        match self.tokens.get_mut(&token.token) {
            Some(known) if known.issued_at.is_some() => {}
            Some(known) => known.describe(Token::issued(token, family, at)),
            None => {
                self.tokens.insert(token.token.clone(), Token::issued(token, family, at));
            }
        }
    }

    fn rotate(&mut self, old: &TokenId, new: &IssuedToken, overlap_until: Option<Time>, at: Time) {
        // A token can't replace itself; taken at its word, it would be revoked and leave nothing that works.
        if *old == new.token {
            return;
        }
        let replaced = self.token(old);
        replaced.replaced_by = Some(new.token.clone());
        match (overlap_until, replaced.expiry) {
            (Some(end), Expiry::At(earlier)) => replaced.expiry = Expiry::At(end.min(earlier)),
            (Some(end), _) => replaced.expiry = Expiry::At(end),
            (None, _) => {
                replaced.revoked.get_or_insert((at, RevocationReason::Superseded));
            }
        }
        let family = replaced.family.clone();
        self.issue(new, family, at);
    }
}

fn set<T: Clone>(place: &mut T, change: Option<&T>) {
    if let Some(change) = change {
        place.clone_from(change);
    }
}
