//! The manifest: which runs make up the index, and up to where. It is written last, so it names nothing that was not
//! written before it; and it carries the check of each run's directory, which carries those of the pages, so an index
//! that opens is the index of *some* moment, whole.
//!
//! ```text
//! "TKLIDX02" | cursor | link 32 | next run | limbo: count, run* | runs: count, (run, tier, first, end, pieces, check)* | CRC-32
//! ```
//! Numbers are varints, except the CRC (4 bytes, little-endian, over the namespace and all before it).

use super::run::RunRecord;
use super::space::Space;
use super::{Mark, varint};
use crate::store::StoreError;

const MAGIC: &[u8; 8] = b"TKLIDX02";

/// What is stored about an index as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) mark: Mark,
    /// The number that the next run gets.
    pub(super) next_run: u64,
    /// Runs that may have left parts behind and belong to no index: half-written or merged away.
    pub(super) limbo: Vec<u64>,
    /// The runs, in the order of their positions.
    pub(super) runs: Vec<RunRecord>,
}

impl Manifest {
    /// Reads the manifest of a namespace; `None` where there is none.
    pub(super) fn read(space: &Space) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = space.manifest()? else { return Ok(None) };
        let sound = || {
            let (body, check) = bytes.split_last_chunk::<4>()?;
            let manifest = Self::decode(body)?;
            (u32::from_le_bytes(*check) == space.check(b"M", body) && manifest.is_whole()).then_some(manifest)
        };
        sound().map(Some).ok_or_else(|| StoreError::doubtful("the manifest is not what was written"))
    }

    /// Makes this the manifest of a namespace.
    pub(super) fn write(&self, space: &Space) -> Result<(), StoreError> {
        let mut bytes = self.encode();
        let check = space.check(b"M", &bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        space.write_manifest(bytes)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        varint::put(&mut out, self.mark.cursor);
        out.extend_from_slice(&self.mark.link);
        varint::put(&mut out, self.next_run);
        varint::put(&mut out, self.limbo.len() as u64);
        self.limbo.iter().for_each(|&run| varint::put(&mut out, run));
        varint::put(&mut out, self.runs.len() as u64);
        for run in &self.runs {
            let numbers = [
                run.id,
                run.tier.into(),
                run.positions.start,
                run.positions.end,
                run.pieces.into(),
                run.check.into(),
            ];
            numbers.into_iter().for_each(|n| varint::put(&mut out, n));
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let cursor = varint::take(&mut rest)?;
        let (link, after_link) = rest.split_first_chunk::<32>()?;
        rest = after_link;
        let next_run = varint::take(&mut rest)?;
        let limbo = (0..varint::take(&mut rest)?).map(|_| varint::take(&mut rest)).collect::<Option<_>>()?;
        let runs = (0..varint::take(&mut rest)?).map(|_| decode_run(&mut rest)).collect::<Option<_>>()?;
        rest.is_empty().then_some(Self { mark: Mark { cursor, link: *link }, next_run, limbo, runs })
    }

    /// Whether the runs follow one another without a gap from 0 to the cursor.
    fn is_whole(&self) -> bool {
        let mut end = 0;
        for run in &self.runs {
            if run.positions.start != end || run.positions.end <= end || run.id >= self.next_run {
                return false;
            }
            end = run.positions.end;
        }
        end == self.mark.cursor
    }
}

fn decode_run(rest: &mut &[u8]) -> Option<RunRecord> {
    let id = varint::take(rest)?;
    let tier = u8::try_from(varint::take(rest)?).ok()?;
    let positions = varint::take(rest)?..varint::take(rest)?;
    let pieces = u32::try_from(varint::take(rest)?).ok()?;
    let check = u32::try_from(varint::take(rest)?).ok()?;
    Some(RunRecord { id, tier, positions, pieces, check })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::MemoryStore;

    fn run(id: u64, positions: std::ops::Range<u64>) -> RunRecord {
        RunRecord { id, tier: 1, positions, pieces: 1, check: u32::MAX }
    }

    fn sample() -> Manifest {
        let mark = Mark { cursor: 300, link: [7; 32] };
        Manifest { mark, next_run: 9, limbo: vec![3, 8], runs: vec![run(2, 0..200), run(5, 200..300)] }
    }

    fn space(namespace: &str) -> Space {
        Space::new(Arc::new(MemoryStore::new()), namespace)
    }

    #[test]
    fn a_manifest_is_read_back_as_written() {
        let space = space("n");
        assert_eq!(Manifest::read(&space), Ok(None));
        sample().write(&space).unwrap();
        assert_eq!(Manifest::read(&space), Ok(Some(sample())));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_manifest_is_doubtful() {
        let space = space("n");
        sample().write(&space).unwrap();
        let sound = space.manifest().unwrap().unwrap().to_vec();
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            space.write_manifest(bytes).unwrap();
            assert!(Manifest::read(&space).unwrap_err().is_doubtful(), "bit {bit}");
        }
        for cut in 0..sound.len() {
            space.write_manifest(sound[..cut].to_vec()).unwrap();
            assert!(Manifest::read(&space).unwrap_err().is_doubtful(), "cut at {cut}");
        }
    }

    #[test]
    fn the_manifest_of_another_namespace_is_doubtful() {
        let (ours, theirs) = (space("ours"), space("theirs"));
        sample().write(&theirs).unwrap();
        ours.write_manifest(theirs.manifest().unwrap().unwrap().to_vec()).unwrap();
        assert!(Manifest::read(&ours).unwrap_err().is_doubtful());
    }

    #[test]
    fn runs_that_leave_a_gap_are_doubtful() {
        let space = space("n");
        let gap = Manifest { runs: vec![run(2, 0..100), run(5, 200..300)], ..sample() };
        let short = Manifest { runs: vec![run(2, 0..200)], ..sample() };
        for manifest in [gap, short] {
            manifest.write(&space).unwrap();
            assert!(Manifest::read(&space).unwrap_err().is_doubtful());
        }
    }
}
