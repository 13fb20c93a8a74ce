//! What every disk promises, asked of each of them; and what a power cut does to the one in memory.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::{Failure, FaultyDisk, MemoryDisk, Pending};
use crate::disk::{Disk, Open, RealDisk};

fn promises(disk: &dyn Disk, root: &Path) {
    let dir = root.join("a/b");
    assert_eq!(disk.list(&dir).unwrap(), Vec::<String>::new());
    disk.make_dir(&dir).unwrap();
    disk.make_dir(&dir).unwrap();
    assert_eq!(disk.open(&dir.join("f"), Open::Write).err().unwrap().kind(), ErrorKind::NotFound);
    let file = disk.open(&dir.join("f"), Open::New).unwrap();
    assert_eq!(disk.open(&dir.join("f"), Open::New).err().unwrap().kind(), ErrorKind::AlreadyExists);
    file.write_at(b"hello", 3).unwrap();
    file.sync().unwrap();
    let mut buffer = [9; 16];
    assert_eq!(file.read_at(&mut buffer, 1).unwrap(), 7);
    assert_eq!(&buffer[..7], b"\0\0hello");
    assert_eq!(file.read_at(&mut buffer, 100).unwrap(), 0);
    file.set_len(4).unwrap();
    file.set_len(6).unwrap();
    assert_eq!(file.len().unwrap(), 6);
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 6);
    assert_eq!(&buffer[..6], b"\0\0\0h\0\0");
    disk.open(&dir.join("g"), Open::New).unwrap();
    disk.rename(&dir.join("f"), &dir.join("g")).unwrap();
    disk.sync_dir(&dir).unwrap();
    assert_eq!(disk.list(&dir).unwrap(), vec!["g"]);
    assert_eq!(disk.open(&dir.join("g"), Open::Read).unwrap().len().unwrap(), 6);
    disk.remove(&dir.join("g")).unwrap();
    assert_eq!(disk.remove(&dir.join("g")).err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(disk.list(root).unwrap(), vec!["a"]);
}

#[test]
fn every_disk_keeps_the_promises_of_the_seam() {
    let dir = tempfile::tempdir().unwrap();
    promises(&RealDisk, dir.path());
    promises(&MemoryDisk::new(), Path::new("/data"));
    promises(&FaultyDisk::new(Arc::new(MemoryDisk::new())), Path::new("/data"));
}

#[test]
fn files_and_directories_are_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("x/y");
    RealDisk.make_dir(&inner).unwrap();
    RealDisk.open(&inner.join("f"), Open::New).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir.path().join("x")), mode(&inner), mode(&inner.join("f"))), (0o700, 0o700, 0o600));
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest() {
    let disk = MemoryDisk::new();
    let dir = Path::new("/d");
    disk.make_dir(dir).unwrap();
    let file = disk.open(&dir.join("f"), Open::New).unwrap();
    file.write_at(&[1; 1024], 0).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.crash(&mut |_| false).paths().len(), 0, "its name was not durable");
    disk.sync_dir(dir).unwrap();
    file.write_at(&[2; 1024], 0).unwrap();
    file.set_len(2048).unwrap();
    assert_eq!(disk.pending().len(), 3);
    let after = disk.crash(&mut |p| matches!(p, Pending::Sector(_, 1))).bytes(&dir.join("f")).unwrap();
    assert_eq!(after, [vec![1; 512], vec![2; 512]].concat());
    assert_eq!(disk.crash(&mut |_| true).bytes(&dir.join("f")).unwrap().len(), 2048);
    disk.rename(&dir.join("f"), &dir.join("g")).unwrap();
    assert_eq!(disk.crash(&mut |_| false).paths(), vec![dir.join("f")]);
    assert_eq!(disk.crash(&mut |_| true).paths(), vec![dir.join("g")]);
}

#[test]
fn a_fault_hits_the_call_it_was_meant_for_with_or_without_effect() {
    for failure in Failure::ALL {
        let memory = MemoryDisk::new();
        let disk = FaultyDisk::new(Arc::new(memory.clone()));
        disk.make_dir(Path::new("/d")).unwrap();
        disk.fail_at(2, failure);
        let file = disk.open(Path::new("/d/f"), Open::New).unwrap();
        file.write_at(b"x", 0).unwrap_err();
        assert_eq!(file.len().unwrap() == 1, failure.takes_effect());
        file.write_at(b"x", 0).unwrap();
        disk.set_full(true);
        file.write_at(b"y", 0).unwrap();
        assert_eq!(file.write_at(b"yz", 0).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(disk.calls().len(), 6);
    }
}
