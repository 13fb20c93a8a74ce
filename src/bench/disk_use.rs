//! How many bytes a ledger takes on the disk.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use serde::Serialize;

/// How much is read at a time while the end of a log is searched.
const STEP_BYTES: u64 = 64 * 1024;
/// What `stat` counts blocks in.
const BLOCK_BYTES: u64 = 512;

/// Bytes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct DiskUse {
    /// Of the log, without what is written ahead and not used yet.
    pub(super) log_bytes: u64,
    /// Of everything: log, snapshots, index of ids, projections.
    pub(super) all_bytes: u64,
    /// Of the segment of each log that is written to now, and the first positions of these.
    pub(super) hot_bytes: u64,
    pub(super) hot_from: u64,
}

impl DiskUse {
    /// Of a data directory, with all its ledgers.
    pub(super) fn of(data: &Path) -> io::Result<Self> {
        let mut used = Self::default();
        used.add_dir(data)?;
        Ok(used)
    }

    /// With what lies elsewhere and belongs to it.
    pub(super) fn with_rest(self, rest: Self) -> Self {
        Self { all_bytes: self.all_bytes + rest.all_bytes, ..self }
    }

    fn add_dir(&mut self, dir: &Path) -> io::Result<()> {
        let mut hot: Option<(u64, u64)> = None;
        let is_log = dir.file_name().is_some_and(|name| name == "log");
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                self.add_dir(&path)?;
                continue;
            }
            // A server may have removed it meanwhile.
            let Some(bytes) = there(bytes_of(&path, is_log))? else { continue };
            self.all_bytes += bytes;
            if is_log {
                self.log_bytes += bytes;
                hot = hot.max(first_position(&path).map(|first| (first, bytes)));
            }
        }
        let (from, bytes) = hot.unwrap_or_default();
        self.hot_from += from;
        self.hot_bytes += bytes;
        Ok(())
    }
}

fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

fn bytes_of(path: &Path, is_log: bool) -> io::Result<u64> {
    if is_log { used_bytes(path) } else { Ok(path.metadata()?.blocks() * BLOCK_BYTES) }
}

/// The position that a segment begins with, which is its name; `None`: it is no segment.
fn first_position(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// The bytes of a file up to its last one that is not zero; nothing of a segment that is only prepared.
fn used_bytes(path: &Path) -> io::Result<u64> {
    if path.extension().is_some_and(|end| end == "tmp") {
        return Ok(0);
    }
    let file = File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut step = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(STEP_BYTES);
        step.resize(usize::try_from(end - begin).unwrap_or(0), 0);
        file.read_exact_at(&mut step, begin)?;
        if let Some(last) = step.iter().rposition(|byte| *byte != 0) {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_written_ahead_are_no_bytes_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("ledgers/l/log");
        fs::create_dir_all(&log).unwrap();
        let mut segment = vec![0; 300_000];
        segment[99_999] = 7;
        fs::write(log.join("00.seg"), &segment).unwrap();
        fs::write(log.join("40.seg"), [1, 2, 3, 0, 0]).unwrap();
        fs::write(log.join("next.tmp"), [1; 5_000]).unwrap();
        fs::write(dir.path().join("snapshot"), [1; 5_000]).unwrap();
        let used = DiskUse::of(dir.path()).unwrap();
        assert_eq!(used.log_bytes, 100_003);
        assert_eq!((used.hot_from, used.hot_bytes), (40, 3), "the last one is written to");
        assert!(used.all_bytes >= 105_000 && used.all_bytes < 120_000, "{used:?}");
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        assert!(DiskUse::of(Path::new("/nowhere/at/all")).is_err());
    }
}
