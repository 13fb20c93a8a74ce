//! Readers and a writer beside packing, and what opening reads.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::disk::{DiskFile, Open};

#[test]
fn readers_and_a_writer_beside_packing_notice_nothing() {
    let (_, log, _) = hot(2);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            grow(&log, 40);
            done.store(true, Ordering::SeqCst);
        });
        let packer = scope.spawn(|| {
            let mut packed = 0;
            while !done.load(Ordering::SeqCst) || log.waits_for_packing(0) > 0 {
                packed += usize::from(pack(&log).is_some());
            }
            packed
        });
        let mut step = 0;
        while !packer.is_finished() {
            let tail = log.tail().next.0;
            step = (step * 31 + 7) % tail.max(1);
            let read = log.read(Position(step), 2000).unwrap();
            assert!(!read.is_empty());
            assert_eq!(crate::entry::decode(&read[0].entry).unwrap().0.position, Position(step));
            let many = log.read_many(&[Position(step), Position(tail - 1), Position(step / 2)]).unwrap();
            assert_eq!(crate::entry::decode(&many[2].entry).unwrap().0.position, Position(step / 2));
            assert_eq!(ids_of(&log, step).first().map(|id| id.0), Some(Position(step)));
        }
        assert_eq!(packer.join().unwrap(), 40);
        assert_eq!(log.read(Position(0), usize::MAX).unwrap().len() as u64, log.tail().next.0);
    });
}

#[test]
fn a_reader_that_holds_the_old_file_goes_on_undisturbed() {
    let (_, log, records) = hot(2);
    let (span, file) = log.locate(Position(3)).unwrap().unwrap();
    pack(&log).unwrap();
    let bytes = crate::log::read::read_range(file.as_ref(), span.start.1, span.end.1).unwrap();
    assert!(bytes.windows(records[3].entry.len()).any(|w| w == &records[3].entry[..]));
}

/// Counts the bytes that are read.
#[derive(Clone)]
struct Counting(MemoryDisk, Arc<AtomicU64>);

struct CountingFile(Arc<dyn DiskFile>, Arc<AtomicU64>);

impl Disk for Counting {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(CountingFile(self.0.open(path, how)?, Arc::clone(&self.1))))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.make_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
}

impl DiskFile for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn opening_reads_of_a_packed_segment_its_header_and_where_its_blocks_stand() {
    let (disk, log, records) = hot(12);
    assert_eq!(pack_all(&log), 12);
    let (packed, mut allowed) = (log.packed(), 0);
    let view = log.view();
    for sealed in &view.sealed {
        let bytes = disk.bytes(&path(sealed.first)).unwrap().len() as u64;
        let blocks = (sealed.end / 2000).max(2);
        let tree = sealed.tree.as_ref().map_or(0, |tree| tree.to_bytes().len() as u64);
        // The header, the trailer, the fixed part twice, the tree.
        let head = 512 + 16 + 2 * 104 + tree + 8 * blocks + 4;
        allowed += head;
        assert!(sealed.blocks.is_some() && bytes > 2 * head);
    }
    // Of the open one the header, the trailer and every frame; what is behind them, which must be zeros, as what a frame
    // could still be in and then as a whole; and the frames once more, to be written again.
    let (capacity, end) = view.open.as_ref().map(|open| (open.capacity, open.index.end.offset)).unwrap();
    allowed += 512 + 16 + capacity + 2 * (capacity - end) + end;
    let counting = Counting(disk.copy(), Arc::default());
    let (again, _) = open_on(counting.clone());
    let read = counting.1.load(Ordering::Relaxed);
    assert!(read <= allowed, "{read} bytes, not {allowed}");
    assert!(allowed < packed.bytes, "which is less than all of it");
    drop(view);
    let before = counting.1.load(Ordering::Relaxed);
    assert_eq!(again.read(Position(40), 1).unwrap(), records[40..41]);
    let one = counting.1.load(Ordering::Relaxed) - before;
    assert!(one <= 4096, "one entry costs the reading of one block, not {one} bytes");
}
