//! The index answers like plain lists, whatever was flushed, merged or reopened in between.

use proptest::prelude::*;

use super::*;
use crate::store::{SledOptions, SledStore};

#[derive(Clone, Debug)]
enum Step {
    Add(u64),
    Flush,
    Reopen,
    Compare,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u64..60).prop_map(Step::Add),
        1 => (200_u64..1500).prop_map(Step::Add),
        6 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::Compare),
    ];
    prop::collection::vec(step, 1..120)
}

fn run_steps(store: &Arc<dyn ProjectionStore>, steps: &[Step], dice: &mut Dice) {
    let mut index = Index::open(Arc::clone(store), "n").unwrap();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Add(count) => grow(&mut index, &mut model, *count),
            Step::Flush => {
                let cursor = index.cursor();
                index.flush(link_at(cursor)).unwrap();
                assert_eq!((index.mark().cursor, index.mark().link), (cursor, link_at(cursor)));
            }
            Step::Reopen => {
                let mark = index.mark();
                drop(index);
                index = Index::open(Arc::clone(store), "n").unwrap();
                assert_eq!((index.mark(), index.cursor()), (mark, mark.cursor));
                model = model_at(mark.cursor);
            }
            Step::Compare => compare(&index.view(), &model, dice).unwrap(),
        }
    }
    compare(&index.view(), &model, dice).unwrap();
    index.view().check().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_index_answers_like_plain_lists(steps in steps(), seed in 1_u64..u64::MAX) {
        run_steps(&memory(), &steps, &mut Dice(seed));
    }
}

#[test]
fn an_index_over_sled_answers_like_plain_lists() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SledStore::open(dir.path(), SledOptions::default()).unwrap()) as Arc<_>;
    let mut steps = Vec::new();
    for n in 0..90 {
        steps.extend([Step::Add(1 + n * 37 % 200), Step::Flush]);
        if n % 29 == 0 {
            steps.extend([Step::Compare, Step::Add(3), Step::Reopen]);
        }
    }
    run_steps(&store, &steps, &mut Dice(5));
}

#[test]
fn a_list_of_many_thousands_is_found_from_either_end() {
    let mut index = Index::open(memory(), "n").unwrap();
    for position in 0..30_000 {
        index.add(position, &[(1, b"all".to_vec())]).unwrap();
        if position % 4096 == 4095 {
            index.flush([0; 32]).unwrap();
        }
    }
    let last: Vec<u64> = (29_990..30_000).rev().collect();
    assert_eq!(index.postings(1, b"all", 0..u64::MAX, true, 10).unwrap(), last);
    assert_eq!(index.postings(1, b"all", 0..u64::MAX, false, usize::MAX).unwrap().len(), 30_000);
    let middle: Vec<u64> = (12_345..12_349).collect();
    assert_eq!(index.postings(1, b"all", 12_345..u64::MAX, false, 4).unwrap(), middle);
    let before: Vec<u64> = (12_340..12_345).rev().collect();
    assert_eq!(index.postings(1, b"all", 0..12_345, true, 5).unwrap(), before);
}

#[test]
fn a_gap_and_a_key_that_is_too_long_are_refused_and_change_nothing() {
    let mut index = Index::open(memory(), "n").unwrap();
    index.add(0, &[(1, vec![7; 512])]).unwrap();
    for (position, key) in [(0, 1), (2, 1), (1, 513)] {
        let refused = index.add(position, &[(1, vec![7; key])]);
        assert!(matches!(refused, Err(StoreError::Misuse(_))));
    }
    assert_eq!(index.cursor(), 1);
    index.flush([0; 32]).unwrap();
    assert_eq!(index.postings(1, &[7; 512], 0..9, false, 9).unwrap(), [0]);
}

#[test]
fn two_namespaces_of_a_store_are_two_indexes() {
    let store = memory();
    let mut one = Index::open(Arc::clone(&store), "one").unwrap();
    one.add(0, &[(1, b"k".to_vec())]).unwrap();
    one.flush([1; 32]).unwrap();
    let mut two = Index::open(Arc::clone(&store), "two").unwrap();
    assert_eq!(two.cursor(), 0);
    two.flush([0; 32]).unwrap();
    assert_eq!(store.namespaces().unwrap(), ["one", "two"]);
    store.drop_namespace("one").unwrap();
    assert_eq!(Index::open(store, "one").unwrap().cursor(), 0);
}
