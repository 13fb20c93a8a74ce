//! Files as they were written first. They must be read for ever, and those of version 1 written alike. (How a packed
//! file is compressed may change with the library that does it; what is in it may not.)

use std::path::PathBuf;

use super::*;

/// Logs that were written before footers had the frontier of the tree, and those that have it.
const VERSION_1: [&str; 2] = ["log-v1", "log-v1-tree"];
const VERSION_2: [&str; 2] = ["log-v2", "log-v2-tree"];

fn golden_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
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
        let golden = golden_dir(VERSION_1[1]).join(name);
        if update {
            std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
            std::fs::write(&golden, &bytes).unwrap();
        }
        assert!(std::fs::read(&golden).unwrap() == bytes, "{} differs", golden.display());
    }
}

#[test]
fn files_of_version_1_are_read() {
    for (version, trees) in VERSION_1.into_iter().zip([0, 2]) {
        let disk = MemoryDisk::new();
        for entry in std::fs::read_dir(golden_dir(version).join("log")).unwrap() {
            let path = entry.unwrap().path();
            let name = Path::new(DIR).join("log").join(path.file_name().unwrap());
            disk.put(&name, &std::fs::read(&path).unwrap());
        }
        let (log, repair) = open_on(disk.clone());
        assert_eq!((log.damage(), repair), (vec![], None), "{version}");
        assert_eq!(all(&log), build().1, "{version}");
        assert_eq!(log.frontiers().len(), trees, "{version}");
        drop(log);
        check_prefix(&disk, &build().1, 8);
    }
}

/// A packed segment of several blocks, a sealed one that is not packed, and an open one.
fn build_packed() -> (MemoryDisk, Vec<Record>) {
    let disk = MemoryDisk::new();
    let options = SegmentOptions { first_segment_bytes: 12_288, segment_bytes_max: 2048, ..small() };
    let (log, _) = SegmentLog::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap();
    let mut chain = Chain::new();
    let mut records = Vec::new();
    while log.view().sealed.len() < 2 {
        let group = chain.group(&[1, 2, 3], 60);
        log.append(log.tail().next, &group).unwrap();
        records.extend(group);
    }
    assert!(log.pack_next(0, &|| true).unwrap().is_some());
    (disk, records)
}

#[test]
fn files_of_version_2_are_read_and_nothing_in_them_is_written_otherwise() {
    let (built, records) = build_packed();
    let segments = built.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "seg"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let dir = golden_dir(VERSION_2[1]).join("log");
        std::fs::create_dir_all(&dir).unwrap();
        for path in segments.clone() {
            let golden = dir.join(path.file_name().unwrap());
            std::fs::write(golden, built.bytes(&path).unwrap()).unwrap();
        }
    }
    for (version, trees) in VERSION_2.into_iter().zip([0, 3]) {
        let disk = MemoryDisk::new();
        for path in segments.clone() {
            let golden = golden_dir(version).join("log").join(path.file_name().unwrap());
            let golden = std::fs::read(golden).unwrap();
            disk.put(&path, &golden);
            let written = unpacked(&built.bytes(&path).unwrap());
            assert!(trees == 0 || unpacked(&golden) == written, "{}", path.display());
        }
        let (log, repair) = open_on(disk.clone());
        assert_eq!((log.damage(), repair, log.packed().segments), (vec![], None, 1), "{version}");
        assert_eq!((all(&log), log.frontiers().len()), (records.clone(), trees), "{version}");
        drop(log);
        check_prefix(&disk, &records, records.len());
    }
}

/// What a packed file holds: header, entries and frames of each block, and the footer's facts and ids, without offsets.
/// Of another file, its bytes.
fn unpacked(file: &[u8]) -> Vec<u8> {
    if file[8] != 2 {
        return file.to_vec();
    }
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let (mut at, mut all, mut blocks) = (512, file[..512].to_vec(), 0);
    while file[at..at + 8] != *b"TKLFOOT2" {
        let end = at + 16 + number(at);
        all.extend(&file[at + 4..at + 12]);
        all.extend(zstd::bulk::decompress(&file[at + 16..end], 1 << 20).unwrap());
        (at, blocks) = (end, blocks + 1);
    }
    assert!(blocks >= 2);
    let places = at + 104 + number(at + 80);
    all.extend(&file[at..places]);
    (0..blocks).for_each(|n| all.extend(&file[places + 8 * n..][..4]));
    all.extend(&file[places + 8 * blocks + 4..]);
    all
}
