//! The names that a data directory may hold.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::walk::Segment;
use crate::disk::Disk;
use crate::types::Position;

/// What may stand in the data directory itself.
const IN_DATA: [&str; 3] = ["ledgers", "lock", "projections"];
/// What may stand in a ledger's directory.
const IN_LEDGER: [&str; 9] = [
    "checkpoint",
    "checkpoint.tmp",
    "checkpoint.witnessed",
    "checkpoint.witnessed.tmp",
    "ids",
    "log",
    "snapshots",
    "tail",
    "tree",
];

/// Names in the data directory that are none of the product's.
pub(super) fn strangers_in_data(disk: &dyn Disk, data_dir: &Path) -> io::Result<Vec<String>> {
    Ok(disk.list(data_dir)?.into_iter().filter(|name| !IN_DATA.contains(&name.as_str())).collect())
}

/// Names in a ledger's directories that are none of the product's, relative to the ledger's directory.
pub(super) fn strangers_in_ledger(disk: &dyn Disk, ledger: &Path) -> io::Result<Vec<String>> {
    let mut strangers: Vec<String> =
        disk.list(ledger)?.into_iter().filter(|name| !IN_LEDGER.contains(&name.as_str())).collect();
    for name in disk.list(&ledger.join("log"))? {
        if segment_position(&name).is_none() && !["next.tmp", "pack.tmp", "torn"].contains(&name.as_str()) {
            strangers.push(format!("log/{name}"));
        }
    }
    let torn = disk.list(&ledger.join("log/torn"))?;
    strangers
        .extend(torn.into_iter().filter(|name| !kept_aside(name)).map(|name| format!("log/torn/{name}")));
    Ok(strangers)
}

/// The segments of a ledger, in order.
pub(crate) fn segments(disk: &dyn Disk, ledger: &Path) -> io::Result<Vec<Segment>> {
    let names = disk.list(&ledger.join("log"))?;
    let mut found: Vec<(Position, String)> =
        names.into_iter().filter_map(|name| Some((segment_position(&name)?, name))).collect();
    found.sort();
    let followers: Vec<Position> = found.iter().skip(1).map(|segment| segment.0).collect();
    let segment = |(i, (named, name)): (usize, (Position, String))| Segment {
        file: Arc::from(format!("log/{name}")),
        named,
        follower: followers.get(i).copied(),
    };
    Ok(found.into_iter().enumerate().map(segment).collect())
}

/// `NNNNNNNNNNNNNNNNNNNN.seg`: 20 digits.
fn segment_position(name: &str) -> Option<Position> {
    let digits =
        name.strip_suffix(".seg").filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().map(Position)
}

/// `POSITION-N.bin` or `POSITION-N.json`: what a repair kept aside.
fn kept_aside(name: &str) -> bool {
    let stem = name.strip_suffix(".bin").or_else(|| name.strip_suffix(".json"));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    stem.and_then(|stem| stem.split_once('-')).is_some_and(|(position, n)| number(position) && number(n))
}
