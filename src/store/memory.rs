//! A projection store in memory: for tests, and for ledgers that live as long as their process.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{Change, ProjectionStore, StoreError};

type Namespaces = BTreeMap<String, BTreeMap<Vec<u8>, Bytes>>;

/// A [`ProjectionStore`] that is gone when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore {
    namespaces: RwLock<Namespaces>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All keys of a namespace.
    #[cfg(test)]
    pub(crate) fn keys_of(&self, namespace: &str) -> Vec<Vec<u8>> {
        self.read().get(namespace).map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Namespaces> {
        self.namespaces.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Namespaces> {
        self.namespaces.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProjectionStore for MemoryStore {
    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read().get(namespace).and_then(|keys| keys.get(key)).cloned())
    }

    fn write(&self, namespace: &str, batch: Vec<Change>) -> Result<(), StoreError> {
        let mut namespaces = self.change();
        let keys = namespaces.entry(namespace.to_owned()).or_default();
        for (key, value) in batch {
            match value {
                Some(value) => drop(keys.insert(key, value.into())),
                None => drop(keys.remove(&key)),
            }
        }
        Ok(())
    }

    fn remove_prefix(&self, namespace: &str, prefix: &[u8]) -> Result<(), StoreError> {
        if let Some(keys) = self.change().get_mut(namespace) {
            keys.retain(|key, _| !key.starts_with(prefix));
        }
        Ok(())
    }

    fn drop_namespace(&self, namespace: &str) -> Result<(), StoreError> {
        self.change().remove(namespace);
        Ok(())
    }

    fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.read().keys().cloned().collect())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryStore;

    projection_store_contract!(|| (MemoryStore::new(), ()));
}
