//! Any sequence of inserts, jobs, restarts and power cuts, against a map that forgets nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::test_disk::{Survives, TestDisk};
use super::super::{IdIndex, IdOptions};
use super::{UID, do_all_jobs, key, open};
use crate::entry::IdKey;
use crate::types::Position;

#[derive(Clone, Debug)]
enum Act {
    Insert(Vec<IdKey>),
    OneJob,
    AllJobs,
    Reopen { unit: usize },
    PowerCut(Survives),
    Reset,
}

/// Few keys, so that they repeat; neighbours, so that filters err; and the ends of the range.
fn any_key() -> impl Strategy<Value = IdKey> {
    prop_oneof![
        4 => (0..400_u64).prop_map(key),
        2 => (0..8_u64).prop_map(key),
        2 => (0..6_u64).prop_map(|n| IdKey(key(0).0 + n)),
        1 => prop_oneof![Just(IdKey(0)), Just(IdKey(1)), Just(IdKey(u64::MAX)), Just(IdKey(u64::MAX - 1))],
    ]
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => prop::collection::vec(any_key(), 1..40).prop_map(Act::Insert),
        8 => Just(Act::OneJob),
        3 => Just(Act::AllJobs),
        2 => (1..12_usize).prop_map(|unit| Act::Reopen { unit }),
        2 => prop_oneof![
            Just(Act::PowerCut(Survives::Synced)),
            Just(Act::PowerCut(Survives::Names)),
            Just(Act::PowerCut(Survives::Everything))
        ],
        1 => Just(Act::Reset),
    ]
}

/// The index, its disk, and the log from which it can be fed at any time.
struct Scene {
    disk: TestDisk,
    options: IdOptions,
    index: IdIndex,
    log: Vec<IdKey>,
}

impl Scene {
    fn act(&mut self, act: Act) {
        match act {
            Act::Insert(keys) => self.log.extend(keys),
            Act::OneJob => drop(self.index.maintain().unwrap()),
            Act::AllJobs => do_all_jobs(&mut self.index),
            Act::Reopen { unit } => {
                self.options.memtable_entries_max = unit;
                self.index = open(&self.disk, self.options);
            }
            Act::PowerCut(survives) => {
                self.disk = self.disk.after_power_cut(survives);
                self.index = open(&self.disk, self.options);
            }
            Act::Reset => self.index.reset().unwrap(),
        }
        self.feed();
    }

    fn feed(&mut self) {
        while let Some(key) = self.log.get(self.index.covered().0 as usize) {
            self.index.insert(*key, self.index.covered());
        }
    }

    fn check(&self) {
        let mut model: BTreeMap<IdKey, Vec<Position>> = BTreeMap::new();
        for (n, key) in (0..).zip(&self.log) {
            model.entry(*key).or_default().push(Position(n));
        }
        assert_eq!(self.index.covered().0 as usize, self.log.len());
        for key in (0..400).map(key).chain(self.log.iter().copied()) {
            let expected = model.get(&key).cloned().unwrap_or_default();
            assert_eq!(self.index.candidates(key).unwrap(), expected, "{key:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_knows_exactly_what_was_fed_whatever_happens_between(
        unit in 1..12_usize,
        slice in 1..30_usize,
        acts in prop::collection::vec(any_act(), 1..60),
    ) {
        let disk = TestDisk::new();
        let options =
            IdOptions { memtable_entries_max: unit, merge_slice_entries_max: slice, ..IdOptions::new(UID) };
        let mut scene = Scene { index: open(&disk, options), disk, options, log: Vec::new() };
        for act in acts {
            scene.act(act);
            scene.check();
        }
        do_all_jobs(&mut scene.index);
        scene.check();
    }
}
