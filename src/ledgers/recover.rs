//! A ledger as it is found on the disk, and held against what is known of it. Nothing of it runs yet.

use std::path::PathBuf;
use std::sync::Arc;

use ledger::anchor::{Contradiction, Known};
use ledger::disk::Disk;
use ledger::entry::IdKey;
use ledger::ids::{IdIndex, IdOptions};
use ledger::log::{LogStore, SegmentLog, SegmentOptions};
use ledger::snapshot;
use ledger::tiles::{TreeError, TreeStore};
use ledger::types::{LedgerName, LedgerUid, Position};
use uuid::Uuid;

use crate::anchors::{Contradicted, Source};
use crate::notary;
use crate::writer::LearnIds;

/// What is found of a ledger on the disk.
pub(super) struct Recovered {
    pub(super) log: Arc<SegmentLog>,
    pub(super) ids: IdIndex,
    pub(super) learn_ids: LearnIds,
    pub(super) state: snapshot::Recovered,
    pub(super) stopped: Option<String>,
    pub(super) snapshots: PathBuf,
    pub(super) uid: LedgerUid,
    pub(super) dir: PathBuf,
    pub(super) tree: Arc<TreeStore>,
    /// The checkpoint that is kept beside the log, unless the log contradicts it.
    pub(super) kept: Option<Known>,
    /// The one that is kept there with its cosignatures, likewise.
    pub(super) cosigned: Option<Known>,
    pub(super) contradicted: Vec<Contradicted>,
}

/// What it takes to find a ledger.
pub(super) struct Finding {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: SegmentOptions,
    pub(super) name: LedgerName,
    pub(super) known: Vec<(Source, Known)>,
    pub(super) overridden: bool,
}

impl Finding {
    pub(super) fn recover(self) -> Result<Recovered, String> {
        let Self { disk, dir, mut options, name, mut known, overridden } = self;
        let kept = notary::read_kept(disk.as_ref(), &dir)
            .map_err(|error| format!("its checkpoint can't be read: {error}"))?;
        let cosigned = notary::read_cosigned(disk.as_ref(), &dir)
            .map_err(|error| format!("its cosigned checkpoint can't be read: {error}"))?;
        known.extend(kept.iter().chain(&cosigned).map(|kept| (Source::Kept, kept.clone())));
        if !overridden {
            let most = known.iter().map(|(_, known)| known.checkpoint.tree.size).max();
            options.protected_through = Position(most.unwrap_or(0));
        }
        let (log, repair) = SegmentLog::open(Arc::clone(&disk), &dir, options).map_err(|e| e.to_string())?;
        if let Some(repair) = repair {
            tracing::warn!(
                ledger = %name, position = %repair.position, file = repair.file, bytes = repair.bytes,
                kept = repair.kept, reason = repair.reason, "a crash had left the end of the log half written; it was cut off"
            );
        }
        for damage in log.damage() {
            tracing::error!(ledger = %name, %damage, "the log is damaged; it takes no appends");
        }
        let log = Arc::new(log);
        let tree = Arc::new(TreeStore::open(Arc::clone(&disk), &dir.join("tree"), &log.frontiers()));
        let contradicted = contradicted(&name, &tree, &log, known)?;
        let holds = |kept: &Known| contradicted.iter().all(|found| found.known != *kept);
        let (kept, cosigned) = (kept.filter(holds), cosigned.filter(holds));
        let tail = log.tail();
        let uid = if tail.next == Position(0) { LedgerUid(Uuid::new_v4().into_bytes()) } else { tail.uid };
        let snapshots = dir.join("snapshots");
        let state = snapshot::recover(disk.as_ref(), &snapshots, log.as_ref());
        let mut ids = IdIndex::open(Arc::clone(&disk), &dir.join("ids"), IdOptions::new(uid))
            .map_err(|e| e.to_string())?;
        let learn_ids = learn_ids(Arc::clone(&log));
        let learned = learn_ids(&mut ids);
        // A damaged log takes no appends, but what is sound of it is served, and so are all other ledgers.
        let damage = log.damage().first().map(ToString::to_string);
        let unreadable =
            damage.or_else(|| state.unreadable.as_ref().map(ToString::to_string)).or(learned.err());
        let stopped = unreadable.map(|reason| format!("{reason}; run `tokenledger verify`"));
        Ok(Recovered {
            log,
            ids,
            learn_ids,
            state,
            stopped,
            snapshots,
            uid,
            dir,
            tree,
            kept,
            cosigned,
            contradicted,
        })
    }
}

/// Which of the checkpoints that are known of it a log contradicts.
fn contradicted(
    name: &LedgerName,
    tree: &TreeStore,
    log: &SegmentLog,
    known: Vec<(Source, Known)>,
) -> Result<Vec<Contradicted>, String> {
    let entries = log.tail().next.0;
    let mut contradicted = Vec::new();
    for (source, known) in known {
        match known.against(entries, |size| root_at(tree, log, size)) {
            Ok(None) => {}
            Ok(Some(how)) => {
                contradicted.push(Contradicted { ledger: name.clone(), source, known, entries, how });
            }
            Err(error) if !log.damage().is_empty() => {
                tracing::error!(ledger = %name, %error, "the damaged log can't be held against a checkpoint");
                let how = Contradiction::Unreadable { size: known.checkpoint.tree.size };
                contradicted.push(Contradicted { ledger: name.clone(), source, known, entries, how });
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(contradicted)
}

/// The root over the first entries. What is stored of the tree is checked with each answer, and made anew if need be.
fn root_at(tree: &TreeStore, log: &SegmentLog, size: u64) -> Result<ledger::tree::Hash, TreeError> {
    tree.catch_up(log)?;
    let head = match tree.head_at(size) {
        Err(_) => {
            tree.forget();
            tree.catch_up(log)?;
            tree.head_at(size)?
        }
        Ok(head) => head,
    };
    Ok(head.root)
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
