//! Merkle trees as in RFC 6962, section 2.1, over SHA-256.

use sha2::{Digest, Sha256};

/// A hash in the tree.
pub type Hash = [u8; 32];

/// The hash of a leaf: SHA-256(0x00 || leaf).
#[must_use]
pub fn leaf(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root over leaves that arrive one by one; memory grows with the logarithm of their number.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    /// Roots of the full subtrees so far, the largest first; their sizes are the bits of `leaves`.
    roots: Vec<Hash>,
    leaves: u64,
}

impl Frontier {
    /// Adds the hash of the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut carried = leaf;
        let mut size = self.leaves;
        while size & 1 == 1 {
            if let Some(left) = self.roots.pop() {
                carried = node(&left, &carried);
            }
            size >>= 1;
        }
        self.roots.push(carried);
        self.leaves += 1;
    }

    /// The root; that of no leaves is SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut right_to_left = self.roots.iter().rev();
        match right_to_left.next() {
            None => Sha256::digest([]).into(),
            Some(last) => right_to_left.fold(*last, |right, left| node(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Frontier, Hash, leaf, node};

    /// The definition of RFC 6962, literally.
    fn root_by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Frontier::default().root(),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                node(&root_by_definition(&many[..split]), &root_by_definition(&many[split..]))
            }
        }
    }

    #[test]
    fn the_frontier_agrees_with_the_definition() {
        let leaves: Vec<Hash> = (0..70u8).map(|n| leaf(&[n])).collect();
        let mut frontier = Frontier::default();
        for n in 0..leaves.len() {
            assert_eq!(frontier.root(), root_by_definition(&leaves[..n]), "{n} leaves");
            frontier.push(leaves[n]);
        }
    }

    #[test]
    fn published_vectors_of_certificate_transparency_hold() {
        let leaves: [&[u8]; 3] = [b"", b"\x00", b"\x10"];
        let mut frontier = Frontier::default();
        assert_eq!(
            hex::encode(frontier.root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        ];
        for (bytes, root) in leaves.iter().zip(roots) {
            frontier.push(leaf(bytes));
            assert_eq!(hex::encode(frontier.root()), root);
        }
    }
}
