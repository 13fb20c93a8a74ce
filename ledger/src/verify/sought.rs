//! What is looked for while a log is read from its beginning to its end: the tree's root at the sizes of known
//! checkpoints, and stored hashes of the tree that are not those of the entries.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::chain::Chain;
use super::stored::{Stored, Wrong};
use super::tree::Subtrees;
use crate::tree::Hash;
use crate::types::Position;

/// What is looked for.
#[derive(Default)]
pub(super) struct Sought {
    pub(super) sizes: BTreeSet<u64>,
    pub(super) stored: Stored,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Noted {
    /// The roots at the sizes that are looked for; those are missing before which an entry can't be read.
    pub(super) roots: BTreeMap<u64, Hash>,
    pub(super) wrong: Wrong,
}

impl Noted {
    /// Adds what was found further on.
    pub(super) fn extend(&mut self, behind: Self) {
        self.roots.extend(behind.roots);
        self.wrong.extend(behind.wrong);
    }

    /// The entry before the one that is due was added to the chain; its leaf is this.
    pub(super) fn entry(&mut self, sought: &Sought, chain: &Chain, leaf: Hash) {
        let before = chain.next.0.saturating_sub(1);
        self.wrong.add(sought.stored.compare(0, before, &[leaf]));
        if let Some(tree) = chain.tree.as_ref().filter(|_| sought.sizes.contains(&chain.next.0)) {
            self.roots.insert(chain.next.0, tree.root());
        }
    }
}

/// What was found in a stretch that is judged by itself.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Sizes that are looked for, with the tree over the stretch up to there.
    sizes: Vec<(u64, Subtrees)>,
    wrong: Wrong,
}

impl Sought {
    /// Looks through the leaves of a stretch that begins at `first`, of which `row` gets the rows.
    pub(super) fn stretch(&self, first: Position, leaves: Vec<Hash>) -> (Subtrees, Marks) {
        let mut marks = Marks::default();
        let end = first.0.saturating_add(leaves.len() as u64);
        for size in self.sizes.range((Bound::Excluded(first.0), Bound::Included(end))) {
            let entries = usize::try_from(size - first.0).unwrap_or(usize::MAX);
            let leaves = leaves.get(..entries).unwrap_or(&leaves).to_vec();
            marks.sizes.push((*size, Subtrees::over(first, leaves, |_, _, _| {})));
        }
        let wrong = &mut marks.wrong;
        let tree = Subtrees::over(first, leaves, |height, index, row| {
            wrong.add(self.stored.compare(height, index, row));
        });
        (tree, marks)
    }

    /// Adds a stretch, and what was found in it, to the tree before it.
    pub(super) fn join(
        &self,
        tree: Option<&mut Subtrees>,
        stretch: &Subtrees,
        marks: Marks,
        noted: &mut Noted,
    ) {
        if let Some(tree) = tree {
            for (size, part) in marks.sizes {
                let mut tree = tree.clone();
                tree.join(&part, |_, _, _| {});
                noted.roots.insert(size, tree.root());
            }
            // A subtree that begins before the stretch ends before those within.
            tree.join(stretch, |height, index, root| {
                noted.wrong.add(self.stored.compare(height, index, &[root]));
            });
        }
        noted.wrong.extend(marks.wrong);
    }
}
