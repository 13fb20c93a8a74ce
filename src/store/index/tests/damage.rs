//! An index over a store that lies: every answer is right or doubtful.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;
use crate::store::{SledOptions, SledStore, quiet_sled_panics};

/// An index of several runs in two tiers.
fn build(store: &Arc<dyn ProjectionStore>, flushes: u64, events: u64) -> Model {
    let mut index = Index::open(Arc::clone(store), "n").unwrap();
    let mut model = Model::default();
    for _ in 0..flushes {
        grow(&mut index, &mut model, events);
        index.flush(link_at(index.cursor())).unwrap();
    }
    model
}

/// Opens the index and compares all of it: the cursor at which it was right, or `None` where it was doubtful. Anything
/// else fails the test.
fn right_or_doubtful(store: &Arc<dyn ProjectionStore>, dice: &mut Dice) -> Option<u64> {
    let compared = Index::open(Arc::clone(store), "n").and_then(|index| {
        let cursor = index.cursor();
        assert_eq!(index.mark().link, if cursor == 0 { [0; 32] } else { link_at(cursor) });
        compare(&index.view(), &model_at(cursor), dice).map(|()| cursor)
    });
    match compared {
        Ok(cursor) => Some(cursor),
        Err(error) => {
            assert!(error.is_doubtful(), "{error}");
            None
        }
    }
}

fn sound_store() -> Arc<MemoryStore> {
    let memory = Arc::new(MemoryStore::new());
    build(&(Arc::clone(&memory) as Arc<_>), 12, 60);
    memory
}

/// The keys of the parts that the index consists of: not those of the manifest.
fn parts(memory: &MemoryStore) -> Vec<Vec<u8>> {
    memory.keys_of("n").into_iter().filter(|key| key[0] == b'R').collect()
}

#[test]
fn a_missing_part_is_never_taken_for_an_empty_one() {
    for part in parts(&sound_store()) {
        let memory = sound_store();
        memory.write("n", vec![(part.clone(), None)]).unwrap();
        assert_eq!(right_or_doubtful(&(memory as Arc<_>), &mut Dice(3)), None, "{part:?}");
    }
}

#[test]
fn a_flipped_bit_in_any_part_is_noticed() {
    let mut dice = Dice(11);
    for part in parts(&sound_store()) {
        let memory = sound_store();
        let mut value = memory.get("n", &part).unwrap().unwrap().to_vec();
        let bit = dice.below(value.len() as u64 * 8);
        value[bit as usize / 8] ^= 1 << (bit % 8);
        memory.write("n", vec![(part.clone(), Some(value))]).unwrap();
        assert_eq!(right_or_doubtful(&(memory as Arc<_>), &mut dice), None, "{part:?}");
    }
}

#[test]
fn a_part_in_the_place_of_another_is_noticed() {
    let memory = sound_store();
    let all = parts(&memory);
    for pair in all.windows(2) {
        let memory = sound_store();
        let other = memory.get("n", &pair[1]).unwrap().unwrap().to_vec();
        memory.write("n", vec![(pair[0].clone(), Some(other))]).unwrap();
        assert_eq!(right_or_doubtful(&(memory as Arc<_>), &mut Dice(3)), None, "{pair:?}");
    }
}

#[test]
fn pages_left_over_from_a_lost_future_are_never_taken_for_new_ones() {
    // The store falls back to an older manifest, and keeps pages that were written after it; the numbers of their runs
    // are used again for other positions; then some of the new pages are lost, and the old ones show.
    let memory = Arc::new(MemoryStore::new());
    let store = Arc::clone(&memory) as Arc<dyn ProjectionStore>;
    build(&store, 3, 60);
    let old_manifest = memory.get("n", b"M").unwrap().unwrap().to_vec();
    let mut index = Index::open(Arc::clone(&store), "n").unwrap();
    (180..300).for_each(|position| index.add(position, &[(1, b"lost future".to_vec())]).unwrap());
    index.flush([9; 32]).unwrap();
    drop(index);
    let stray: Vec<_> = parts(&memory).into_iter().filter(|key| key[8] == 3).collect();
    let stray: Vec<_> =
        stray.iter().map(|k| (k.clone(), memory.get("n", k).unwrap().map(|v| v.to_vec()))).collect();
    assert!(!stray.is_empty());
    memory.write("n", vec![(b"M".to_vec(), Some(old_manifest))]).unwrap();
    build(&store, 1, 60);
    assert!(right_or_doubtful(&store, &mut Dice(3)).is_some());
    for change in stray {
        let whole: Vec<_> = parts(&memory)
            .into_iter()
            .map(|k| (k.clone(), memory.get("n", &k).unwrap().map(|v| v.to_vec())))
            .collect();
        memory.write("n", vec![change]).unwrap();
        assert_eq!(right_or_doubtful(&store, &mut Dice(3)), None);
        memory.write("n", whole).unwrap();
    }
}

