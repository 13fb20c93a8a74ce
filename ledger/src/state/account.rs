//! One account: what its events make of it. The fold of an account needs nothing but the account's own events, so that
//! the account at any moment follows from its history alone.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::rights::{Consumer, Grant};
use super::stored::Source;
use super::table::Table;
use super::tokens::{Standing, Token};
use crate::event::{
    AccountId, AccountKind, Actor, ConsumerId, Expiry, Fact, FamilyId, GrantId, Handle, IssuedToken,
    Namespace, Recorded, RevocationReason, Text, TokenId,
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
    /// The name by which people know it.
    pub handle: Handle,
    /// Who answers for it.
    pub owner: Option<AccountId>,
    /// Where it lives.
    pub namespace: Option<Namespace>,
    /// Such as `production`.
    pub environment: Option<Text>,
    /// When it was created; `None` where the ledger met it later.
    pub created_at: Option<Time>,
    /// Its tokens: a set, since a rotated account has several.
    #[serde(skip)]
    pub tokens: Table<TokenId, Token>,
    /// Its grants.
    #[serde(skip)]
    pub grants: Table<GrantId, Grant>,
    /// `None` where it has nothing of it.
    rare: Option<Box<Rare>>,
    /// Which life of its id it is, from 1.
    pub incarnation: u32,
    /// What it is.
    pub kind: AccountKind,
    /// Its deletion needs a second person.
    pub protected: bool,
    /// Whether it is there.
    pub status: Status,
    /// Its creation or import was recorded; otherwise only other facts about it were.
    pub introduced: bool,
}

/// What most accounts have nothing of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rare {
    #[serde(skip)]
    attributes: Table<Text, String>,
    #[serde(skip)]
    consumers: Table<ConsumerId, Consumer>,
    #[serde(skip)]
    enforced: Table<Text, bool>,
    pub(super) deletion: Option<Deletion>,
}

