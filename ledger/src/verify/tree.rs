//! The tree over the entries (RFC 6962), computed anew: stretches of the log are hashed side by side, and joined.

use crate::tree::{Frontier, Hash, node, nodes};
use crate::types::Position;

/// The full subtrees over a stretch of the log, in its order. Those over a log from its first entry on are what a footer
/// keeps of it.
#[derive(Clone, Debug)]
pub(super) struct Subtrees {
    /// Behind the stretch.
    next: u64,
    /// Heights and roots.
    roots: Vec<(u32, Hash)>,
}

impl Subtrees {
    /// None yet, before the entry at `first`.
    pub(super) fn from(first: Position) -> Self {
        Self { next: first.0, roots: Vec::new() }
    }

    /// Those over the leaves of the entries from `first` on. `complete` is told of every whole subtree, a row of them at
    /// a time, from the leaves up: their height, the index of the first one, and their roots.
    pub(super) fn over(
        first: Position,
        leaves: Vec<Hash>,
        mut complete: impl FnMut(u32, u64, &[Hash]),
    ) -> Self {
        let next = first.0.wrapping_add(leaves.len() as u64);
        let (mut roots, mut behind) = (Vec::new(), Vec::new());
        let (mut row, mut index, mut height) = (leaves, first.0, 0);
        while !row.is_empty() {
            complete(height, index, &row);
            let mut pairs = row.as_slice();
            // The right half of one that begins before the stretch.
            if index & 1 == 1
                && let Some((root, rest)) = pairs.split_first()
            {
                roots.push((height, *root));
                pairs = rest;
            }
            let (pairs, odd) = pairs.as_chunks::<2>();
            behind.extend(odd.iter().map(|root| (height, *root)));
            row = nodes(pairs);
            (index, height) = (index.div_ceil(2), height + 1);
        }
        roots.extend(behind.into_iter().rev());
        Self { next, roots }
    }

    /// Adds the leaf of the next entry, and tells of each larger subtree that it completes: height, index, root.
    pub(super) fn push(&mut self, leaf: Hash, complete: impl FnMut(u32, u64, Hash)) {
        self.add(0, leaf, complete);
    }

    /// Adds those of the stretch behind this one, and tells of each subtree over parts of both.
    pub(super) fn join(&mut self, behind: &Self, mut complete: impl FnMut(u32, u64, Hash)) {
        behind.roots.iter().for_each(|(height, root)| self.add(*height, *root, &mut complete));
    }

    /// Adds one that begins where these end, and so at a multiple of its size.
    fn add(&mut self, mut height: u32, mut root: Hash, mut complete: impl FnMut(u32, u64, Hash)) {
        let mut index = self.next >> height;
        self.next = self.next.wrapping_add(1 << height);
        // Every second one of a height is the right half of one of the next.
        while index & 1 == 1
            && let Some((_, left)) = self.roots.pop_if(|(left, _)| *left == height)
        {
            root = node(&left, &root);
            height += 1;
            index >>= 1;
            complete(height, index, root);
        }
        self.roots.push((height, root));
    }

    /// The root over all entries, where these are all of a log.
    pub(super) fn root(&self) -> Hash {
        let mut right_to_left = self.roots.iter().rev().map(|(_, root)| *root);
        match right_to_left.next() {
            None => Frontier::default().root(),
            Some(last) => right_to_left.fold(last, |right, left| node(&left, &right)),
        }
    }

    /// The roots, as a footer keeps them.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.roots.iter().flat_map(|(_, root)| root).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tree::leaf;

    #[test]
    fn stretches_that_are_joined_give_the_frontier_of_the_whole() {
        let leaves: Vec<Hash> = (0..200_u8).map(|n| leaf(&[n])).collect();
        for step in 1..70 {
            let (mut whole, mut frontier) = (Subtrees::from(Position(0)), Frontier::default());
            for (nth, stretch) in leaves.chunks(step).enumerate() {
                let first = Position((nth * step) as u64);
                let next = Subtrees::over(first, stretch.to_vec(), |_, _, _| {});
                let mut same = Subtrees::from(first);
                stretch.iter().for_each(|leaf| same.push(*leaf, |_, _, _| {}));
                assert_eq!((next.next, &next.roots), (same.next, &same.roots));
                stretch.iter().for_each(|leaf| frontier.push(*leaf));
                whole.join(&next, |_, _, _| {});
                assert_eq!(whole.bytes(), frontier.to_bytes(), "{nth} stretches of {step}");
                assert_eq!(whole.root(), frontier.root());
            }
        }
    }

    #[test]
    fn every_whole_subtree_is_told_of_once_however_the_log_is_cut() {
        let leaves: Vec<Hash> = (0..200_u8).map(|n| leaf(&[n])).collect();
        let mut expected = BTreeMap::new();
        Subtrees::over(Position(0), leaves.clone(), |height, index, row| {
            (index..)
                .zip(row)
                .for_each(|(index, root)| assert_eq!(expected.insert((height, index), *root), None));
        });
        assert_eq!(expected.len(), 200 + 100 + 50 + 25 + 12 + 6 + 3 + 1);
        for step in 1..70 {
            let (mut whole, mut told) = (Subtrees::from(Position(0)), BTreeMap::new());
            for (nth, stretch) in leaves.chunks(step).enumerate() {
                let first = Position((nth * step) as u64);
                let next = Subtrees::over(first, stretch.to_vec(), |height, index, row| {
                    (index..)
                        .zip(row)
                        .for_each(|(index, root)| assert_eq!(told.insert((height, index), *root), None));
                });
                whole.join(&next, |height, index, root| assert_eq!(told.insert((height, index), root), None));
            }
            assert_eq!(told, expected, "{step}");
        }
    }
}
