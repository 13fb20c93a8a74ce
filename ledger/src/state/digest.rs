//! The canonical encoding of an account, its digest, and the root of a state (`docs/format.md`, "Digests").
//!
//! Texts are their length (4 bytes, little-endian) and bytes; an optional value is 0, or 1 and the value; a list is its
//! length (4 bytes) and items, maps sorted by key. The digest covers what the account *is*: no version, position,
//! status, clock or computed expiry, so that before and after a restore can be equal.

use super::account::{Account, Grant, Status, Token};
use super::slot::Slot;
use crate::event::{AccountKind, Expiry};
use crate::tree::{Frontier, leaf};
use crate::types::{AccountDigest, StateRoot, Time};

/// The context of the digest's key derivation.
pub const DIGEST_CONTEXT: &str = "tokenledger 2026 account digest v1";

#[derive(Default)]
struct Canonical(Vec<u8>);

impl Canonical {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn count(&mut self, count: usize) {
        self.0.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.byte(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn time(&mut self, time: Time) {
        self.0.extend_from_slice(&time.0.to_le_bytes());
    }

    fn token(&mut self, token: &Token) {
        self.text(token.family.as_str());
        self.optional(token.digest.as_ref().map(|d| d.as_str()));
        let mut scopes: Vec<&str> = token.scopes.iter().map(|s| s.as_str()).collect();
        scopes.sort_unstable();
        self.count(scopes.len());
        scopes.into_iter().for_each(|scope| self.text(scope));
        match token.expiry {
            Expiry::Never => self.byte(0),
            Expiry::At(time) => {
                self.byte(1);
                self.time(time);
            }
            Expiry::Unknown => self.byte(2),
        }
        self.byte(match token {
            Token { leaked: true, .. } => 2,
            Token { revoked: Some(_), .. } => 1,
            _ => 0,
        });
    }

    fn grant(&mut self, grant: &Grant) {
        self.optional(grant.resource.as_ref().map(|r| r.as_str()));
        self.optional(grant.access.as_ref().map(|a| a.as_str()));
        self.byte(u8::from(grant.expires_at.is_some()));
        if let Some(time) = grant.expires_at {
            self.time(time);
        }
    }
}

/// The canonical encoding of an account.
#[must_use]
pub fn canonical(account: &Account) -> Vec<u8> {
    let mut out = Canonical::default();
    out.text(account.id.as_str());
    out.byte(match account.kind {
        AccountKind::Bot => 1,
        AccountKind::Service => 2,
        AccountKind::Human => 3,
    });
    out.text(account.handle.as_str());
    out.optional(account.owner.as_ref().map(|o| o.as_str()));
    out.optional(account.namespace.as_ref().map(|n| n.as_str()));
    out.optional(account.environment.as_ref().map(|e| e.as_str()));
    out.byte(u8::from(account.protected));
    out.count(account.attributes.len());
    for (key, value) in &account.attributes {
        out.text(key.as_str());
        out.text(value);
    }
    out.count(account.tokens.len());
    for (id, token) in &account.tokens {
        out.text(id.as_str());
        out.token(token);
    }
    out.count(account.grants.len());
    for (id, grant) in &account.grants {
        out.text(id.as_str());
        out.grant(grant);
    }
    out.0
}

/// The digest of an account: BLAKE3 `derive_key` over [`canonical`].
#[must_use]
pub fn digest(account: &Account) -> AccountDigest {
    AccountDigest(blake3::derive_key(DIGEST_CONTEXT, &canonical(account)))
}

/// The root over accounts in order of id: an RFC 6962 tree with one leaf a life: id, incarnation, status, digest.
pub(super) fn root<'a>(slots: impl Iterator<Item = &'a Slot>) -> StateRoot {
    let mut frontier = Frontier::default();
    for life in slots.flat_map(|slot| slot.lives()) {
        let mut out = Canonical::default();
        out.text(life.id.as_str());
        out.0.extend_from_slice(&life.incarnation.to_le_bytes());
        out.byte(match life.status {
            Status::Live => 1,
            Status::Disabled => 2,
            Status::Deleted => 3,
        });
        out.0.extend_from_slice(&digest(life).0);
        frontier.push(leaf(&out.0));
    }
    StateRoot(frontier.root())
}
