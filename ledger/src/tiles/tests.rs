use super::*;
use crate::disk::testing::{FaultyDisk, MemoryDisk};
use crate::log::{AppendError, Tail};
use crate::tree::leaf;
use crate::types::Link;

pub(super) const DIR: &str = "/data/ledgers/default/tree";

/// A log of so many entries, which are no entries: to the tree they are bytes.
pub(super) struct Entries(pub(super) u64);

pub(super) fn entry(position: u64) -> Vec<u8> {
    format!("entry {position}").into_bytes()
}

impl LogStore for Entries {
    fn tail(&self) -> Tail {
        Tail { next: Position(self.0), ..Tail::default() }
    }

    fn append(&self, _: Position, _: &[Record]) -> Result<Tail, AppendError> {
        Err(AppendError::Stopped("it is as it is".into()))
    }

    fn read(&self, from: Position, _: usize) -> Result<Vec<Record>, ReadError> {
        let positions = from.0..self.0.min(from.0 + 1_000);
        Ok(positions.map(|p| Record::new(entry(p).into(), Link::default(), (0, 1))).collect())
    }
}

/// The frontiers of the first `size` entries, one for each size.
pub(super) fn frontiers(size: u64) -> Vec<Frontier> {
    let mut frontiers = vec![Frontier::default()];
    for position in 0..size {
        let mut next = frontiers[frontiers.len() - 1].clone();
        next.push(leaf(&entry(position)));
        frontiers.push(next);
    }
    frontiers
}

pub(super) fn open_on(disk: &MemoryDisk, trusted: &[Frontier]) -> TreeStore {
    TreeStore::open(Arc::new(disk.clone()), Path::new(DIR), trusted)
}

pub(super) fn built(disk: &MemoryDisk, size: u64) -> TreeStore {
    let store = open_on(disk, &[]);
    store.catch_up(&Entries(size)).unwrap();
    store
}

/// Everything that a tree of these frontiers can be asked, for some places and sizes.
fn proves(store: &TreeStore, frontiers: &[Frontier]) -> Result<(), TreeError> {
    let whole = frontiers.len() as u64 - 1;
    for n in 0..60 {
        let size = (n * n * 977 + n + 1) % whole + 1;
        let tree = frontiers[size as usize].head();
        assert_eq!(store.head_at(size)?, tree);
        let (place, old) = ((n * 7919) % size, (n * 104_729) % (size + 1));
        let leaf = leaf(&entry(place));
        let proof = store.inclusion(&tree, place, &leaf)?;
        assert_eq!(check_inclusion(&proof, &tree, place, &leaf), Ok(()));
        assert!(proof.len() as u32 <= u64::BITS - (size - 1).leading_zeros());
        let (before, proof) = store.consistency(old, &tree)?;
        assert_eq!(before, frontiers[old as usize].head());
        assert_eq!(check_consistency(&proof, &before, &tree), Ok(()));
    }
    Ok(())
}

#[test]
fn a_tree_proves_every_leaf_and_every_earlier_tree_before_and_after_it_was_stored() {
    let sizes = [1, 2, 255, 256, 257, 2_048, 2_049, 70_000];
    let frontiers = frontiers(70_000);
    for size in sizes {
        let disk = MemoryDisk::new();
        let store = built(&disk, size);
        assert_eq!(store.head(), frontiers[size as usize].head());
        proves(&store, &frontiers[..=size as usize]).unwrap();
        store.flush().unwrap();
        let again = open_on(&disk, &frontiers[size as usize..=size as usize]);
        assert_eq!(again.head().size, size);
        proves(&again, &frontiers[..=size as usize]).unwrap();
    }
}

#[test]
fn what_is_not_there_is_said_to_be_beyond() {
    let store = built(&MemoryDisk::new(), 300);
    let tree = store.head();
    assert!(matches!(store.head_at(301), Err(TreeError::Beyond { size: 300, asked: 301 })));
    assert!(matches!(store.inclusion(&tree, 300, &tree.root), Err(TreeError::Beyond { asked: 300, .. })));
    assert!(matches!(store.consistency(301, &tree), Err(TreeError::Beyond { asked: 301, .. })));
    assert!(matches!(store.hashes(0, 290, 11), Err(TreeError::Beyond { asked: 301, .. })));
    assert!(matches!(store.hashes(1, 0, 2), Err(TreeError::Beyond { .. })));
    assert!(matches!(store.hashes(7, u64::MAX, 2), Err(TreeError::Beyond { .. })));
    assert_eq!(store.hashes(0, 290, 10).unwrap().len(), 10);
    let other = TreeHead { size: u64::MAX, root: tree.root };
    assert!(matches!(store.inclusion(&other, 0, &tree.root), Err(TreeError::Beyond { .. })));
}

