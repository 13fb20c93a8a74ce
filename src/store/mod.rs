//! The projection store: answers to queries, kept so that they need not be folded from the log each time.
//!
//! Nothing here is the truth. A store may be deleted, cut or altered under a running server, and the engine behind it
//! ([`SledStore`]) neither commits safely on a power cut nor notices every flipped bit. So whatever is read back is
//! checked ([`Index`]), anything that does not check is [`StoreError::Doubtful`], and whoever meets that error throws
//! the projection away and builds it again from the log. There is no third way: an answer is right, or it is not given.

use bytes::Bytes;

#[cfg(test)]
#[macro_use]
mod contract;
pub mod index;
mod memory;
mod quiet;
mod sled;

pub use index::{Index, Mark, Reader, View};
pub use memory::MemoryStore;
pub use quiet::quiet_sled_panics;
pub use sled::{SledOptions, SledStore};

/// How much of what is stored an error calls into question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One namespace: build it again in another namespace and drop this one.
    Namespace,
    /// Everything in the store: open a fresh store ([`SledStore::fresh`]) and build every projection again.
    Store,
}

/// Why a store gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// What is stored cannot be trusted any more. Throw it away and rebuild it from the log; trying again is useless.
    #[error("the projection cannot be trusted and must be rebuilt: {reason}")]
    Doubtful {
        /// What has to be thrown away.
        scope: Scope,
        /// What was found, for the operator.
        reason: String,
    },
    /// The machine refused (no space, no permission, directory in use). What is stored is not in question, and the
    /// same call may succeed later.
    #[error("the projection store is unavailable: {0}")]
    Unavailable(String),
    /// The caller broke a rule of the index; nothing was changed.
    #[error("{0}")]
    Misuse(&'static str),
}

impl StoreError {
    /// One namespace is in doubt.
    pub(crate) fn doubtful(reason: impl Into<String>) -> Self {
        Self::Doubtful { scope: Scope::Namespace, reason: reason.into() }
    }

    /// The whole store is in doubt.
    pub(crate) fn broken(reason: impl Into<String>) -> Self {
        Self::Doubtful { scope: Scope::Store, reason: reason.into() }
    }

    /// Whether what is stored must be thrown away and built again.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        matches!(self, Self::Doubtful { .. })
    }
}

/// One change of a batch: the key, and its new value or `None` to remove it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Namespaces of keys with opaque values.
///
/// # Failure contract
/// A store promises little, and callers rely on no more: a value read may be older than the last one written, may be
/// missing, and (after damage) may be other bytes altogether; callers check what they read. A failed call may have
/// had any part of its effect. After [`Scope::Store`] doubt every later call fails alike.
pub trait ProjectionStore: Send + Sync {
    /// The value of `key`; `None` where there is none, or no such namespace.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`] or [`StoreError::Unavailable`].
    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Applies `batch` in its order, making the namespace where it is new. Not atomic: a crash may keep the first part
    /// of it. Sorted keys are cheapest.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`] or [`StoreError::Unavailable`].
    fn write(&self, namespace: &str, batch: Vec<Change>) -> Result<(), StoreError>;

    /// Removes every key that begins with `prefix`.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`] or [`StoreError::Unavailable`].
    fn remove_prefix(&self, namespace: &str, prefix: &[u8]) -> Result<(), StoreError>;

    /// Removes a namespace and all its keys; no error where there is none.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`] or [`StoreError::Unavailable`].
    fn drop_namespace(&self, namespace: &str) -> Result<(), StoreError>;

    /// The namespaces that exist, sorted.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`] or [`StoreError::Unavailable`].
    fn namespaces(&self) -> Result<Vec<String>, StoreError>;

    /// Hands everything written so far to the operating system.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`] or [`StoreError::Unavailable`].
    fn flush(&self) -> Result<(), StoreError>;
}