static NOTHING_RARE: LazyLock<Rare> = LazyLock::new(Rare::default);

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
            tokens: Table::default(),
            grants: Table::default(),
            rare: None,
            status: Status::Live,
            created_at: None,
            introduced: false,
        }
    }

    fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NOTHING_RARE)
    }

    /// What else the platform knows.
    #[must_use]
    pub fn attributes(&self) -> &Table<Text, String> {
        &self.rare().attributes
    }

    /// The components that use it.
    #[must_use]
    pub fn consumers(&self) -> &Table<ConsumerId, Consumer> {
        &self.rare().consumers
    }

    /// Rules that were turned on or off for it.
    #[must_use]
    pub fn enforced(&self) -> &Table<Text, bool> {
        &self.rare().enforced
    }

    /// How it went, if it did; kept when it comes back.
    #[must_use]
    pub fn deletion(&self) -> Option<&Deletion> {
        self.rare().deletion.as_ref()
    }

    /// Two accounts with nothing rare are equal, however they came to have nothing.
    pub(super) fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare.take().unwrap_or_default();
        change(&mut rare);
        self.rare = (*rare != *NOTHING_RARE).then_some(rare);
    }

    /// The tokens that work at a moment, if the account is live.
    #[must_use]
    pub fn active_tokens(&self, at: Time) -> Vec<TokenId> {
        self.tokens.active(at)
    }

    /// Writes what postcard leaves out.
    pub(super) fn write_tables(&self, out: &mut dyn Write) -> io::Result<()> {
        self.tokens.write(out)?;
        self.grants.write(out)?;
        let Some(Rare { attributes, consumers, enforced, .. }) = self.rare.as_deref() else { return Ok(()) };
        attributes.write(out)?;
        consumers.write(out)?;
        enforced.write(out)
    }

    /// Reads what [`Account::write_tables`] wrote.
    pub(super) fn read_tables(&mut self, source: &mut impl Source) -> io::Result<()> {
        self.tokens = Table::read(source)?;
        self.grants = Table::read(source)?;
        let Some(rare) = self.rare.as_deref_mut() else { return Ok(()) };
        rare.attributes = Table::read(source)?;
        rare.consumers = Table::read(source)?;
        rare.enforced = Table::read(source)?;
        Ok(())
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
        let deletion = Deletion {
            position: recorded.position,
            occurred_at: recorded.event.occurred_at,
            actor: recorded.event.actor.clone(),
            status_before: self.status,
        };
        self.change_rare(|rare| rare.deletion = Some(deletion));
        self.status = Status::Deleted;
    }

    fn restore(&mut self) {
        if self.status == Status::Deleted {
            self.status = self.deletion().map_or(Status::Live, |d| d.status_before);
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
                self.set_attributes(attributes, &[], true);
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
                self.set_attributes(attributes_set, attributes_removed, false);
            }
            _ => {}
        }
    }

    /// Removes some attributes, or all, and then sets others.
    fn set_attributes(&mut self, set: &BTreeMap<Text, String>, removed: &[Text], all: bool) {
        if set.is_empty() && self.attributes().is_empty() {
            return;
        }
        self.change_rare(|rare| {
            if all {
                rare.attributes = Table::default();
            }
            removed.iter().for_each(|key| {
                rare.attributes.remove(key);
            });
            set.iter().for_each(|(key, value)| rare.attributes.insert(key, value));
        });
    }

    fn apply_right(&mut self, fact: &Fact) {
        match fact {
            Fact::GrantAdded { grant, resource, access, expires_at } => {
                let added =
                    Grant { resource: resource.clone(), access: access.clone(), expires_at: *expires_at };
                self.grants.insert(grant, &added);
            }
            Fact::GrantChanged { grant, access, expires_at } => {
                self.grants.update(grant, |known| {
                    set(&mut known.access, access.as_ref());
                    known.expires_at = expires_at.or(known.expires_at);
                });
            }
            Fact::GrantRemoved { grant } => {
                self.grants.remove(grant);
            }
            Fact::EnforcementChanged { rule, enforced } => {
                self.change_rare(|rare| rare.enforced.insert(rule, enforced));
            }
            Fact::ConsumerDeclared { consumer, component, location, environment, token } => {
                let declared = Consumer {
                    component: component.clone(),
                    location: location.clone(),
                    environment: environment.clone(),
                    token: token.clone(),
                };
                self.change_rare(|rare| rare.consumers.insert(consumer, &declared));
            }
            Fact::ConsumerReleased { consumer } => self.change_rare(|rare| {
                rare.consumers.remove(consumer);
            }),
            _ => {}
        }
    }

    /// Changes how a token stands, one that is met now included.
    fn restand(&mut self, id: &TokenId, change: impl Fn(&mut Standing)) {
        if !self.tokens.restand(id, &change) {
            let mut token = Token::met_later(id);
            let mut standing = token.standing();
            change(&mut standing);
            token.stand(standing);
            self.tokens.insert(id, &token);
        }
    }

    fn apply_token(&mut self, fact: &Fact, at: Time) {
        match fact {
            Fact::TokenIssued(token) => {
                let family = token.family.clone().unwrap_or_else(|| FamilyId(token.token.0.clone()));
                self.issue(token, family, at);
            }
            Fact::TokenRotated { old, new, overlap_until } => self.rotate(old, new, *overlap_until, at),
            Fact::TokenExpired { token } => self.restand(token, |token| token.expired = true),
            Fact::TokenRevoked { token, reason } => self.restand(token, |token| {
                token.leaked |= *reason == RevocationReason::Leaked;
                token.revoked.get_or_insert((at, *reason));
            }),
            Fact::TokenReinstated { token, .. } => self.restand(token, |token| {
                if !token.leaked {
                    token.revoked = None;
                    token.expired = false;
                }
            }),
            Fact::TokenUsed { token, .. } => {
                self.restand(token, |token| token.last_used_at = token.last_used_at.max(Some(at)));
            }
            _ => {}
        }
    }

    fn issue(&mut self, token: &IssuedToken, family: FamilyId, at: Time) {
        let issued = Token::issued(token, family, at);
        match self.tokens.standing(&token.token) {
            None => self.tokens.insert(&token.token, &issued),
            Some(known) if known.issued_at.is_some() => {}
            Some(_) => {
                self.tokens.update(&token.token, |known| known.describe(issued));
            }
        }
    }

    fn rotate(&mut self, old: &TokenId, new: &IssuedToken, overlap_until: Option<Time>, at: Time) {
        // A token can't replace itself; taken at its word, it would be revoked and leave nothing that works.
        if *old == new.token {
            return;
        }
        let mut replaced = self.tokens.get(old).unwrap_or_else(|| Token::met_later(old));
        replaced.replaced_by = Some(new.token.clone());
        match (overlap_until, replaced.expiry) {
            (Some(end), Expiry::At(earlier)) => replaced.expiry = Expiry::At(end.min(earlier)),
            (Some(end), _) => replaced.expiry = Expiry::At(end),
            (None, _) => {
                replaced.revoked.get_or_insert((at, RevocationReason::Superseded));
            }
        }
        self.tokens.insert(old, &replaced);
        self.issue(new, replaced.family, at);
    }
}

fn set<T: Clone>(place: &mut T, change: Option<&T>) {
    if let Some(change) = change {
        place.clone_from(change);
    }
}
