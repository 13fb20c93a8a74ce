//! Reading all entries, without a lock.

use std::path::Path;
use std::sync::Arc;

use super::logs::{DIR, groups, options, written};
use crate::disk::Disk;
use crate::disk::testing::MemoryDisk;
use crate::log::SegmentLog;
use crate::types::Position;
use crate::verify::{NotRead, each_entry, names};

fn read(disk: &MemoryDisk, end: u64) -> Result<Vec<Vec<u8>>, NotRead> {
    let mut entries = Vec::new();
    each_entry(disk, Path::new(DIR), Position(end), &(), |entry| {
        entries.push(entry.to_vec());
        Ok::<(), NotRead>(())
    })?;
    Ok(entries)
}

/// A log of several segments, and its entries; where asked for, with its sealed segments packed.
fn log(packed: bool) -> (MemoryDisk, Vec<Vec<u8>>) {
    let (disk, groups) = (MemoryDisk::new(), groups());
    written(disk.clone(), &groups);
    if packed {
        let (log, _) = SegmentLog::open(Arc::new(disk.clone()), Path::new(DIR), options()).unwrap();
        while log.pack_next(0, &|| true).unwrap().is_some() {}
    }
    (disk, groups.iter().flatten().map(|record| record.entry.to_vec()).collect())
}

#[test]
fn all_entries_and_any_first_part_of_them_are_read_packed_or_not() {
    for packed in [false, true] {
        let (disk, entries) = log(packed);
        assert!(names::segments(&disk, Path::new(DIR)).unwrap().len() > 2);
        for end in 0..=entries.len() {
            assert_eq!(read(&disk, end as u64).unwrap(), entries[..end], "packed: {packed}");
        }
        let beyond = read(&disk, entries.len() as u64 + 1);
        assert!(matches!(beyond, Err(NotRead::Ends(at)) if at.0 == entries.len() as u64), "{beyond:?}");
    }
    assert!(matches!(read(&MemoryDisk::new(), 1), Err(NotRead::Ends(Position(0)))));
}

#[test]
fn a_changed_byte_is_never_read_as_another_entry_and_a_lost_segment_is_named() {
    for packed in [false, true] {
        let (disk, entries) = log(packed);
        let segments = names::segments(&disk, Path::new(DIR)).unwrap();
        for segment in &segments {
            let path = Path::new(DIR).join(&*segment.file);
            for at in (0..disk.bytes(&path).unwrap().len()).step_by(23) {
                let changed = disk.copy();
                changed.flip(&path, at, 1 << (at % 8));
                match read(&changed, entries.len() as u64) {
                    // A footer, or what is reserved.
                    Ok(same) => assert_eq!(same, entries, "{} {at}", segment.file),
                    Err(NotRead::Damaged(damage)) => assert_eq!(damage.file, *segment.file),
                    Err(other) => panic!("{} {at}: {other}", segment.file),
                }
            }
        }
        let lost = disk.copy();
        lost.remove(&Path::new(DIR).join(&*segments[1].file)).unwrap();
        let told = read(&lost, entries.len() as u64).unwrap_err().to_string();
        assert!(told.starts_with(&format!("damage at position {}", segments[1].named)), "{told}");
    }
}
