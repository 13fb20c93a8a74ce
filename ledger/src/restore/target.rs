//! The single things of an account that an event can touch, and what each of them is.

use std::fmt;

use crate::event::{AccountId, AccountKind, ConsumerId, Fact, GrantId, Handle, Namespace, Text, TokenId};
use crate::state::{Account, Consumer, Grant, Status, Token};

/// One thing of an account: a property, a token, a grant. In the order in which people read them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Status,
    Kind,
    Handle,
    Owner,
    Namespace,
    Environment,
    Protected,
    Attribute(Text),
    Token(TokenId),
    Grant(GrantId),
    Consumer(ConsumerId),
    Rule(Text),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::Kind => f.write_str("kind"),
            Self::Handle => f.write_str("handle"),
            Self::Owner => f.write_str("owner"),
            Self::Namespace => f.write_str("namespace"),
            Self::Environment => f.write_str("environment"),
            Self::Protected => f.write_str("protected"),
            Self::Attribute(key) => write!(f, "attribute/{key}"),
            Self::Token(id) => write!(f, "token/{id}"),
            Self::Grant(id) => write!(f, "grant/{id}"),
            Self::Consumer(id) => write!(f, "consumer/{id}"),
            Self::Rule(rule) => write!(f, "rule/{rule}"),
        }
    }
}

/// What a target is in one state of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Status(Status),
    Kind(AccountKind),
    Handle(Handle),
    Owner(Option<AccountId>),
    Namespace(Option<Namespace>),
    Environment(Option<Text>),
    Protected(bool),
    Attribute(Option<String>),
    Token(Option<Token>),
    Grant(Option<Grant>),
    Consumer(Option<Consumer>),
    Rule(Option<bool>),
}

impl Value {
    pub(super) fn of(account: &Account, target: &Target) -> Self {
        match target {
            Target::Status => Self::Status(account.status),
            Target::Kind => Self::Kind(account.kind),
            Target::Handle => Self::Handle(account.handle.clone()),
            Target::Owner => Self::Owner(account.owner.clone()),
            Target::Namespace => Self::Namespace(account.namespace.clone()),
            Target::Environment => Self::Environment(account.environment.clone()),
            Target::Protected => Self::Protected(account.protected),
            Target::Attribute(key) => Self::Attribute(account.attributes().get(key)),
            Target::Token(id) => Self::Token(account.tokens.get(id)),
            Target::Grant(id) => Self::Grant(account.grants.get(id)),
            Target::Consumer(id) => Self::Consumer(account.consumers().get(id)),
            Target::Rule(rule) => Self::Rule(account.enforced().get(rule)),
        }
    }

    /// Whether the two are the same to their account, as its digest sees it: when a token was used does not count, nor
    /// when and why it was revoked.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(Some(a)), Self::Token(Some(b))) => same_token(a, b),
            _ => self == other,
        }
    }

    /// Whether the ledger does not know it at all.
    pub(super) fn unknown(&self) -> bool {
        matches!(self, Self::Token(None) | Self::Grant(None) | Self::Consumer(None) | Self::Rule(None))
    }
}

fn same_token(a: &Token, b: &Token) -> bool {
    let scopes = |token: &Token| {
        let mut scopes = token.scopes.clone();
        scopes.sort();
        scopes
    };
    let ended = |token: &Token| (token.leaked, token.leaked || token.revoked.is_some());
    (&a.family, &a.digest, a.expiry, ended(a)) == (&b.family, &b.digest, b.expiry, ended(b))
        && scopes(a) == scopes(b)
}

const PROPERTIES: [Target; 6] =
    [Target::Kind, Target::Handle, Target::Owner, Target::Namespace, Target::Environment, Target::Protected];

/// Everything that an account has.
pub(super) fn all(account: &Account) -> impl Iterator<Item = Target> {
    std::iter::once(Target::Status)
        .chain(PROPERTIES)
        .chain(account.attributes().keys().map(Target::Attribute))
        .chain(account.tokens.keys().map(Target::Token))
        .chain(account.grants.keys().map(Target::Grant))
        .chain(account.consumers().keys().map(Target::Consumer))
        .chain(account.enforced().keys().map(Target::Rule))
}

/// What a fact touches. Nothing where it only reports use, or where deletion and return of the whole account are meant.
pub(super) fn touched_by(fact: &Fact) -> Vec<Target> {
    match fact {
        Fact::LegacyImported { .. } => vec![Target::Kind, Target::Handle, Target::Namespace],
        Fact::AccountCreated { attributes, .. } => {
            PROPERTIES.into_iter().chain(attributes.keys().cloned().map(Target::Attribute)).collect()
        }
        Fact::AccountUpdated { .. } => properties_updated(fact),
        Fact::OwnershipTransferred { .. } => vec![Target::Owner],
        Fact::AccountDisabled | Fact::AccountEnabled => vec![Target::Status],
        Fact::TokenIssued(token) => vec![Target::Token(token.token.clone())],
        Fact::TokenRotated { old, new, .. } => {
            vec![Target::Token(old.clone()), Target::Token(new.token.clone())]
        }
        Fact::TokenExpired { token }
        | Fact::TokenRevoked { token, .. }
        | Fact::TokenReinstated { token, .. } => vec![Target::Token(token.clone())],
        Fact::GrantAdded { grant, .. } | Fact::GrantChanged { grant, .. } | Fact::GrantRemoved { grant } => {
            vec![Target::Grant(grant.clone())]
        }
        Fact::EnforcementChanged { rule, .. } => vec![Target::Rule(rule.clone())],
        Fact::ConsumerDeclared { consumer, .. } | Fact::ConsumerReleased { consumer } => {
            vec![Target::Consumer(consumer.clone())]
        }
        _ => Vec::new(),
    }
}

fn properties_updated(fact: &Fact) -> Vec<Target> {
    let Fact::AccountUpdated {
        handle,
        namespace,
        environment,
        protected,
        attributes_set,
        attributes_removed,
    } = fact
    else {
        return Vec::new();
    };
    let properties = [
        handle.as_ref().map(|_| Target::Handle),
        namespace.as_ref().map(|_| Target::Namespace),
        environment.as_ref().map(|_| Target::Environment),
        protected.map(|_| Target::Protected),
    ];
    let attributes = attributes_set.keys().chain(attributes_removed).cloned().map(Target::Attribute);
    properties.into_iter().flatten().chain(attributes).collect()
}
