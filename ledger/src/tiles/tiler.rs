//! All tiles and bundles of a log, made from its entries one after the other; memory is bounded.

use super::bundle::{BadBundle, push_entry};
use super::path::{Content, TilePath, WIDTH};
use crate::tree::{Frontier, Hash, TreeHead, leaf};

/// Takes the entries of a log from its first on, and gives its tiles and bundles as they fill.
#[derive(Default)]
pub struct Tiler {
    frontier: Frontier,
    /// Of each level, the hashes of the tile that fills.
    levels: Vec<Vec<Hash>>,
    /// The entries of the bundle that fills, and how many they are.
    bundle: Vec<u8>,
    bundled: u16,
}

impl Tiler {
    /// Adds the next entry; `put` gets what it fills.
    ///
    /// # Errors
    /// What `put` says; an entry that is too long for a bundle, as no ledger has one.
    pub fn push<E: From<BadBundle>>(
        &mut self,
        entry: &[u8],
        mut put: impl FnMut(TilePath, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        push_entry(&mut self.bundle, entry)?;
        self.bundled += 1;
        let before = self.frontier.size();
        let leaf = leaf(entry);
        self.add(0, leaf);
        let mut completed = Vec::new();
        self.frontier.push_noting(leaf, |height, hash| completed.push((height, hash)));
        for (height, hash) in
            completed.into_iter().filter(|(height, _)| height.is_multiple_of(super::LEVEL_HEIGHT))
        {
            self.add((height / super::LEVEL_HEIGHT) as usize, hash);
        }
        if self.bundled == WIDTH {
            give(Content::Entries, before, WIDTH, &self.bundle, &mut put)?;
            self.bundle.clear();
            self.bundled = 0;
        }
        self.give_full(&mut put)
    }

    fn add(&mut self, level: usize, hash: Hash) {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        if let Some(level) = self.levels.get_mut(level) {
            level.push(hash);
        }
    }

    fn give_full<E>(&mut self, put: &mut impl FnMut(TilePath, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let size = self.frontier.size();
        for (content, hashes) in (0..).map(Content::Hashes).zip(&mut self.levels) {
            // Where a level has none that is full, none above it has.
            if hashes.len() < usize::from(WIDTH) {
                return Ok(());
            }
            give(content, content.count(size) - 1, WIDTH, &hashes.concat(), put)?;
            hashes.clear();
        }
        Ok(())
    }

    /// The tree over the entries so far.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        self.frontier.head()
    }

    /// Gives what has not filled: of each level the partial tile at its end, and the partial bundle.
    ///
    /// # Errors
    /// What `put` says.
    pub fn partial<E>(&self, mut put: impl FnMut(TilePath, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let size = self.frontier.size();
        give(Content::Entries, size, self.bundled, &self.bundle, &mut put)?;
        for (content, hashes) in (0..).map(Content::Hashes).zip(&self.levels) {
            let width = u16::try_from(hashes.len()).unwrap_or(WIDTH);
            give(content, content.count(size), width, &hashes.concat(), &mut put)?;
        }
        Ok(())
    }
}

/// Gives the one that the thing number `within` of its level is in, if it holds anything.
fn give<E>(
    content: Content,
    within: u64,
    width: u16,
    bytes: &[u8],
    put: &mut impl FnMut(TilePath, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    match TilePath::new(content, within / u64::from(WIDTH), width) {
        Some(path) => put(path, bytes),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tiles::entries;
    use crate::tree::node;

    fn entry(n: u64) -> Vec<u8> {
        format!("entry {n}").into_bytes()
    }

    /// What a tiler gives for so many entries.
    fn tiles(size: u64) -> (BTreeMap<TilePath, Vec<u8>>, TreeHead) {
        let (mut tiler, mut all) = (Tiler::default(), BTreeMap::new());
        let mut put = |path: TilePath, bytes: &[u8]| {
            assert_eq!(all.insert(path, bytes.to_vec()), None, "{path} was given before");
            Ok::<(), BadBundle>(())
        };
        for n in 0..size {
            tiler.push(&entry(n), &mut put).unwrap();
        }
        tiler.partial(&mut put).unwrap();
        (all, tiler.head())
    }

    /// RFC 6962, literally, over hashes that are a full subtree each.
    fn root(hashes: &[Hash]) -> Hash {
        match hashes {
            [one] => *one,
            many => {
                let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
                node(&root(left), &root(right))
            }
        }
    }

    #[test]
    fn a_log_of_seventy_thousand_entries_gives_the_tiles_of_the_specification_by_its_definition() {
        const SIZE: u64 = 70_000;
        let (all, head) = tiles(SIZE);
        let given: Vec<TilePath> = all.keys().copied().collect();
        let mut expected: Vec<TilePath> = TilePath::all(SIZE).collect();
        expected.sort();
        assert_eq!(given, expected);
        let leaves: Vec<Hash> = (0..SIZE).map(|n| leaf(&entry(n))).collect();
        assert_eq!(head, TreeHead { size: SIZE, root: root(&leaves) });
        for (path, bytes) in &all {
            match path.content() {
                Content::Entries => {
                    let first = path.first();
                    let expected: Vec<Vec<u8>> =
                        (first..first + u64::from(path.width())).map(entry).collect();
                    assert_eq!(entries(bytes).unwrap(), expected, "{path}");
                }
                // MTH(D[(n * 256 + i) * 256**l : (n * 256 + i + 1) * 256**l])
                Content::Hashes(level) => {
                    let step = 256_usize.pow(level.into());
                    let first = path.first() as usize * step;
                    let covered = &leaves[first..first + step * usize::from(path.width())];
                    let expected: Vec<Hash> = covered.chunks(step).map(root).collect();
                    assert_eq!(*bytes, expected.concat(), "{path}");
                }
            }
        }
    }

    #[test]
    fn every_small_log_gives_exactly_what_a_tree_of_its_size_has() {
        for size in (0..4).chain(254..260).chain(510..515) {
            let (all, head) = tiles(size);
            let mut expected: Vec<TilePath> = TilePath::all(size).collect();
            expected.sort();
            assert_eq!(all.keys().copied().collect::<Vec<_>>(), expected, "{size} entries");
            assert_eq!(head.size, size);
        }
    }
}