#[test]
fn a_start_goes_on_from_the_newest_frontier_that_the_files_hold() {
    let frontiers = frontiers(10_000);
    let trusted: Vec<Frontier> =
        [2_000, 4_096, 4_097, 9_000].map(|size: usize| frontiers[size].clone()).into();
    let disk = MemoryDisk::new();
    let store = built(&disk, 5_000);
    store.flush().unwrap();
    let again = open_on(&disk, &trusted);
    assert_eq!(again.head(), frontiers[4_097].head());
    again.catch_up(&Entries(10_000)).unwrap();
    assert_eq!(again.head(), frontiers[10_000].head());
    proves(&again, &frontiers).unwrap();
    again.flush().unwrap();
    proves(&open_on(&disk, &trusted), &frontiers[..=9_000]).unwrap();

    // A level that ends early, one that is gone, and a frontier of another log.
    let short = disk.copy();
    let bytes = short.bytes(&Path::new(DIR).join("level-0")).unwrap();
    short.put(&Path::new(DIR).join("level-0"), &bytes[..4_096 * 32 + 31]);
    assert_eq!(open_on(&short, &trusted).head(), frontiers[4_096].head());
    short.remove(&Path::new(DIR).join("level-1")).unwrap();
    assert_eq!(open_on(&short, &trusted).head().size, 0);
    let mut foreign = Frontier::default();
    (0..5_000).for_each(|n| foreign.push(leaf(&entry(n + 1))));
    assert_eq!(open_on(&disk, &[foreign]).head().size, 0);
}

#[test]
fn leaves_that_are_known_or_come_too_early_do_no_harm() {
    let frontiers = frontiers(40);
    let leaves: Vec<Hash> = (0..40).map(|n| leaf(&entry(n))).collect();
    let store = open_on(&MemoryDisk::new(), &[]);
    store.extend(3, &leaves[3..]);
    assert_eq!(store.head().size, 0, "what stands before them is missing");
    store.extend(0, &leaves[..10]);
    store.extend(5, &leaves[5..20]);
    store.extend(0, &leaves[..7]);
    assert_eq!(store.head(), frontiers[20].head());
    store.extend(21, &leaves[21..]);
    assert_eq!(store.head().size, 20);
    store.catch_up(&Entries(40)).unwrap();
    assert_eq!(store.head(), frontiers[40].head());
}

#[test]
fn a_stored_hash_that_was_changed_is_never_part_of_a_proof_and_is_made_anew() {
    let frontiers = frontiers(9_000);
    let whole = MemoryDisk::new();
    built(&whole, 9_000).flush().unwrap();
    let mut noticed = 0;
    for (level, step) in [("level-0", 9_973), ("level-1", 41)] {
        let path = Path::new(DIR).join(level);
        for byte in (0..whole.bytes(&path).unwrap().len()).step_by(step) {
            let disk = whole.copy();
            disk.flip(&path, byte, 1 << (byte % 8));
            let store = open_on(&disk, &frontiers[9_000..]);
            if store.head().size == 9_000 {
                match proves(&store, &frontiers) {
                    // Not every hash is asked for.
                    Ok(()) => continue,
                    Err(TreeError::Doubtful) => {}
                    Err(other) => panic!("{other}"),
                }
                assert!(matches!(store.head_at(1), Err(TreeError::Doubtful)), "until it was made anew");
            }
            noticed += 1;
            store.catch_up(&Entries(9_000)).unwrap();
            proves(&store, &frontiers).unwrap();
        }
    }
    assert!(noticed > 20, "{noticed}");
}