fn sled(dir: &Path) -> Result<Arc<dyn ProjectionStore>, StoreError> {
    SledStore::open(dir, SledOptions { flush_every_ms: 20, ..SledOptions::default() })
        .map(|s| Arc::new(s) as Arc<_>)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() { copy(&from, &to) } else { assert!(fs::copy(&from, &to).is_ok()) }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Flips bits, cuts, zeroes, overwrites or deletes, somewhere under `dir`.
fn damage(dir: &Path, dice: &mut Dice) {
    let files = files(dir);
    let largest = files.iter().max_by_key(|f| fs::metadata(f).unwrap().len()).unwrap();
    let file = if dice.below(4) == 0 { &files[dice.below(files.len() as u64) as usize] } else { largest };
    let mut bytes = fs::read(file).unwrap();
    let at = dice.below(bytes.len().max(1) as u64) as usize;
    let end = bytes.len().min(at + 1 + dice.below(20_000) as usize);
    match dice.below(12) {
        0 => bytes.truncate(at),
        1 => bytes[at..end].fill(0),
        2 => bytes[at..end].iter_mut().for_each(|b| *b = dice.next() as u8),
        3 => return fs::remove_file(file).unwrap(),
        _ => (0..1 + dice.below(8)).for_each(|_| {
            let at = dice.below(bytes.len().max(1) as u64) as usize;
            bytes[at..].iter_mut().take(1).for_each(|b| *b ^= 1 << dice.below(8));
        }),
    }
    // In place: sled has the file open in some of these tests.
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}

#[test]
fn a_killed_process_leaves_an_index_that_is_whole_at_an_earlier_cursor() {
    quiet_sled_panics();
    let (live, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = sled(live.path()).unwrap();
    let mut index = Index::open(Arc::clone(&store), "n").unwrap();
    let mut model = Model::default();
    for n in 0..40_u64 {
        grow(&mut index, &mut model, 60);
        index.flush(link_at(index.cursor())).unwrap();
        if n % 4 == 3 {
            store.flush().unwrap();
        }
        copy(live.path(), &copies.path().join(n.to_string()));
    }
    let mut whole = 0;
    for n in 0..40_u64 {
        let store = sled(&copies.path().join(n.to_string()));
        whole += usize::from(store.is_ok_and(|store| right_or_doubtful(&store, &mut Dice(n + 1)).is_some()));
    }
    assert!(whole >= 30, "only {whole} of 40 copies could be used");
}

#[test]
fn whatever_happens_to_its_files_between_two_runs_an_answer_is_right_or_doubtful() {
    quiet_sled_panics();
    let sound = tempfile::tempdir().unwrap();
    build(&sled(sound.path()).unwrap(), 30, 60);
    let mut tally = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    for seed in 1..=300 {
        let dir = tempfile::tempdir().unwrap();
        copy(sound.path(), dir.path());
        let mut dice = Dice(seed);
        damage(dir.path(), &mut dice);
        let begun = Instant::now();
        let outcome = match sled(dir.path()) {
            Ok(store) => right_or_doubtful(&store, &mut dice),
            Err(error) if error.is_doubtful() => None,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        *tally.entry(outcome).or_insert(0) += 1;
        let fresh = SledStore::fresh(dir.path(), SledOptions::default()).unwrap();
        assert_eq!(fresh.namespaces().unwrap(), Vec::<String>::new());
        slowest = slowest.max(begun.elapsed());
    }
    println!(
        "300 damaged stores, by the cursor they answer at (None: doubtful): {tally:?}; slowest {slowest:?}"
    );
    assert!(tally[&None] > 20, "hardly anything was noticed");
    assert!(tally.len() > 5, "sled falls back to many earlier moments, and each is whole");
}

#[test]
fn whatever_happens_to_its_files_while_it_runs_an_answer_is_right_or_doubtful() {
    quiet_sled_panics();
    let sound = tempfile::tempdir().unwrap();
    // Large enough that opening it does not bring all of it into memory.
    let model = build(&sled(sound.path()).unwrap(), 20, 900);
    let mut doubtful = 0;
    for seed in 1..=100 {
        let dir = tempfile::tempdir().unwrap();
        copy(sound.path(), dir.path());
        let (mut model, mut dice) = (model.clone(), Dice(seed));
        // Opened again, so that sled has its pages still to read from the file.
        let store = sled(dir.path()).unwrap();
        let mut index = Index::open(Arc::clone(&store), "n").unwrap();
        let mut work = || {
            for _ in 0..5 {
                damage(dir.path(), &mut dice);
                compare(&index.view(), &model, &mut dice)?;
                grow(&mut index, &mut model, 60);
                index.flush(link_at(index.cursor()))?;
                store.flush()?;
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = work() {
            assert!(error.is_doubtful(), "seed {seed}: {error}");
            doubtful += 1;
        }
    }
    println!("100 stores damaged five times while running: {doubtful} became doubtful");
    assert!(doubtful > 10, "hardly anything was noticed");
}
