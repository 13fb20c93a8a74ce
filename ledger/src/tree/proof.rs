//! Proofs: that a leaf is in a tree, and that a tree goes on from another (RFC 6962, sections 2.1.1 and 2.1.2). The
//! mathematics is that of `tlog_tiles`; what is refused before it gets there are numbers on which it would panic.

use tlog_tiles::tlog;

use super::{Hash, SIZE_MAX, TreeHead};

/// No proof has more hashes: two for each height of the largest tree.
const HASHES_MAX: usize = 96;

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such leaf, or no such tree.
    #[error("the proof is for a place that the tree does not have")]
    Place,
    /// The hashes lead to another root.
    #[error("the proof does not lead to the root")]
    Wrong,
}

/// Checks that a tree has a leaf at a place, counted from 0.
///
/// # Errors
/// [`ProofError`] where the proof does not show that.
pub fn check_inclusion(proof: &[Hash], tree: &TreeHead, place: u64, leaf: &Hash) -> Result<(), ProofError> {
    if tree.size > SIZE_MAX || place >= tree.size {
        return Err(ProofError::Place);
    }
    tlog::check_record(&hashes(proof)?, tree.size, tlog::Hash(tree.root), place, tlog::Hash(*leaf))
        .map_err(|_| ProofError::Wrong)
}

/// Checks that the leaves of `old` are the first ones of `tree`. Any tree goes on from the empty one, and needs no proof
/// of it.
///
/// # Errors
/// [`ProofError`] where the proof does not show that.
pub fn check_consistency(proof: &[Hash], old: &TreeHead, tree: &TreeHead) -> Result<(), ProofError> {
    if tree.size > SIZE_MAX || old.size > tree.size {
        return Err(ProofError::Place);
    }
    if old.size == 0 {
        let right = proof.is_empty() && *old == super::Frontier::default().head();
        return if right { Ok(()) } else { Err(ProofError::Wrong) };
    }
    let (new, before) = (tlog::Hash(tree.root), tlog::Hash(old.root));
    tlog::check_tree(&hashes(proof)?, tree.size, new, old.size, before).map_err(|_| ProofError::Wrong)
}

fn hashes(proof: &[Hash]) -> Result<Vec<tlog::Hash>, ProofError> {
    if proof.len() > HASHES_MAX {
        return Err(ProofError::Wrong);
    }
    Ok(proof.iter().map(|hash| tlog::Hash(*hash)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Frontier, leaf};
    use super::*;

    /// The tree that Certificate Transparency's published tests use, and its root at each size.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    /// Place, size, proof.
    const INCLUSION: [(u64, u64, &[&str]); 5] = [
        (0, 1, &[]),
        (
            0,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            1,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];
    /// Old size, size, proof.
    const CONSISTENCY: [(u64, u64, &[&str]); 4] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            &[
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];

    fn hash(text: &str) -> Hash {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    fn tree(size: u64) -> TreeHead {
        TreeHead { size, root: hash(ROOTS[size as usize - 1]) }
    }

    fn leaf_at(place: u64) -> Hash {
        leaf(&hex::decode(LEAVES[place as usize]).unwrap())
    }

    /// Everything that one could change about a proof.
    fn changed(proof: &[Hash]) -> Vec<Vec<Hash>> {
        let mut all = vec![[proof, &[[7; 32]]].concat(), [&[[7; 32]], proof].concat(), vec![[7; 32]; 97]];
        for n in 0..proof.len() {
            let mut without = proof.to_vec();
            let hash = without.remove(n);
            all.push(without.clone());
            without.insert(n, hash);
            without[n][n % 32] ^= 1;
            all.push(without.clone());
            without[n] = proof[0];
            all.extend((n > 0).then_some(without));
        }
        all
    }

    #[test]
    fn published_proofs_of_inclusion_hold_and_nothing_else_does() {
        for (place, size, proof) in INCLUSION {
            let (proof, leaf): (Vec<Hash>, _) = (proof.iter().map(|h| hash(h)).collect(), leaf_at(place));
            assert_eq!(check_inclusion(&proof, &tree(size), place, &leaf), Ok(()), "{place} in {size}");
            for other in changed(&proof) {
                assert_eq!(check_inclusion(&other, &tree(size), place, &leaf), Err(ProofError::Wrong));
            }
            for other in (0..8).filter(|other| *other != place) {
                assert!(check_inclusion(&proof, &tree(size), other, &leaf).is_err(), "{other} for {place}");
                assert!(check_inclusion(&proof, &tree(size), place, &leaf_at(other)).is_err());
                assert!(
                    check_inclusion(&proof, &tree(other + 1), place, &leaf).is_err() || other + 1 == size
                );
            }
        }
    }

    #[test]
    fn published_proofs_of_consistency_hold_and_nothing_else_does() {
        for (old, size, proof) in CONSISTENCY {
            let proof: Vec<Hash> = proof.iter().map(|h| hash(h)).collect();
            assert_eq!(check_consistency(&proof, &tree(old), &tree(size)), Ok(()), "{old} to {size}");
            for other in changed(&proof) {
                assert_eq!(check_consistency(&other, &tree(old), &tree(size)), Err(ProofError::Wrong));
            }
            for other in (1..=8).filter(|other| *other != old) {
                assert!(check_consistency(&proof, &tree(other), &tree(size)).is_err() || other == size);
                let lies = TreeHead { size: old, ..tree(other) };
                assert!(check_consistency(&proof, &lies, &tree(size)).is_err(), "a root of another size");
            }
        }
    }

    #[test]
    fn numbers_that_no_tree_has_are_refused() {
        let root = [1; 32];
        for size in [SIZE_MAX + 1, u64::MAX] {
            let huge = TreeHead { size, root };
            assert_eq!(check_inclusion(&[], &huge, 0, &root), Err(ProofError::Place));
            assert_eq!(check_consistency(&[], &tree(1), &huge), Err(ProofError::Place));
            assert_eq!(check_consistency(&[], &huge, &huge), Err(ProofError::Place));
        }
        let largest = TreeHead { size: SIZE_MAX, root };
        assert_eq!(check_inclusion(&[[0; 32]; 96], &largest, SIZE_MAX - 1, &root), Err(ProofError::Wrong));
        assert_eq!(check_inclusion(&[], &tree(8), 8, &root), Err(ProofError::Place));
        assert_eq!(check_inclusion(&[], &Frontier::default().head(), 0, &root), Err(ProofError::Place));
        assert_eq!(check_consistency(&[], &tree(8), &tree(7)), Err(ProofError::Place));
        let empty = Frontier::default().head();
        assert_eq!(check_consistency(&[], &empty, &tree(8)), Ok(()));
        assert_eq!(check_consistency(&[[0; 32]], &empty, &tree(8)), Err(ProofError::Wrong));
        let lies = TreeHead { size: 0, root };
        assert_eq!(check_consistency(&[], &lies, &tree(8)), Err(ProofError::Wrong));
    }
}
