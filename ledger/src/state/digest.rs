//! The canonical encoding of an account, its digest, and the root of a state (`docs/format.md`, "Digests").
//!
//! Texts are their length (4 bytes, little-endian) and bytes; an optional value is 0, or 1 and the value; a list is its
//! length (4 bytes) and items, maps sorted by key. The digest covers what the account *is*: no version, position,
//! status, clock or computed expiry, so that before and after a restore can be equal.

use std::sync::LazyLock;

use super::account::{Account, Status};
use super::rights::Grant;
use super::slot::Slot;
use super::table::Packed;
use super::tokens::{DigestView, Texts, View};
use crate::event::{AccountKind, Expiry};
use crate::tree::{Frontier, leaf};
use crate::types::{AccountDigest, StateRoot, Time};

/// The context of the digest's key derivation.
pub const DIGEST_CONTEXT: &str = "tokenledger 2026 account digest v1";

/// Bytes that are gathered before they are hashed.
const GATHERED_BYTES: usize = 64 * 1024;

/// Takes an encoding as it comes.
#[derive(Default)]
struct Canonical {
    bytes: Vec<u8>,
    /// Where the bytes go once there are many; `None`: they are what is wanted.
    hasher: Option<blake3::Hasher>,
}

impl Canonical {
    fn hashed() -> Self {
        // The context's own hash is the same for every account, so it is made once.
        static KEYED: LazyLock<blake3::Hasher> =
            LazyLock::new(|| blake3::Hasher::new_derive_key(DIGEST_CONTEXT));
        Self { bytes: Vec::new(), hasher: Some(KEYED.clone()) }
    }

    fn flush(&mut self) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&self.bytes);
            self.bytes.clear();
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn count(&mut self, count: usize) {
        self.raw(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.raw(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.byte(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn time(&mut self, time: Time) {
        self.raw(&time.0.to_le_bytes());
    }

    fn token(&mut self, id: &str, view: &View<'_>, texts: &Texts<'_>) {
        match &texts.family {
            None => self.text(id),
            Some(family) => {
                self.count(family.len());
                family.parts().into_iter().for_each(|part| self.raw(part));
            }
        }
        self.byte(u8::from(texts.digest.is_some()));
        match texts.digest {
            None => {}
            Some(DigestView::Text(text)) => self.text(text),
            Some(DigestView::Plain(algorithm, bytes)) => self.digits(algorithm, bytes),
        }
        let mut scopes = texts.scopes.clone();
        scopes.sort_unstable();
        self.count(scopes.len());
        scopes.into_iter().for_each(|scope| self.text(scope));
        match view.standing.expiry {
            Expiry::Never => self.byte(0),
            Expiry::At(time) => {
                self.byte(1);
                self.time(time);
            }
            Expiry::Unknown => self.byte(2),
        }
        self.byte(match (view.standing.leaked, view.standing.revoked) {
            (true, _) => 2,
            (false, Some(_)) => 1,
            (false, None) => 0,
        });
    }

    /// The text of a digest.
    fn digits(&mut self, algorithm: &str, bytes: &[u8; 32]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.count(algorithm.len() + 2 * bytes.len());
        self.raw(algorithm.as_bytes());
        let mut text = [[0; 2]; 32];
        for (pair, byte) in text.iter_mut().zip(bytes) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        self.raw(text.as_flattened());
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
    encode(account, &mut out);
    out.bytes
}

fn encode(account: &Account, out: &mut Canonical) {
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
    out.count(account.attributes().len());
    account.attributes().each(|key, value| {
        out.text(key);
        out.count(value.len());
        out.raw(value);
    });
    out.count(account.tokens.len());
    account.tokens.each(|id, body| {
        out.text(id);
        if let Some(view) = View::of(id, body)
            && let Some(texts) = view.texts()
        {
            out.token(id, &view, &texts);
        }
        if out.bytes.len() > GATHERED_BYTES {
            out.flush();
        }
    });
    out.count(account.grants.len());
    account.grants.each(|id, body| {
        out.text(id);
        if let Some(grant) = Grant::unpack(id, body) {
            out.grant(&grant);
        }
    });
}

/// The digest of an account: BLAKE3 `derive_key` over [`canonical`].
#[must_use]
pub fn digest(account: &Account) -> AccountDigest {
    let mut out = Canonical::hashed();
    encode(account, &mut out);
    out.flush();
    AccountDigest(out.hasher.map(|hasher| *hasher.finalize().as_bytes()).unwrap_or_default())
}

/// The root over accounts in order of id: an RFC 6962 tree with one leaf a life: id, incarnation, status, digest.
pub(super) fn root<'a>(slots: impl Iterator<Item = &'a Slot>) -> StateRoot {
    let mut frontier = Frontier::default();
    for life in slots.flat_map(|slot| slot.lives()) {
        let mut out = Canonical::default();
        out.text(life.id.as_str());
        out.raw(&life.incarnation.to_le_bytes());
        out.byte(match life.status {
            Status::Live => 1,
            Status::Disabled => 2,
            Status::Deleted => 3,
        });
        out.raw(&digest(life).0);
        frontier.push(leaf(&out.bytes));
    }
    StateRoot(frontier.root())
}
