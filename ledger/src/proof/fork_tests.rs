use proptest::prelude::*;

use super::*;
use crate::checkpoint::{LocalSigner, PrivateKey, Signer, VerifierKey};
use crate::disk::testing::MemoryDisk;
use crate::tiles::TreeStore;
use crate::tree::leaf;
use crate::types::LedgerName;

fn private(seed: u8) -> PrivateKey {
    PrivateKey::new("ledger.example.org".parse().unwrap(), &[seed; 32])
}

fn public(seed: u8) -> VerifierKey {
    private(seed).verifier(&LedgerName::default())
}

fn keys(seeds: &[u8]) -> LogKeys {
    LogKeys::new(seeds.iter().map(|seed| public(*seed)).collect()).unwrap()
}

/// The tree of a log whose entries are those of the branch 0 up to `forks_at`, and then those of `branch`.
fn tree(size: u64, forks_at: u64, branch: u64) -> TreeStore {
    let tree = TreeStore::open(std::sync::Arc::new(MemoryDisk::new()), std::path::Path::new("/tree"), &[]);
    let leaf_at = |n: u64| leaf(format!("{n} of {}", if n < forks_at { 0 } else { branch }).as_bytes());
    tree.extend(0, &(0..size).map(leaf_at).collect::<Vec<_>>());
    tree
}

fn signed(seed: u8, head: TreeHead) -> Signed {
    let note = LocalSigner::new(&private(seed), &LedgerName::default(), None).sign(head, &[]).unwrap();
    keys(&[seed]).open(&note).unwrap()
}

/// What a log signed of branch 1 at one size, and of branch 2 at another.
fn forked(one: u64, other: u64, forks_at: u64) -> Result<Fork, BadProof> {
    let (first, second) = (tree(one, forks_at, 1), tree(other, forks_at, 2));
    let (small, large) = if one <= other { (&first, &second) } else { (&second, &first) };
    let path = large.consistency(small.head().size, &large.head()).unwrap();
    Fork::between(&signed(1, first.head()), &signed(1, second.head()), Some((path.0.root, path.1)))
}

#[test]
fn two_histories_of_one_log_are_shown_by_a_file_and_a_key_at_every_pair_of_sizes() {
    for one in [1, 2, 3, 8, 9, 17, 64] {
        for other in [1, 2, 4, 7, 8, 31, 64, 65] {
            let fork = forked(one, other, 0).unwrap();
            let read = Fork::parse(&fork.to_bytes()).unwrap();
            assert_eq!(read, fork);
            assert_eq!(read.path.is_none(), one == other);
            let [small, large] = read.verify(&keys(&[1])).unwrap();
            let sizes = (small.checkpoint.tree.size, large.checkpoint.tree.size);
            assert_eq!(sizes, (one.min(other), one.max(other)));
        }
    }
}

#[test]
fn a_log_that_only_grew_cannot_be_accused() {
    for (one, other) in [(1, 2), (3, 7), (8, 8), (8, 16), (5, 64)] {
        // They part only behind both, or behind the smaller one.
        assert!(forked(one, other, 64).is_err(), "{one} {other}");
        let larger = tree(other, 64, 0);
        let (small, large) = (signed(1, tree(one, 64, 0).head()), signed(1, larger.head()));
        let (before, hashes) = larger.consistency(one, &larger.head()).unwrap();
        for old in [before.root, [7; 32], large.checkpoint.tree.root] {
            for hashes in [hashes.clone(), Vec::new(), [&hashes[..], &[[7; 32]]].concat()] {
                assert!(Fork::between(&small, &large, Some((old, hashes.clone()))).is_err());
                let made = Fork {
                    smaller: small.note.clone(),
                    larger: large.note.clone(),
                    path: Some((old, hashes)),
                };
                assert!(Fork::parse(&made.to_bytes()).and_then(|fork| fork.verify(&keys(&[1]))).is_err());
            }
        }
        assert!(Fork::between(&small, &large, None).is_err());
    }
}

#[test]
fn notes_of_another_key_or_log_and_notes_in_another_order_are_no_evidence() {
    let fork = forked(5, 9, 3).unwrap();
    assert!(fork.verify(&keys(&[2])).is_err());
    assert!(fork.verify(&keys(&[2, 1])).is_ok());
    let other = LogKeys::new(vec![private(1).verifier(&"other".parse().unwrap())]).unwrap();
    assert!(fork.verify(&other).is_err());
    let swapped =
        Fork { smaller: fork.larger.clone(), larger: fork.smaller.clone(), path: fork.path.clone() };
    assert!(Fork::parse(&swapped.to_bytes()).and_then(|fork| fork.verify(&keys(&[1]))).is_err());
    let equal = forked(5, 5, 3).unwrap();
    let swapped = Fork { smaller: equal.larger.clone(), larger: equal.smaller.clone(), path: None };
    assert!(swapped.verify(&keys(&[1])).is_err(), "each evidence is written in one way");
    let same = Fork { larger: equal.smaller.clone(), ..equal };
    assert!(same.verify(&keys(&[1])).is_err());
    // The key was changed in between; the log is the same.
    let (first, second) = (tree(5, 3, 1), tree(9, 3, 2));
    let path = second.consistency(5, &second.head()).unwrap();
    let notes = (signed(1, first.head()), signed(2, second.head()));
    let fork = Fork::between(&notes.0, &notes.1, Some((path.0.root, path.1))).unwrap();
    assert!(fork.verify(&keys(&[1, 2])).is_ok() && fork.verify(&keys(&[1])).is_err());
}

#[test]
fn no_bit_of_the_file_can_be_changed() {
    for (one, other) in [(5, 9), (8, 11), (6, 6)] {
        let file = forked(one, other, 3).unwrap().to_bytes();
        let holds = |file: &[u8]| Fork::parse(file).and_then(|fork| fork.verify(&keys(&[1]))).is_ok();
        assert!(holds(&file));
        for bit in 0..file.len() * 8 {
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!holds(&changed), "bit {bit} of {one} and {other}");
        }
        for cut in 0..file.len() {
            assert!(!holds(&file[..cut]), "cut at {cut}");
        }
        for more in [&b"\n"[..], b"x", "— witness.example.org AAAAAQAAAAA=\n".as_bytes()] {
            assert!(!holds(&[&file, more].concat()));
        }
    }
}

proptest! {
    #[test]
    fn an_edited_file_never_holds(
        at in any::<prop::sample::Index>(), length in 0usize..60,
        new in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'A'), any::<u8>()], 0..60),
    ) {
        let file = forked(5, 9, 3).unwrap().to_bytes();
        let at = at.index(file.len());
        let edited = [&file[..at], &new, &file[(at + length).min(file.len())..]].concat();
        prop_assume!(edited != file);
        prop_assert!(Fork::parse(&edited).and_then(|fork| fork.verify(&keys(&[1]))).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_no_evidence(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let file = [FIRST_LINE.as_bytes(), &bytes].concat();
        prop_assert!(Fork::parse(&file).and_then(|fork| fork.verify(&keys(&[1]))).is_err());
    }
}
