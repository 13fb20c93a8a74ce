//! Merkle trees as in RFC 6962, section 2.1, over SHA-256: of the entries of a ledger, and of the accounts of a state.

mod many;
mod proof;

use sha2::{Digest, Sha256};

pub(crate) use many::{leaves, nodes};
pub use proof::{ProofError, check_consistency, check_inclusion};

/// A hash in the tree.
pub type Hash = [u8; 32];

/// No tree has more leaves. Sizes that others claim are held against it, so that no arithmetic on them overflows.
pub const SIZE_MAX: u64 = 1 << 48;

/// What a tree is known by: how many leaves it has, and its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// The hash of a leaf: SHA-256(0x00 || leaf).
#[must_use]
pub fn leaf(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

pub(crate) fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root over leaves that arrive one by one; memory grows with the logarithm of their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    /// Roots of the full subtrees so far, the largest first; their sizes are the bits of `leaves`.
    roots: Vec<Hash>,
    leaves: u64,
}

impl Frontier {
    /// Adds the hash of the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_noting(leaf, |_, _| {});
    }

    /// The same, and tells of each full subtree that the leaf completes: its height, from 1 on, and its root.
    pub fn push_noting(&mut self, leaf: Hash, mut complete: impl FnMut(u32, Hash)) {
        let mut carried = leaf;
        for height in 1..=self.leaves.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                carried = node(&left, &carried);
                complete(height, carried);
            }
        }
        self.roots.push(carried);
        self.leaves += 1;
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.leaves
    }

    /// Size and root.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.leaves, root: self.root() }
    }

    /// The full subtrees, the largest first: height, index among those of its height, root.
    pub(crate) fn subtrees(&self) -> impl Iterator<Item = (u32, u64, Hash)> + '_ {
        let heights = (0..u64::BITS).rev().filter(|height| self.leaves >> height & 1 == 1);
        // What is left of a subtree are the larger ones, whose sizes are the bits above its own.
        heights.zip(&self.roots).map(|(height, root)| (height, (self.leaves >> height) - 1, *root))
    }

    /// The roots of the full subtrees, the largest first; how many there are follows from the size.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// The frontier of `size` leaves from its bytes; `None` where these are not so many.
    #[must_use]
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Self> {
        let (roots, rest) = bytes.as_chunks::<32>();
        let right = size <= SIZE_MAX && rest.is_empty() && roots.len() == size.count_ones() as usize;
        right.then(|| Self { roots: roots.to_vec(), leaves: size })
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
    fn a_frontier_is_what_its_bytes_say_and_goes_on_from_there() {
        let leaves: Vec<Hash> = (0..70u8).map(|n| leaf(&[n])).collect();
        let mut frontier = Frontier::default();
        for (size, leaf) in (0..).zip(&leaves) {
            let bytes = frontier.to_bytes();
            assert_eq!(Frontier::from_bytes(size, &bytes), Some(frontier.clone()));
            assert_eq!(Frontier::from_bytes(size, &[&bytes[..], &[0; 32]].concat()), None);
            assert_eq!(Frontier::from_bytes(size, &[&bytes[..], &[0]].concat()), None);
            for (height, index, root) in frontier.subtrees() {
                let first = usize::try_from(index << height).unwrap();
                assert_eq!(root, root_by_definition(&leaves[first..first + (1 << height)]));
            }
            frontier.push(*leaf);
        }
        assert_eq!(Frontier::from_bytes(u64::MAX, &[0; 64 * 32]), None, "no log is as large");
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
