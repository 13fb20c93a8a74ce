//! Who has a handle. Handles themselves stand with their accounts; here is how to find those quickly, in little memory.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::event::{AccountId, Handle, Namespace, Text};

/// What a handle in a namespace is found by: the first 8 bytes of BLAKE3. Nobody can make up handles that share one in
/// numbers, and those that do are told apart by their accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HandleKey(u64);

impl HandleKey {
    pub(super) fn of(namespace: Option<&Namespace>, handle: &Handle) -> Self {
        let mut hasher = blake3::Hasher::new();
        if let Some(namespace) = namespace {
            hasher.update(&namespace.as_str().len().to_le_bytes());
            hasher.update(namespace.as_str().as_bytes());
        }
        hasher.update(&[0]);
        hasher.update(handle.as_str().as_bytes());
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Self(u64::from_le_bytes(first))
    }
}

/// The live and disabled accounts by the key of their handle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Handles(BTreeSet<(HandleKey, AccountId)>);

impl Handles {
    /// An account has had one handle, or none, and now has another, or none.
    pub(super) fn hold(&mut self, before: Option<HandleKey>, after: Option<HandleKey>, id: &AccountId) {
        if before == after {
            return;
        }
        if let Some(key) = before {
            self.0.remove(&(key, id.clone()));
        }
        if let Some(key) = after {
            self.0.insert((key, id.clone()));
        }
    }

    /// The accounts that may have a handle, in order of id.
    pub(super) fn of(&self, key: HandleKey) -> impl Iterator<Item = &AccountId> {
        let from = Bound::Included((key, AccountId(Text::own(""))));
        let same = move |(other, _): &&(HandleKey, AccountId)| *other == key;
        self.0.range((from, Bound::Unbounded)).take_while(same).map(|(_, id)| id)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
