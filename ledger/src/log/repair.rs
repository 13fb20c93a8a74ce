//! What is done about a log that was found as a crash left it. A torn tail is taken off: what is cut is kept aside and
//! durable before anything is overwritten.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Open};
use crate::types::{Link, Position};

use super::GROUP_BYTES_MAX;
use super::prepare::write_zeros;
use super::read::read_range;
use super::segment::{TORN_NAME, log_dir};

/// What opening a log had to repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The position where the log ends now; what was cut stood behind it.
    pub position: Position,
    /// The link of the last entry that was kept; zeros where none was.
    pub link: Link,
    /// The file, relative to the ledger's directory.
    pub file: String,
    /// Where the cut begins in that file.
    pub offset: u64,
    /// How many bytes were cut. 0 where only the length of the file was restored.
    pub bytes: u64,
    /// Where the cut bytes are kept, relative to the ledger's directory; `None` where they held no entry.
    pub kept: Option<String>,
    /// What was wrong.
    pub reason: String,
}

/// What is left to be done on the disk about a log that was found.
#[derive(Default)]
pub(crate) struct Left {
    /// About its last segment, in this file.
    pub(crate) last: Option<(PathBuf, Last)>,
    /// Files that became no part of it, to be removed.
    pub(crate) unused: Vec<PathBuf>,
}

/// What is left to be done about a log's last segment.
pub(crate) enum Last {
    /// It takes appends, once it is durable up to here.
    Open {
        /// An offset in the file.
        through: u64,
    },
    /// It is sealed and of the right length, and not known to be durable.
    Sealed {
        /// The length of the file.
        through: u64,
    },
    /// It is sealed, and longer than it should be.
    Uncut {
        /// The length that the file should have.
        bytes: u64,
    },
    /// What stands behind its sound entries is to be cut.
    Torn {
        /// What is cut.
        repair: Repair,
        /// Whether there may be entries in it, so that it is kept aside.
        entries: bool,
        /// The length of the file.
        present: u64,
        /// The length that it should have.
        capacity: u64,
    },
}

/// A log's last segment, once all is done about it.
#[derive(Default)]
pub(crate) struct Right {
    /// Its file, where it takes appends.
    pub(crate) file: Option<Arc<dyn DiskFile>>,
    /// What was cut.
    pub(crate) repair: Option<Repair>,
}

impl Left {
    /// Does it.
    pub(crate) fn put_right(self, disk: &dyn Disk, ledger_dir: &Path) -> io::Result<Right> {
        let mut right = Right::default();
        if let Some((path, last)) = self.last {
            let file = disk.open(&path, Open::Write)?;
            match last {
                Last::Open { through } => {
                    make_durable(disk, ledger_dir, file.as_ref(), through)?;
                    right.file = Some(file);
                }
                Last::Sealed { through } => {
                    make_durable(disk, ledger_dir, file.as_ref(), through)?;
                }
                Last::Uncut { bytes } => {
                    file.set_len(bytes)?;
                    file.sync()?;
                }
                Last::Torn { mut repair, entries, present, capacity } => {
                    if repair.bytes > 0 && entries {
                        repair.kept = Some(keep_aside(disk, ledger_dir, file.as_ref(), &repair)?);
                    }
                    cut(file.as_ref(), repair.offset, repair.bytes, present, capacity)?;
                    right = Right { file: Some(file), repair: Some(repair) };
                }
            }
        }
        for unused in &self.unused {
            // The next start tries again.
            let _ = disk.remove(unused);
        }
        Ok(right)
    }
}

/// What is found sound counts as durable from here on, so it must be. A process that was killed between a write and its
/// sync leaves bytes that are only in the system's cache; and after a sync that failed the system may take them for
/// written, so that another sync alone does nothing. So the end of the file, as much as can have been in flight, is
/// written once more before it is synced.
fn make_durable(disk: &dyn Disk, ledger_dir: &Path, file: &dyn DiskFile, end: u64) -> io::Result<()> {
    let start = end.saturating_sub(GROUP_BYTES_MAX as u64);
    file.write_at(&read_range(file, start, end)?, start)?;
    file.sync()?;
    disk.sync_dir(&log_dir(ledger_dir))
}

/// Keeps the bytes aside that a repair will cut, and says where.
fn keep_aside(
    disk: &dyn Disk,
    ledger_dir: &Path,
    file: &dyn DiskFile,
    repair: &Repair,
) -> io::Result<String> {
    let dir = log_dir(ledger_dir).join(TORN_NAME);
    disk.make_dir(&dir)?;
    let names = disk.list(&dir)?;
    let free = |n: &u32| !names.iter().any(|name| name.starts_with(&format!("{}-{n}.", repair.position)));
    let number = (0..=u32::MAX).find(free).unwrap_or_default();
    let name = format!("{}-{number}", repair.position);
    let bytes = read_range(file, repair.offset, repair.offset + repair.bytes)?;
    write_new(disk, &dir.join(format!("{name}.bin")), &bytes)?;
    write_new(disk, &dir.join(format!("{name}.json")), describe(repair).as_bytes())?;
    disk.sync_dir(&dir)?;
    Ok(format!("log/{TORN_NAME}/{name}.bin"))
}

fn write_new(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(path, Open::New)?;
    file.write_at(bytes, 0)?;
    file.sync()
}

fn describe(repair: &Repair) -> String {
    let Repair { position, link, file, offset, bytes, reason, .. } = repair;
    format!(
        "{{\"position\":{position},\"file\":\"{file}\",\"offset\":{offset},\"bytes\":{bytes},\
         \"link\":\"{link}\",\"reason\":\"{reason}\"}}\n"
    )
}

/// Overwrites the cut bytes with zeros, then gives a file that ended early its capacity back. In this order, so that a
/// crash in between leaves the file still early: its last entry must not look whole in length and broken in content.
fn cut(file: &dyn DiskFile, offset: u64, bytes: u64, present: u64, capacity: u64) -> io::Result<()> {
    if bytes > 0 {
        write_zeros(file, offset, offset + bytes)?;
        file.sync()?;
    }
    if present < capacity {
        write_zeros(file, present, capacity)?;
        file.sync()?;
    }
    Ok(())
}
