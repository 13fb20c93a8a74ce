//! Under which names the tiles and entry bundles of a log are served and exported: C2SP's `tlog-tiles`.
//!
//! A *tile* of a level holds up to 256 hashes that stand side by side in the tree: of leaves on level 0, of 256 of the
//! level below on any other. A *bundle* holds the entries behind the hashes of a tile of level 0. What has all 256 is full
//! and never changes; what has fewer is partial, and has their number in its name.

use std::fmt;
use std::str::FromStr;

use crate::tree::SIZE_MAX;

/// How many hashes, or entries, a full one has.
pub const WIDTH: u16 = 256;
/// The highest level that has a name.
const LEVEL_MAX: u8 = 63;
/// How many times a tree's size is halved from a level to the next.
const LEVEL_HEIGHT: u32 = 8;
/// Of digits between slashes.
const DIGITS: usize = 3;

/// What stands behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// Entries, as they are stored.
    Entries,
    /// Hashes of a level of the tree.
    Hashes(u8),
}

impl Content {
    /// How many of them a tree of `size` entries has.
    #[must_use]
    pub fn count(self, size: u64) -> u64 {
        match self {
            Self::Entries => size,
            Self::Hashes(level) => size.checked_shr(u32::from(level) * LEVEL_HEIGHT).unwrap_or(0),
        }
    }
}

/// Why a text names no tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this names no tile: the form is `tile/LEVEL/N` or `tile/entries/N`, with N like `x001/x234/067`, and `.p/WIDTH` behind it where it is partial"
)]
pub struct NoTile;

/// The name of a tile or bundle: `tile/LEVEL/N[.p/WIDTH]`, `tile/entries/N[.p/WIDTH]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TilePath {
    content: Content,
    number: u64,
    width: u16,
}

impl TilePath {
    /// The one of that number, with so many hashes or entries; `None` where none is so wide, or so far.
    #[must_use]
    pub fn new(content: Content, number: u64, width: u16) -> Option<Self> {
        let named = !matches!(content, Content::Hashes(level) if level > LEVEL_MAX);
        let possible = named && (1..=WIDTH).contains(&width) && number < SIZE_MAX;
        possible.then_some(Self { content, number, width })
    }

    /// What it holds.
    #[must_use]
    pub fn content(&self) -> Content {
        self.content
    }

