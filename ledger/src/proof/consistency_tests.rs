use proptest::prelude::*;

use super::*;
use crate::checkpoint::{LocalSigner, PrivateKey, Signer};
use crate::disk::testing::MemoryDisk;
use crate::tiles::TreeStore;
use crate::tree::leaf;
use crate::types::LedgerName;

fn private(seed: u8) -> PrivateKey {
    PrivateKey::new("ledger.example.org".parse().unwrap(), &[seed; 32])
}

fn keys(seeds: &[u8]) -> LogKeys {
    LogKeys::new(seeds.iter().map(|seed| private(*seed).verifier(&LedgerName::default())).collect()).unwrap()
}

fn tree(size: u64, branch: u64) -> TreeStore {
    let tree = TreeStore::open(std::sync::Arc::new(MemoryDisk::new()), std::path::Path::new("/tree"), &[]);
    tree.extend(0, &(0..size).map(|n| leaf(format!("{n} of {branch}").as_bytes())).collect::<Vec<_>>());
    tree
}

fn note(seed: u8, head: TreeHead) -> Vec<u8> {
    LocalSigner::new(&private(seed), &LedgerName::default(), None).sign(head, &[]).unwrap()
}

/// What shows that a log of 70 entries at most went on from one size to another, signed by these keys.
fn proof(sizes: (u64, u64), signers: (u8, u8)) -> ConsistencyProof {
    let tree = tree(70, 0);
    let [small, large] = [sizes.0, sizes.1].map(|size| tree.head_at(size).unwrap());
    let (_, hashes) = tree.consistency(small.size, &large).unwrap();
    ConsistencyProof { hashes, smaller: note(signers.0, small), larger: note(signers.1, large) }
}

fn holds(file: &[u8]) -> bool {
    ConsistencyProof::parse(file).and_then(|proof| proof.verify(&keys(&[1]))).is_ok()
}

#[test]
fn that_a_log_went_on_is_shown_by_a_file_and_a_key_between_any_two_sizes() {
    for small in [1, 2, 3, 7, 8, 9, 31, 64, 69] {
        for large in (small + 1)..=70 {
            let file = proof((small, large), (1, 1)).to_bytes();
            let read = ConsistencyProof::parse(&file).unwrap();
            assert_eq!(read.to_bytes(), file);
            let signed = read.verify(&keys(&[1])).unwrap();
            assert_eq!(signed.map(|signed| signed.checkpoint.tree.size), [small, large]);
        }
    }
}

#[test]
fn another_history_another_order_another_key_and_nothing_at_all_are_not_shown() {
    let good = proof((5, 9), (1, 2));
    assert!(good.verify(&keys(&[1, 2])).is_ok());
    assert!(good.verify(&keys(&[1])).is_err() && good.verify(&keys(&[2])).is_err());
    let good = proof((5, 9), (1, 1));
    let swapped =
        ConsistencyProof { smaller: good.larger.clone(), larger: good.smaller.clone(), ..good.clone() };
    assert!(!holds(&swapped.to_bytes()));
    let other = ConsistencyProof { smaller: note(1, tree(5, 1).head()), ..good.clone() };
    assert!(matches!(other.verify(&keys(&[1])), Err(BadProof::Inconsistent(_))));
    let same = ConsistencyProof { hashes: Vec::new(), larger: good.smaller.clone(), ..good.clone() };
    assert!(!holds(&same.to_bytes()), "of one size there is nothing to prove");
    let nothing =
        ConsistencyProof { hashes: Vec::new(), smaller: note(1, tree(0, 0).head()), ..good.clone() };
    assert!(!holds(&nothing.to_bytes()));
    let log = LogKeys::new(vec![private(1).verifier(&"other".parse().unwrap())]).unwrap();
    assert!(good.verify(&log).is_err());
}

#[test]
fn no_bit_of_the_file_can_be_changed() {
    for (small, large) in [(5, 9), (8, 11), (1, 70)] {
        let file = proof((small, large), (1, 1)).to_bytes();
        assert!(holds(&file));
        for bit in 0..file.len() * 8 {
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!holds(&changed), "bit {bit} of {small} and {large}");
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
        let file = proof((5, 9), (1, 1)).to_bytes();
        let at = at.index(file.len());
        let edited = [&file[..at], &new, &file[(at + length).min(file.len())..]].concat();
        prop_assume!(edited != file);
        prop_assert!(!holds(&edited));
    }

    #[test]
    fn arbitrary_bytes_are_no_proof(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(!holds(&[FIRST_LINE.as_bytes(), &bytes].concat()));
    }
}
