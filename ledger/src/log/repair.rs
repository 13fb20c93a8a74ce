//! Taking a torn tail off the log: what is cut is kept aside and durable before anything is overwritten.

use std::io;
use std::path::Path;

use crate::disk::{Disk, DiskFile, Open};
use crate::types::{Link, Position};

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

/// Keeps the bytes aside that a repair will cut, and says where.
pub(crate) fn keep_aside(
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
pub(crate) fn cut(
    file: &dyn DiskFile,
    offset: u64,
    bytes: u64,
    present: u64,
    capacity: u64,
) -> io::Result<()> {
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
