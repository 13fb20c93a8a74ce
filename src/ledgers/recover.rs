//! What a ledger was when its server ended: the state that its writer decides by, and the ids that it knows.

use std::path::PathBuf;
use std::sync::Arc;

use ledger::disk::Disk;
use ledger::entry::IdKey;
use ledger::ids::{IdIndex, IdOptions};
use ledger::log::{LogStore, SegmentLog};
use ledger::snapshot;
use ledger::types::{LedgerUid, Position};
use uuid::Uuid;

use super::find::Found;
use crate::writer::LearnIds;

/// What a ledger's writer begins with.
pub(super) struct Recovered {
    pub(super) ids: IdIndex,
    pub(super) learn_ids: LearnIds,
    pub(super) state: snapshot::Recovered,
    pub(super) stopped: Option<String>,
    pub(super) snapshots: PathBuf,
    pub(super) uid: LedgerUid,
}

impl Recovered {
    /// Rebuilds it from the newest snapshot and what the log has since.
    pub(super) fn of(found: &Found, disk: Arc<dyn Disk>) -> Result<Self, String> {
        let log = &found.log;
        let tail = log.tail();
        let uid = if tail.next == Position(0) { LedgerUid(Uuid::new_v4().into_bytes()) } else { tail.uid };
        let snapshots = found.dir.join("snapshots");
        let state = snapshot::recover(disk.as_ref(), &snapshots, log.as_ref());
        let mut ids =
            IdIndex::open(disk, &found.dir.join("ids"), IdOptions::new(uid)).map_err(|e| e.to_string())?;
        let learn_ids = learn_ids(Arc::clone(log));
        let learned = learn_ids(&mut ids);
        // A damaged log takes no appends, but what is sound of it is served, and so are all other ledgers.
        let damage = log.damage().first().map(ToString::to_string);
        let unreadable =
            damage.or_else(|| state.unreadable.as_ref().map(ToString::to_string)).or(learned.err());
        let stopped = unreadable.map(|reason| format!("{reason}; run `tokenledger verify`"));
        Ok(Self { ids, learn_ids, state, stopped, snapshots, uid })
    }
}

/// Feeds an index of ids what it does not cover yet.
fn learn_ids(log: Arc<SegmentLog>) -> LearnIds {
    Arc::new(move |ids: &mut IdIndex| {
        if ids.covered() > log.tail().next {
            ids.reset().map_err(|e| e.to_string())?;
        }
        let mut missing: Vec<(Position, IdKey)> = Vec::new();
        log.for_each_id(ids.covered(), &mut |key, position| missing.push((position, key)))
            .map_err(|e| e.to_string())?;
        missing.sort_unstable_by_key(|(position, _)| *position);
        for (position, key) in missing {
            // Where a segment is lost, nobody can tell which ids were recorded in it.
            if position != ids.covered() {
                return Err(format!("the entries from position {} on are missing", ids.covered()));
            }
            ids.insert(key, position);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ledger::disk::testing::MemoryDisk;
    use ledger::entry::{self, Header, Record};
    use ledger::log::SegmentOptions;

    use super::*;

    #[test]
    fn a_log_that_lost_a_segment_teaches_its_ids_up_to_there_and_says_so() {
        let dir = Path::new("/data/ledgers/default");
        let memory = MemoryDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let options =
            SegmentOptions { first_segment_bytes: 4096, segment_bytes_max: 4096, ..Default::default() };
        let (log, _) = SegmentLog::open(Arc::clone(&disk), dir, options).unwrap();
        for _ in 0..60 {
            let tail = log.tail();
            let header = Header {
                uid: LedgerUid([1; 16]),
                position: tail.next,
                epoch: 0,
                previous: tail.link,
                recorded_at: tail.recorded_at,
                event_id: uuid::Uuid::from_u128(u128::from(tail.next.0)),
                emitter: "e".parse().unwrap(),
            };
            let entry = bytes::Bytes::from(entry::encode(&header, &[7; 150]).unwrap());
            let link = entry::link(&entry);
            log.append(tail.next, &[Record::new(entry, link, (0, 1))]).unwrap();
        }
        drop(log);
        let mut segments = memory.paths();
        segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
        assert!(segments.len() > 3);
        let lost: u64 = segments[1].file_stem().unwrap().to_str().unwrap().parse().unwrap();
        disk.remove(&segments[1]).unwrap();
        let (log, _) = SegmentLog::open(Arc::clone(&disk), dir, options).unwrap();
        assert!(!log.damage().is_empty());
        let mut ids = IdIndex::open(disk, &dir.join("ids"), IdOptions::new(LedgerUid([1; 16]))).unwrap();
        let said = learn_ids(Arc::new(log))(&mut ids).unwrap_err();
        assert_eq!((ids.covered(), said.contains(&lost.to_string())), (Position(lost), true), "{said}");
    }
}