#[test]
fn a_full_disk_stops_nothing_and_is_made_up_for() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let frontiers = frontiers(200_000);
    let store = TreeStore::open(Arc::new(disk.clone()), Path::new(DIR), &[]);
    disk.set_full(true);
    store.catch_up(&Entries(30_000)).unwrap();
    assert_eq!(store.head(), frontiers[30_000].head());
    proves(&store, &frontiers[..=30_000]).unwrap();
    assert!(store.flush().is_err());
    // Memory is bounded, so it gives up at some time, and begins anew when it is asked to.
    store.catch_up(&Entries(200_000)).unwrap();
    assert!(matches!(store.head_at(1), Err(TreeError::Doubtful)));
    disk.set_full(false);
    store.catch_up(&Entries(200_000)).unwrap();
    proves(&store, &frontiers).unwrap();
}

#[test]
fn a_log_that_was_changed_while_the_tree_was_doubtful_is_not_taken_for_what_it_was() {
    let frontiers = frontiers(5_000);
    for (first, doubted, ok) in
        [(9_999, 4_000, true), (0, 4_000, false), (3_999, 4_000, false), (4_000, 4_000, true)]
    {
        let store = built(&MemoryDisk::new(), doubted);
        store.distrust();
        // It is read again from the disk, where somebody has written meanwhile.
        let log = Changed { size: 5_000, first };
        match store.catch_up(&log) {
            Ok(()) => assert!(ok, "{first}"),
            Err(TreeError::Rewritten { size }) => assert_eq!((size, ok), (doubted, false)),
            Err(other) => panic!("{other}"),
        }
        assert_eq!(store.head() == frontiers[5_000].head(), ok && first > 5_000);
        if !ok {
            // Nor later, nor where the log is as it was again: somebody has to look.
            store.extend(doubted, &[[1; 32]]);
            assert!(matches!(store.catch_up(&log), Err(TreeError::Rewritten { .. })));
            assert!(matches!(store.catch_up(&Entries(5_000)), Err(TreeError::Rewritten { .. })));
            assert!(matches!(store.head_at(1), Err(TreeError::Doubtful)));
        }
    }
    // Doubted twice, it must still become what it was at first.
    let store = built(&MemoryDisk::new(), 4_000);
    store.distrust();
    store.catch_up(&Entries(1_000)).unwrap();
    store.distrust();
    assert!(matches!(
        store.catch_up(&Changed { size: 5_000, first: 2_000 }),
        Err(TreeError::Rewritten { size: 4_000 })
    ));
}

#[test]
fn what_is_doubtful_is_mended_when_it_is_asked_for() {
    let frontiers = frontiers(9_000);
    let whole = MemoryDisk::new();
    built(&whole, 9_000).flush().unwrap();
    let disk = whole.copy();
    disk.flip(&Path::new(DIR).join("level-0"), 4_000 * 32, 1);
    let store = open_on(&disk, &frontiers[9_000..]);
    let tree = store.head();
    let leaf = leaf(&entry(4_001));
    let told = std::cell::Cell::new(0);
    let tell = || told.set(told.get() + 1);
    let proof = store.mended(&Entries(9_000), tell, |store| store.inclusion(&tree, 4_001, &leaf)).unwrap();
    assert_eq!(told.get(), 1);
    assert!(check_inclusion(&proof, &tree, 4_001, &leaf).is_ok());
    proves(&store, &frontiers).unwrap();
    let beyond = store.mended(&Entries(9_000), tell, |store| store.inclusion(&tree, 9_000, &leaf));
    assert!(matches!(beyond, Err(TreeError::Beyond { .. })));
    assert_eq!(told.get(), 1, "only where it is doubtful");
}

/// A log of so many entries, of which the one at a position is another one.
struct Changed {
    size: u64,
    first: u64,
}

impl LogStore for Changed {
    fn tail(&self) -> Tail {
        Entries(self.size).tail()
    }

    fn append(&self, _: Position, _: &[Record]) -> Result<Tail, AppendError> {
        Err(AppendError::Stopped("it is as it is".into()))
    }

    fn read(&self, from: Position, bytes: usize) -> Result<Vec<Record>, ReadError> {
        let mut records = Entries(self.size).read(from, bytes)?;
        let at = self.first.checked_sub(from.0).and_then(|at| records.get_mut(usize::try_from(at).unwrap()));
        if let Some(record) = at {
            *record = Record::new(b"another entry".to_vec().into(), Link::default(), (0, 1));
        }
        Ok(records)
    }
}
