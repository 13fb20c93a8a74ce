//! Single tiles out of what is stored of a tree, each held against the root that was signed before it is given away: a wrong
//! one would be kept for years by whoever fetches it.

use tlog_tiles::tlog;

use super::path::WIDTH;
use super::{LEVEL_HEIGHT, Reader, TreeError, TreeStore, fold};
use crate::tree::{Hash, TreeHead, node};

/// The hashes of a level from `first` on.
struct Tile {
    level: u32,
    first: u64,
    hashes: Vec<Hash>,
}

impl TreeStore {
    /// The tile number `number` of a level, as wide as it was when the tree was `tree`. Its hashes lead to the tree's root.
    ///
    /// # Errors
    /// See [`TreeError`]; [`TreeError::Beyond`] also where the tree had nothing there.
    pub fn tile(&self, tree: &TreeHead, level: u8, number: u64) -> Result<Vec<Hash>, TreeError> {
        self.within(tree.size)?;
        let beyond = TreeError::Beyond { size: tree.size, asked: number };
        let count = super::Content::Hashes(level).count(tree.size);
        let Some(first) = number.checked_mul(WIDTH.into()).filter(|first| *first < count) else {
            return Err(beyond);
        };
        let level = u32::from(level);
        let hashes = self.hashes(level as usize, first, (count - first).min(WIDTH.into()))?;
        let tile = Tile { level, first, hashes };
        let reader = Through { store: self, tile: &tile, reader: Reader::new(self) };
        let root = reader.reader.told(tlog::tree_hash(tree.size, &reader))?;
        self.sound(root.0 == tree.root, tile.hashes)
    }

    /// The root of a subtree that the tree has whole, made from the tile where that has a part in it.
    fn subtree_through(&self, tile: &Tile, height: u32, index: u64) -> Result<Hash, TreeError> {
        let Some(above) = height.checked_sub(tile.level * LEVEL_HEIGHT) else {
            return self.subtree(height, index);
        };
        let (first, behind) = (index << above, (index + 1) << above);
        let tile_behind = tile.first + tile.hashes.len() as u64;
        if tile.first <= first && behind <= tile_behind {
            let part = (first - tile.first) as usize..(behind - tile.first) as usize;
            let part = tile.hashes.get(part).ok_or(TreeError::Doubtful)?;
            return fold(part.to_vec()).ok_or(TreeError::Doubtful);
        }
        if first <= tile.first && tile_behind <= behind {
            let left = self.subtree_through(tile, height - 1, 2 * index)?;
            let right = self.subtree_through(tile, height - 1, 2 * index + 1)?;
            return Ok(node(&left, &right));
        }
        self.subtree(height, index)
    }
}

/// Reads for `tlog_tiles`, through a tile.
struct Through<'a> {
    store: &'a TreeStore,
    tile: &'a Tile,
    reader: Reader<'a>,
}

impl tlog::HashReader for Through<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        self.reader.read(indexes, |height, number| self.store.subtree_through(self.tile, height, number))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::testing::MemoryDisk;
    use crate::tiles::tests::{DIR, Entries, built, entry, frontiers, open_on};
    use crate::tiles::{BadBundle, Content, TilePath, Tiler};

    /// The hash tiles of the first `size` entries, as they must be.
    fn expected(size: u64) -> Vec<(TilePath, Vec<u8>)> {
        let (mut tiler, mut all) = (Tiler::default(), Vec::new());
        let mut put = |path: TilePath, bytes: &[u8]| {
            all.push((path, bytes.to_vec()));
            Ok::<(), BadBundle>(())
        };
        for n in 0..size {
            tiler.push(&entry(n), &mut put).unwrap();
        }
        tiler.partial(&mut put).unwrap();
        all.retain(|(path, _)| path.content() != Content::Entries);
        all
    }

    #[test]
    fn every_tile_of_every_earlier_tree_comes_out_of_what_is_stored() {
        let frontiers = frontiers(70_000);
        let store = built(&MemoryDisk::new(), 70_000);
        for size in [1, 2, 255, 256, 257, 300, 511, 512, 65_535, 65_536, 65_537, 70_000] {
            let head = frontiers[size as usize].head();
            let expected = expected(size);
            // All of the upper levels, and some of the many on level 0.
            let step = if expected.len() > 20 { 37 } else { 1 };
            let chosen = expected.iter().enumerate().filter(|(n, (path, _))| {
                n % step == 0 || !path.is_full() || path.content() != Content::Hashes(0)
            });
            for (_, (path, bytes)) in chosen {
                let Content::Hashes(level) = path.content() else { continue };
                let hashes = store.tile(&head, level, path.number()).unwrap();
                assert_eq!(hashes.concat(), *bytes, "{path} of {size}");
            }
            for (level, number) in
                [(0, size.div_ceil(256)), (3, 0), (63, 0), (255, 0), (0, u64::MAX), (9, 1 << 60)]
            {
                let beyond = store.tile(&head, level, number);
                assert!(matches!(beyond, Err(TreeError::Beyond { .. })), "{level} {number} of {size}");
            }
        }
        let larger = TreeHead { size: 70_001, ..frontiers[70_000].head() };
        assert!(matches!(store.tile(&larger, 0, 0), Err(TreeError::Beyond { .. })));
    }

    #[test]
    fn a_tile_that_does_not_lead_to_the_root_is_never_given_away_and_is_made_anew() {
        const SIZE: u64 = 66_000;
        let frontiers = frontiers(SIZE);
        let head = frontiers[SIZE as usize].head();
        let whole = MemoryDisk::new();
        built(&whole, SIZE).flush().unwrap();
        // A hash in: the first full tile, a later one, the partial one of each level.
        for (level, hash) in [(0, 3), (0, 256 * 100 + 255), (0, SIZE - 1), (1, 0), (1, 255), (1, 256), (2, 0)]
        {
            let disk = whole.copy();
            let path = Path::new(DIR).join(format!("level-{level}"));
            let store = open_on(&disk, &frontiers[SIZE as usize..]);
            assert_eq!(store.head(), head);
            disk.flip(&path, usize::try_from(hash * 32 + 9).unwrap(), 1);
            let told = store.tile(&head, level, hash / 256);
            assert!(matches!(told, Err(TreeError::Doubtful)), "hash {hash} of level {level}");
            assert!(matches!(store.tile(&head, 0, 0), Err(TreeError::Doubtful)), "until it was made anew");
            store.catch_up(&Entries(SIZE)).unwrap();
            assert!(store.tile(&head, level, hash / 256).is_ok());
        }
        // Another root: nothing is given away for it.
        let store = open_on(&whole, &frontiers[SIZE as usize..]);
        let other = TreeHead { root: [7; 32], ..head };
        assert!(matches!(store.tile(&other, 0, 0), Err(TreeError::Doubtful)));
    }
}
