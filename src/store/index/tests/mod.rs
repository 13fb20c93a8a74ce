//! The index against a model, under failures, and over a damaged store.

mod damage;
mod faults;
mod figures;
mod growth;
mod model;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Index, View};
use crate::store::{MemoryStore, ProjectionStore, StoreError};

/// What an index must answer: plain lists.
#[derive(Clone, Default)]
struct Model {
    lists: BTreeMap<(u8, Vec<u8>), Vec<u64>>,
}

impl Model {
    fn add(&mut self, position: u64, keys: &[(u8, Vec<u8>)]) {
        for key in keys {
            let list = self.lists.entry(key.clone()).or_default();
            if list.last() != Some(&position) {
                list.push(position);
            }
        }
    }

    fn postings(
        &self,
        key: &(u8, Vec<u8>),
        range: std::ops::Range<u64>,
        reverse: bool,
        limit: usize,
    ) -> Vec<u64> {
        let all = self.lists.get(key).cloned().unwrap_or_default();
        let mut within: Vec<u64> = all.into_iter().filter(|p| range.contains(p)).collect();
        if reverse {
            within.reverse();
        }
        within.truncate(limit);
        within
    }

    fn keys(&self, tag: u8, after: Option<&[u8]>, prefix: &[u8], limit: usize, cursor: u64) -> Vec<Vec<u8>> {
        let known = self.lists.iter().filter(|(_, list)| list[0] < cursor);
        let keys = known.filter(|((t, _), _)| *t == tag).map(|((_, key), _)| key.clone());
        let wanted = keys.filter(|k| k.starts_with(prefix) && after.is_none_or(|a| k.as_slice() > a));
        wanted.take(limit).collect()
    }
}

/// About how many lists a comparison looks at, chosen by its dice.
const LISTS_COMPARED: u64 = 100;

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 8) % end
    }
}

/// The keys of an event: one that all share, one of a few, some of many, and now and then none.
fn keys_of(position: u64) -> Vec<(u8, Vec<u8>)> {
    let mut dice = Dice(position * 2 + 0x9e37_79b9_7f4a_7c15);
    if dice.below(20) == 0 {
        return Vec::new();
    }
    let account = format!("acct/{:04}", dice.below(150));
    let token = format!("token/{:016x}", dice.next());
    let actor = vec![b'a'; 1 + dice.below(9) as usize];
    vec![
        (0, Vec::new()),
        (1, account.clone().into_bytes()),
        (1, account.into_bytes()),
        (2, token.into_bytes()),
        (3, actor),
        (255, dice.below(7).to_be_bytes().to_vec()),
    ]
}

fn link_at(cursor: u64) -> [u8; 32] {
    let mut link = [0; 32];
    link[..8].copy_from_slice(&cursor.to_le_bytes());
    link
}

/// Indexes the next `count` positions in both.
fn grow(index: &mut Index, model: &mut Model, count: u64) {
    for position in index.cursor()..index.cursor() + count {
        let keys = keys_of(position);
        index.add(position, &keys).unwrap();
        model.add(position, &keys);
    }
}

/// The model of the first `cursor` positions.
fn model_at(cursor: u64) -> Model {
    let mut model = Model::default();
    (0..cursor).for_each(|position| model.add(position, &keys_of(position)));
    model
}

/// Compares everything a view can say with the model. An error is handed out; a wrong answer fails the test.
fn compare(view: &View, model: &Model, dice: &mut Dice) -> Result<(), StoreError> {
    let cursor = view.cursor();
    for tag in [0, 1, 2, 3, 4, 255] {
        let limit = [1, 3, 10_000][dice.below(3) as usize];
        let keys = view.keys(tag, None, b"", limit)?;
        assert_eq!(keys, model.keys(tag, None, b"", limit, cursor), "keys of tag {tag}");
    }
    for prefix in ["acct/00", "acct/0012", "b", "aaa"] {
        for after in [None, Some("acct/0004"), Some("acct/001"), Some("aaaa"), Some("z")] {
            let (prefix, after) = (prefix.as_bytes(), after.map(str::as_bytes));
            for tag in [1, 3] {
                assert_eq!(view.keys(tag, after, prefix, 12)?, model.keys(tag, after, prefix, 12, cursor));
            }
        }
    }
    let mut asked =
        vec![(0, Vec::new()), (1, b"acct/0000x".to_vec()), (2, b"".to_vec()), (9, b"none".to_vec())];
    let every = model.lists.len() as u64 / LISTS_COMPARED + 1;
    asked.extend(model.lists.keys().filter(|_| dice.below(every) == 0).cloned());
    for key in asked {
        compare_list(view, model, &key, dice)?;
    }
    Ok(())
}

fn compare_list(view: &View, model: &Model, key: &(u8, Vec<u8>), dice: &mut Dice) -> Result<(), StoreError> {
    let cursor = view.cursor();
    let start = dice.below(cursor + 1);
    let end = start + dice.below(cursor + 2);
    for range in [0..u64::MAX, start..end, end..start] {
        for reverse in [false, true] {
            for limit in [0, 1, 5, usize::MAX] {
                let found = view.postings(key.0, &key.1, range.clone(), reverse, limit)?;
                let expected = model.postings(key, range.start..range.end.min(cursor), reverse, limit);
                assert_eq!(found, expected, "{key:?} {range:?} reverse {reverse} limit {limit}");
            }
        }
    }
    Ok(())
}

fn memory() -> Arc<dyn ProjectionStore> {
    Arc::new(MemoryStore::new())
}

/// Every part in the store belongs to the index, or to a merge under way.
fn nothing_is_left_over(store: &MemoryStore, index: &Index) {
    let mut used: Vec<u64> = index.shared.levels().runs.iter().map(|run| run.record.id).collect();
    used.extend(index.merges.iter().map(|merge| merge.id()));
    for key in store.keys_of("n") {
        if let Some(run) = key.strip_prefix(b"R") {
            let id = u64::from_be_bytes(*run.first_chunk().unwrap());
            assert!(used.contains(&id), "parts of run {id} were left over, {used:?} are in use");
        }
    }
}
