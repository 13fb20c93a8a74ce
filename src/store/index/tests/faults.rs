//! A store that fails, with and without effect, or loses power between any two changes.

use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::store::Change;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The call fails at its nth change; those before it are kept.
    FailsWithPart,
    /// The call fails, though all of it is kept.
    FailsButKept,
    /// From here on nothing is kept any more, and nothing fails.
    LosesPower,
}

/// A store in memory with one fault, after so many changes.
struct Faulty {
    inner: MemoryStore,
    fault: Fault,
    changes_left: Mutex<u64>,
}

impl Faulty {
    fn after(changes: u64, fault: Fault) -> Self {
        Self { inner: MemoryStore::new(), fault, changes_left: Mutex::new(changes) }
    }

    /// Whether the next change strikes the fault.
    fn strikes(&self) -> bool {
        let mut left = self.changes_left.lock().unwrap();
        let strikes = *left == 0;
        if !(strikes && self.fault == Fault::LosesPower) {
            *left = left.checked_sub(1).unwrap_or(u64::MAX);
        }
        strikes
    }
}

impl ProjectionStore for Faulty {
    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(namespace, key)
    }

    fn write(&self, namespace: &str, batch: Vec<Change>) -> Result<(), StoreError> {
        let mut failed = false;
        for change in batch {
            let strikes = self.strikes();
            match self.fault {
                Fault::LosesPower if strikes => return Ok(()),
                Fault::FailsWithPart if strikes => return Err(StoreError::Unavailable("no space".into())),
                _ => self.inner.write(namespace, vec![change])?,
            }
            failed |= strikes;
        }
        if failed { Err(StoreError::Unavailable("no answer".into())) } else { Ok(()) }
    }

    fn remove_prefix(&self, namespace: &str, prefix: &[u8]) -> Result<(), StoreError> {
        match (self.strikes(), self.fault) {
            (true, Fault::LosesPower) => return Ok(()),
            (true, Fault::FailsWithPart) => return Err(StoreError::Unavailable("no space".into())),
            _ => {}
        }
        self.inner.remove_prefix(namespace, prefix)
    }

    fn drop_namespace(&self, namespace: &str) -> Result<(), StoreError> {
        self.inner.drop_namespace(namespace)
    }

    fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        self.inner.namespaces()
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Thirty flushes, so that merges of two tiers begin and end; a failed one is tried again.
fn work(index: &mut Index, model: &mut Model) -> usize {
    let mut failures = 0;
    for n in 0..30 {
        grow(index, model, 12);
        while let Err(error) = index.flush(link_at(index.cursor())) {
            assert!(!error.is_doubtful(), "{error}");
            failures += 1;
        }
        if n == 12 {
            compare(&index.view(), model, &mut Dice(n + 1)).unwrap();
        }
    }
    failures
}

#[test]
fn a_failed_flush_loses_nothing_and_the_next_one_heals_it() {
    for fault in [Fault::FailsWithPart, Fault::FailsButKept] {
        let mut failures = 0;
        for changes in (0..120).step_by(1) {
            let store = Arc::new(Faulty::after(changes, fault));
            // An empty index removes what may be left of an older one, which is the first change.
            let Ok(mut index) = Index::open(store.clone(), "n") else { continue };
            let mut model = Model::default();
            failures += work(&mut index, &mut model);
            nothing_is_left_over(&store.inner, &index);
            drop(index);
            let index = Index::open(store.clone(), "n").unwrap();
            assert_eq!(index.cursor(), 30 * 12);
            nothing_is_left_over(&store.inner, &index);
            compare(&index.view(), &model, &mut Dice(changes + 1)).unwrap();
        }
        assert!(failures > 20, "the faults were hardly met: {failures}");
    }
}

#[test]
fn after_a_power_cut_between_any_two_changes_the_index_is_whole_at_an_earlier_cursor() {
    let mut cursors = Vec::new();
    for changes in 0..130 {
        let store = Arc::new(Faulty::after(changes, Fault::LosesPower));
        let mut index = Index::open(store.clone(), "n").unwrap();
        let mut model = Model::default();
        for _ in 0..30 {
            grow(&mut index, &mut model, 12);
            if index.flush(link_at(index.cursor())).is_err() {
                break; // it read back something that the cut took
            }
        }
        drop(index);
        *store.changes_left.lock().unwrap() = u64::MAX;
        let mut index = Index::open(store.clone(), "n").unwrap();
        nothing_is_left_over(&store.inner, &index);
        let cursor = index.cursor();
        assert_eq!(index.mark().link, if cursor == 0 { [0; 32] } else { link_at(cursor) });
        let mut model = model_at(cursor);
        compare(&index.view(), &model, &mut Dice(changes + 1)).unwrap();
        grow(&mut index, &mut model, 50);
        index.flush(link_at(index.cursor())).unwrap();
        compare(&index.view(), &model, &mut Dice(changes + 1)).unwrap();
        cursors.push(cursor);
    }
    assert!(cursors.is_sorted() && cursors[0] == 0);
    cursors.dedup();
    assert!(cursors.len() > 20, "{cursors:?}");
}