    /// Its place among those of its level, from 0 on.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many hashes or entries it has.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.width
    }

    /// The number, on its level, of the first of them.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.number * u64::from(WIDTH)
    }

    /// Whether it has as many as one can have.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.width == WIDTH
    }

    /// The full one in its place.
    #[must_use]
    pub fn full(&self) -> Self {
        Self { width: WIDTH, ..*self }
    }

    /// Whether a tree of `size` entries has everything that is in it.
    #[must_use]
    pub fn is_within(&self, size: u64) -> bool {
        self.first() + u64::from(self.width) <= self.content.count(size)
    }

    /// The widest in its place that a tree of `size` entries has; `None` where it has nothing there.
    #[must_use]
    pub fn widest(&self, size: u64) -> Option<Self> {
        let left = self.content.count(size).checked_sub(self.first())?.min(u64::from(WIDTH));
        Self::new(self.content, self.number, u16::try_from(left).ok()?)
    }

    /// The partial one, at the end, of a tree of `size` entries; `None` where all are full, or there are none.
    #[must_use]
    pub fn last_partial(content: Content, size: u64) -> Option<Self> {
        let count = content.count(size);
        let width = u16::try_from(count % u64::from(WIDTH)).ok()?;
        Self::new(content, count / u64::from(WIDTH), width)
    }

    /// What a tree of `size` entries has: entries, and each level that is not empty.
    pub fn contents(size: u64) -> impl Iterator<Item = Content> {
        let levels = (0..=LEVEL_MAX).map(Content::Hashes).take_while(move |level| level.count(size) > 0);
        std::iter::once(Content::Entries).filter(move |_| size > 0).chain(levels)
    }

    /// All that a tree of `size` entries has: the full ones, and of each level the partial one at its end.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        Self::contents(size).flat_map(move |content| {
            let full =
                (0..content.count(size) / u64::from(WIDTH)).filter_map(move |n| Self::new(content, n, WIDTH));
            full.chain(Self::last_partial(content, size))
        })
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Content::Entries => f.write_str("tile/entries/")?,
            Content::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let mut thousands = 1;
        while self.number / thousands >= 1_000 {
            thousands *= 1_000;
        }
        while thousands > 1 {
            write!(f, "x{:03}/", self.number / thousands % 1_000)?;
            thousands /= 1_000;
        }
        write!(f, "{:03}", self.number % 1_000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for TilePath {
    type Err = NoTile;

    /// Reads a name. Only the one that [`TilePath`] is shown under is accepted.
    fn from_str(text: &str) -> Result<Self, NoTile> {
        let parsed = read(text).ok_or(NoTile)?;
        // Leading zeros, signs, groups that are not needed: every other way to write the same.
        if parsed.to_string() == text { Ok(parsed) } else { Err(NoTile) }
    }
}

fn read(text: &str) -> Option<TilePath> {
    let (content, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let content = match content {
        "entries" => Content::Entries,
        level => Content::Hashes(level.parse().ok()?),
    };
    let (number, width) = match rest.split_once(".p/") {
        None => (rest, WIDTH),
        Some((number, width)) => (number, width.parse().ok().filter(|width| *width < WIDTH)?),
    };
    TilePath::new(content, read_number(number)?, width)
}

fn read_number(text: &str) -> Option<u64> {
    let mut number = 0_u64;
    for group in text.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let three = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
        let group: u64 = digits.parse().ok().filter(|_| three)?;
        number = number.checked_mul(1_000)?.checked_add(group)?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TilePath {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn published_examples_of_the_specification_hold() {
        // c2sp.org/tlog-tiles: "index 1234067 will be encoded as x001/x234/067".
        let tile = TilePath::new(Content::Hashes(3), 1_234_067, WIDTH).unwrap();
        assert_eq!(tile.to_string(), "tile/3/x001/x234/067");
        assert_eq!(path("tile/3/x001/x234/067"), tile);
        // "A tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0 tile of width 112, one
        // full level 1 tile, one partial level 1 tile of width 17, and one partial level 2 tile of width 1."
        let all: Vec<TilePath> = TilePath::all(70_000).collect();
        let count =
            |content, full| all.iter().filter(|p| p.content == content && p.is_full() == full).count();
        let counts = |content| (count(content, true), count(content, false));
        assert_eq!(counts(Content::Entries), (273, 1));
        assert_eq!([0, 1, 2, 3].map(|l| counts(Content::Hashes(l))), [(273, 1), (1, 1), (0, 1), (0, 0)]);
        let partial: Vec<String> = all.iter().filter(|p| !p.is_full()).map(TilePath::to_string).collect();
        assert_eq!(
            partial,
            ["tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
        );
        // "A tree of size 256 will be represented by a full level 0 tile and a partial level 1 tile of width 1."
        let all: Vec<String> = TilePath::all(256).map(|p| p.to_string()).collect();
        assert_eq!(all, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(TilePath::all(0).count(), 0, "empty tiles are not served");
    }

    #[test]
    fn a_name_comes_back_and_there_is_no_other_for_the_same() {
        for number in [0, 1, 999, 1_000, 1_001, 999_999, 1_000_000, 123_456_078, SIZE_MAX - 1] {
            for content in [Content::Entries, Content::Hashes(0), Content::Hashes(10), Content::Hashes(63)] {
                for width in [1, 2, 99, 255, 256] {
                    let tile = TilePath::new(content, number, width).unwrap();
                    assert_eq!(path(&tile.to_string()), tile);
                }
            }
        }
        let bad = [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/1000",
            "tile/00/000",
            "tile/+0/000",
            "tile/64/000",
            "tile/255/000",
            "tile/256/000",
            "tile/-1/000",
            "tile/data/000",
            "tile/Entries/000",
            "tile/8/0/000",
            "tile/8/data/000",
            "tile/0/x000",
            "tile/0/x000/000",
            "tile/0/x000/001",
            "tile/0/001/000",
            "tile/0/X001/000",
            "tile/0/x1/000",
            "tile/0/x001/x002",
            "tile/0/x001/000/",
            "tile/0/x001//000",
            "/tile/0/000",
            "tile/0/000.p",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/00",
            "tile/0/000.p/01",
            "tile/0/000.p/256",
            "tile/0/000.p/257",
            "tile/0/000.p/+1",
            "tile/0/000.p/-1",
            "tile/0/000.p/1x",
            "tile/0/000.p/1/",
            "tile/0/000.p/1.p/1",
            "tile/0/000 ",
            "tile/0/٠٠٠",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
            "tile/0/../000",
            "tile/0/%30%30%30",
        ];
        for bad in bad {
            assert_eq!(bad.parse::<TilePath>(), Err(NoTile), "{bad}");
        }
        assert_eq!(TilePath::new(Content::Entries, SIZE_MAX, 1), None);
        assert_eq!(TilePath::new(Content::Hashes(64), 0, 1), None);
        assert_eq!(TilePath::new(Content::Entries, 0, 0), None);
        assert_eq!(TilePath::new(Content::Entries, 0, 257), None);
    }

    #[test]
    fn a_tree_has_a_tile_from_the_entry_on_that_completes_it() {
        for (text, from) in [
            ("tile/0/000.p/1", 1),
            ("tile/entries/000", 256),
            ("tile/0/001.p/44", 300),
            ("tile/1/000.p/1", 256),
            ("tile/1/000.p/2", 512),
            ("tile/1/000", 65_536),
            ("tile/2/000.p/1", 65_536),
            ("tile/1/001.p/17", 69_888),
        ] {
            let tile = path(text);
            assert!(!tile.is_within(from - 1) && tile.is_within(from) && tile.is_within(u64::MAX), "{text}");
            assert_eq!(tile.widest(from), Some(tile), "{text}");
            assert_eq!(tile.widest(u64::MAX).map(|tile| tile.is_full()), Some(true));
        }
        let high = TilePath::new(Content::Hashes(63), SIZE_MAX - 1, WIDTH).unwrap();
        assert!(!high.is_within(u64::MAX) && high.widest(SIZE_MAX).is_none());
        assert_eq!(path("tile/0/001.p/3").widest(256), None);
    }
}
