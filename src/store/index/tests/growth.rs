//! Readers beside a writer, and what merging leaves behind.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::store::index::{MERGE_RUNS, TIER_RUNS_MAX};

#[test]
fn a_view_stays_as_it_was_while_the_index_is_flushed_and_merged() {
    let mut index = Index::open(memory(), "n").unwrap();
    let mut model = Model::default();
    let mut views = Vec::new();
    for n in 0..100 {
        grow(&mut index, &mut model, 20);
        if n % 9 == 4 {
            views.push(index.view());
        }
        index.flush(link_at(index.cursor())).unwrap();
        if n % 9 == 7 {
            views.push(index.view());
        }
    }
    for view in views {
        compare(&view, &model, &mut Dice(view.cursor() + 1)).unwrap();
    }
}

#[test]
fn readers_see_every_position_before_their_cursor_while_the_writer_works() {
    let mut index = Index::open(memory(), "n").unwrap();
    let reader = index.reader();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for position in 0..20_000 {
                index.add(position, &[(1, b"all".to_vec()), (2, position.to_be_bytes().to_vec())]).unwrap();
                if position % 150 == 0 {
                    index.flush([0; 32]).unwrap();
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut views = 0;
        while !done.load(Ordering::SeqCst) || views == 0 {
            let view = reader.view();
            let cursor = view.cursor();
            let all = view.postings(1, b"all", 0..u64::MAX, false, usize::MAX).unwrap();
            assert!(all.into_iter().eq(0..cursor), "a view at {cursor} is not whole");
            assert_eq!(view.keys(2, None, b"", usize::MAX).unwrap().len() as u64, cursor);
            views += 1;
        }
    });
}

#[test]
fn runs_stay_few_and_what_was_merged_away_is_removed() {
    let memory = Arc::new(MemoryStore::new());
    let store = Arc::clone(&memory) as Arc<dyn ProjectionStore>;
    let mut index = Index::open(store, "n").unwrap();
    let mut model = Model::default();
    for _ in 0..700 {
        grow(&mut index, &mut model, 3);
        index.flush([0; 32]).unwrap();
        let levels = index.shared.levels();
        let mut tiers = BTreeMap::new();
        levels.runs.iter().for_each(|run| *tiers.entry(run.record.tier).or_insert(0_usize) += 1);
        assert!(tiers.values().all(|&runs| runs <= TIER_RUNS_MAX), "{tiers:?}");
        assert!(tiers.len() <= 4, "{tiers:?}");
    }
    let live: Vec<u64> = index.shared.levels().runs.iter().map(|run| run.record.id).collect();
    assert!(live.len() < 3 * MERGE_RUNS);
    nothing_is_left_over(&memory, &index);
}

#[test]
fn pages_that_a_view_needs_outlive_their_run_and_go_after_it() {
    let memory = Arc::new(MemoryStore::new());
    let mut index = Index::open(Arc::clone(&memory) as Arc<_>, "n").unwrap();
    let mut model = Model::default();
    grow(&mut index, &mut model, 50);
    index.flush([0; 32]).unwrap();
    let view = index.view();
    let before = model.clone();
    for _ in 0..3 * MERGE_RUNS {
        grow(&mut index, &mut model, 5);
        index.flush([0; 32]).unwrap();
    }
    let has_first_run = || memory.keys_of("n").iter().any(|key| key.starts_with(b"R\0\0\0\0\0\0\0\0"));
    assert!(index.shared.levels().runs.iter().all(|run| run.record.id != 0), "it was merged away");
    assert!(has_first_run(), "but it is still being read");
    compare(&view, &before, &mut Dice(1)).unwrap();
    drop(view);
    index.flush([0; 32]).unwrap();
    assert!(!has_first_run());
}
