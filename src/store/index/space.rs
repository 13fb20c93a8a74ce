//! The keys of one index in its namespace, and the check that ties each value to its place.

use std::sync::Arc;

use bytes::Bytes;

use crate::store::{Change, ProjectionStore, StoreError};

const MANIFEST: &[u8] = b"M";

/// What part of a run a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A piece of the list of its pages.
    Directory,
    /// A page of positions.
    Page,
}

/// One namespace of a store.
pub(super) struct Space {
    store: Arc<dyn ProjectionStore>,
    namespace: String,
}

impl Space {
    pub(super) fn new(store: Arc<dyn ProjectionStore>, namespace: &str) -> Self {
        Self { store, namespace: namespace.to_owned() }
    }

    /// CRC-32 over the place of a value and the value: a sound page in the wrong place fails too.
    pub(super) fn check(&self, place: &[u8], bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.namespace.as_bytes());
        hasher.update(&[0]);
        hasher.update(place);
        hasher.update(bytes);
        hasher.finalize()
    }

    /// The check of part `number` of a run.
    pub(super) fn check_part(&self, run: u64, part: Part, number: u32, bytes: &[u8]) -> u32 {
        self.check(&part_key(run, part, number), bytes)
    }

    /// Part `number` of a run, which must be there.
    pub(super) fn part(&self, run: u64, part: Part, number: u32) -> Result<Bytes, StoreError> {
        let found = self.store.get(&self.namespace, &part_key(run, part, number))?;
        found.ok_or_else(|| StoreError::doubtful(format!("{part:?} {number} of run {run} is missing")))
    }

    /// Part `number` of a run, which must have this check.
    pub(super) fn checked_part(
        &self,
        run: u64,
        part: Part,
        number: u32,
        check: u32,
    ) -> Result<Bytes, StoreError> {
        let bytes = self.part(run, part, number)?;
        if self.check_part(run, part, number, &bytes) != check {
            return Err(StoreError::doubtful(format!(
                "{part:?} {number} of run {run} is not what was written"
            )));
        }
        Ok(bytes)
    }

    pub(super) fn write_parts(&self, batch: Vec<Change>) -> Result<(), StoreError> {
        self.store.write(&self.namespace, batch)
    }

    pub(super) fn manifest(&self) -> Result<Option<Bytes>, StoreError> {
        self.store.get(&self.namespace, MANIFEST)
    }

    pub(super) fn write_manifest(&self, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.store.write(&self.namespace, vec![(MANIFEST.to_vec(), Some(bytes))])
    }

    pub(super) fn remove_run(&self, run: u64) -> Result<(), StoreError> {
        self.store.remove_prefix(&self.namespace, &run_prefix(run))
    }

    pub(super) fn remove_all_runs(&self) -> Result<(), StoreError> {
        self.store.remove_prefix(&self.namespace, b"R")
    }
}

impl std::fmt::Debug for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Space").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

fn run_prefix(run: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(14);
    key.push(b'R');
    key.extend_from_slice(&run.to_be_bytes());
    key
}

/// The key under which a part of a run is kept. Pages of a run are neighbours, in order.
pub(super) fn part_key(run: u64, part: Part, number: u32) -> Vec<u8> {
    let mut key = run_prefix(run);
    key.push(match part {
        Part::Directory => b'd',
        Part::Page => b'p',
    });
    key.extend_from_slice(&number.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn the_same_bytes_have_another_check_in_every_place() {
        let space = Space::new(Arc::new(MemoryStore::new()), "n");
        let check = |run, part, number| space.check_part(run, part, number, b"bytes");
        let places = [
            check(1, Part::Page, 2),
            check(2, Part::Page, 2),
            check(1, Part::Page, 3),
            check(1, Part::Directory, 2),
        ];
        for (nth, place) in places.iter().enumerate() {
            assert!(!places[..nth].contains(place), "{nth}");
        }
    }
}
