//! Files of format version 1 as they were written first. They must be read, and written alike, for ever.

use std::path::PathBuf;

use super::*;

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/log-v1")
}

/// A sealed segment and an open one.
fn build() -> (MemoryDisk, Vec<Record>) {
    let disk = MemoryDisk::new();
    let options = SegmentOptions { first_segment_bytes: 2048, segment_bytes_max: 4096, ..small() };
    let (log, _) = SegmentLog::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap();
    let mut chain = Chain::new();
    let mut records = Vec::new();
    for batches in [&[1][..], &[2], &[1, 1], &[3]] {
        let group = chain.group(batches, 60);
        log.append(log.tail().next, &group).unwrap();
        records.extend(group);
    }
    assert_eq!(log.view().sealed.len(), 1);
    (disk, records)
}

#[test]
fn the_same_entries_give_the_same_files_as_ever() {
    let (disk, _) = build();
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for path in disk.paths() {
        let name = path.strip_prefix(DIR).unwrap().to_owned();
        let bytes = disk.bytes(&path).unwrap();
        assert!(bytes.len() < 8192);
        let golden = golden_dir().join(name);
        if update {
            std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
            std::fs::write(&golden, &bytes).unwrap();
        }
        assert!(std::fs::read(&golden).unwrap() == bytes, "{} differs", golden.display());
    }
}

#[test]
fn files_of_version_1_are_read() {
    let disk = MemoryDisk::new();
    for entry in std::fs::read_dir(golden_dir().join("log")).unwrap() {
        let path = entry.unwrap().path();
        let name = Path::new(DIR).join("log").join(path.file_name().unwrap());
        disk.put(&name, &std::fs::read(&path).unwrap());
    }
    let (log, repair) = open_on(disk.clone());
    assert_eq!((log.damage(), repair), (vec![], None));
    assert_eq!(all(&log), build().1);
    drop(log);
    check_prefix(&disk, &build().1, 8);
}
