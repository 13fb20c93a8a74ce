//! One tile or bundle, held against the checkpoint that is published.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ledger::log::ReadError;
use ledger::tiles::{Content, TilePath, TreeError, WIDTH, push_entry};
use ledger::tree::{Hash, TreeHead};
use ledger::types::{LedgerName, Position};

use crate::ledgers::Ledger;

/// So much of the log is read at a time.
const READ_BYTES: usize = 256 * 1024;
/// How long a tree is left alone after it was made anew: where that did not help, the log is not what was signed.
const MEND_EVERY: Duration = Duration::from_secs(60);

/// Why a tile is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotServed {
    /// The stored tree is behind, or doubtful, and is being made anew.
    #[error("the tree is being made anew from the log; ask again")]
    Mending,
    /// It can't be read.
    #[error("{0}")]
    Tree(TreeError),
    /// The log can't be read.
    #[error("{0}")]
    Log(#[from] ReadError),
    /// An entry is not the one that was signed.
    #[error("the entry at position {0} is not the one that the checkpoint covers; run `tokenledger verify`")]
    Changed(u64),
}

/// When each ledger's tree was made anew last.
#[derive(Clone, Default)]
pub(super) struct Mending(Arc<Mutex<BTreeMap<LedgerName, Instant>>>);

impl Mending {
    /// Whether it may be made anew now; asked once, it may not for a while.
    fn may(&self, ledger: &LedgerName) -> bool {
        let mut mended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = mended.get(ledger).is_none_or(|last| last.elapsed() >= MEND_EVERY);
        if rested {
            mended.insert(ledger.clone(), Instant::now());
        }
        rested
    }
}

/// The bytes of what a tree, which the log had when the checkpoint was signed, has under a name.
pub(super) fn read(
    ledger: &Ledger,
    tree: &TreeHead,
    path: TilePath,
    mending: &Mending,
) -> Result<Vec<u8>, NotServed> {
    let level = match path.content() {
        Content::Entries => 0,
        Content::Hashes(level) => level,
    };
    let mut hashes = sound_hashes(ledger, tree, (level, path.number()), mending)?;
    hashes.truncate(path.width().into());
    match path.content() {
        Content::Hashes(_) => Ok(hashes.concat()),
        Content::Entries => bundle(ledger, path.first(), &hashes),
    }
}

fn sound_hashes(
    ledger: &Ledger,
    tree: &TreeHead,
    (level, number): (u8, u64),
    mending: &Mending,
) -> Result<Vec<Hash>, NotServed> {
    let stored = ledger.notary.tree();
    match stored.tile(tree, level, number) {
        Err(TreeError::Doubtful | TreeError::Beyond { .. }) if mending.may(&ledger.name) => {
            stored.catch_up(ledger.reader.log().as_ref()).map_err(NotServed::Tree)?;
            stored.tile(tree, level, number).map_err(NotServed::Tree)
        }
        Err(TreeError::Doubtful | TreeError::Beyond { .. }) => Err(NotServed::Mending),
        told => told.map_err(NotServed::Tree),
    }
}

/// The entries with these leaves, from a position on.
fn bundle(ledger: &Ledger, first: u64, leaves: &[Hash]) -> Result<Vec<u8>, NotServed> {
    let (mut bundle, mut done) = (Vec::new(), 0);
    while let Some(due) = leaves.get(done..).filter(|due| !due.is_empty()) {
        let at = first + done as u64;
        let records = ledger.reader.log().read(Position(at), READ_BYTES)?;
        if records.is_empty() {
            return Err(NotServed::Changed(at));
        }
        for (n, (record, leaf)) in records.iter().zip(due).enumerate() {
            let changed = NotServed::Changed(at + n as u64);
            if ledger::tree::leaf(&record.entry) != *leaf || push_entry(&mut bundle, &record.entry).is_err() {
                return Err(changed);
            }
        }
        done += records.len().min(due.len());
    }
    debug_assert!(leaves.len() <= usize::from(WIDTH));
    Ok(bundle)
}
