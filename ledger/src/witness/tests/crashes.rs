//! Two histories are shown to a witness whose power fails after any call to its disk, with any part of what was not
//! synced kept. It must never have answered for two trees that cannot both be true; and three witnesses that are built
//! wrong are caught by the same search.

use std::io;
use std::path::Path;

use super::*;
use crate::disk::{DiskFile, Open};

const SHARED: u64 = 4;

/// Shows a witness the histories, one after the other and as far as it lets them; the trees that it cosigned.
fn shown(witness: &mut Witness, logs: [&Log; 2], sizes: &[u64]) -> Vec<TreeHead> {
    let mut cosigned = Vec::new();
    for log in logs {
        for size in sizes {
            let known = witness.known(log.verifier().name()).size;
            if known <= *size && witness.add_checkpoint(&log.request(known, *size), NOW).is_ok() {
                cosigned.push(log.head(*size));
            }
        }
    }
    cosigned
}

/// Trees of which no single history has both.
fn contradiction(cosigned: &[TreeHead], logs: [&Log; 2]) -> bool {
    let of = |log: &Log| cosigned.iter().all(|tree| log.head(tree.size) == *tree);
    !logs.iter().any(|log| of(log))
}

/// Searches for a power cut that has the witness contradict itself. `disk` makes its disk out of a sound one.
fn caught(disk: impl Fn(Arc<dyn Disk>) -> Arc<dyn Disk>) -> Option<usize> {
    let (left, right) = (Log::of(0..20), Log::of((0..4).chain(50..70)));
    assert_eq!(left.head(SHARED), right.head(SHARED));
    let mut cut = 0;
    loop {
        let memory = MemoryDisk::new();
        let faulty = FaultyDisk::new(Arc::new(memory.clone()));
        faulty.cut_power_after(cut);
        let first = on(&disk(Arc::new(faulty.clone())));
        let before = first
            .map(|mut witness| shown(&mut witness, [&left, &right], &[4, 7, 11, 16]))
            .unwrap_or_default();
        let done = faulty.calls().len() < cut;
        let pending = memory.pending();
        for kept in 0..1_u32 << pending.len().min(6) {
            let mut number = 0;
            let after = memory.crash(&mut |_| {
                number += 1;
                kept >> (number - 1) & 1 == 1
            });
            let Ok(mut witness) = on(&disk(Arc::new(after))) else { continue };
            let again = shown(&mut witness, [&right, &left], &[4, 5, 7, 9, 11, 16, 20]);
            if contradiction(&[&before[..], &again].concat(), [&left, &right]) {
                return Some(cut);
            }
        }
        if done {
            return None;
        }
        cut += 1;
    }
}

#[test]
fn a_power_cut_at_any_call_never_has_a_witness_contradict_itself() {
    assert_eq!(caught(|disk| disk), None);
}

#[test]
fn witnesses_that_do_not_keep_what_they_answered_are_caught_by_the_same_search() {
    for way in [Way::NeverSyncs, Way::NamesLater, Way::RemovesFirst] {
        let found = caught(|disk| Arc::new(Wrong { disk, way, late: Mutex::default() }));
        assert!(found.is_some(), "{way:?}");
    }
}

#[test]
fn a_disk_that_fails_once_has_nothing_cosigned_that_is_not_kept_and_the_witness_goes_on() {
    let log = Log::of(0..20);
    for failure in Failure::ALL {
        for call in 0..20 {
            let memory = MemoryDisk::new();
            let faulty = FaultyDisk::new(Arc::new(memory.clone()));
            let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
            let Ok(mut witness) = on(&disk) else { continue };
            assert_eq!(status(&mut witness, &log.request(0, 4)), 200);
            faulty.fail_at(faulty.calls().len() + call, failure);
            let refused = witness.add_checkpoint(&log.request(4, 9), NOW);
            if let Err(refused) = refused {
                assert_eq!((refused.status(), witness.known(log.verifier().name()).size), (500, 4));
                assert_eq!(status(&mut witness, &log.request(4, 12)), 200, "{failure:?} at {call}");
            }
            let newest = witness.known(log.verifier().name());
            let disk: Arc<dyn Disk> = Arc::new(memory.crash(&mut |_| false));
            assert_eq!(on(&disk).unwrap().known(log.verifier().name()), newest);
        }
    }
}

use std::sync::{Mutex, PoisonError};

/// How a witness can be wrong about its disk.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// It answers before anything is durable.
    NeverSyncs,
    /// It answers, and gives the file its name with the next one.
    NamesLater,
    /// It takes the old file away before the new one has its name.
    RemovesFirst,
}

struct Wrong {
    disk: Arc<dyn Disk>,
    way: Way,
    late: Mutex<Option<(PathBuf, PathBuf)>>,
}

impl Wrong {
    fn catch_up(&self) -> io::Result<()> {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner).take();
        late.map_or(Ok(()), |(from, to)| self.disk.rename(&from, &to))
    }
}

impl Disk for Wrong {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, how)?;
        let unsynced = self.way == Way::NeverSyncs;
        Ok(if unsynced { Arc::new(Unsynced(file)) } else { file })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.make_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.way {
            Way::NeverSyncs => self.disk.rename(from, to),
            Way::NamesLater => {
                *self.late.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((from.to_owned(), to.to_owned()));
                Ok(())
            }
            Way::RemovesFirst => {
                let _ = self.disk.remove(to);
                if let Some(dir) = to.parent() {
                    self.disk.sync_dir(dir)?;
                }
                self.disk.rename(from, to)
            }
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.catch_up()?;
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.way == Way::NeverSyncs { Ok(()) } else { self.disk.sync_dir(dir) }
    }
}

struct Unsynced(Arc<dyn DiskFile>);

impl DiskFile for Unsynced {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
