//! What is known of a log beside what its files say: signed checkpoints, kept in its directory or outside. A log is what
//! was written only if each of them is a checkpoint of its first entries.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use crate::anchor::{Contradiction, Known};
use crate::checkpoint::VerifierKey;
use crate::disk::{Disk, Open};
use crate::tree::{Frontier, Hash, TreeHead};
use crate::types::{LedgerName, Position};

/// The files of a ledger that hold its newest checkpoint, and the newest one with what witnesses have signed.
const KEPT: [(Source, &str); 2] = [(Source::Kept, "checkpoint"), (Source::Witnessed, "checkpoint.witnessed")];
/// No checkpoint is larger, however many have signed it.
const KEPT_BYTES_MAX: u64 = 64 * 1024;

/// From where a checkpoint is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The ledger's own directory: the newest one that its server has signed.
    Kept,
    /// The ledger's own directory: the newest one that witnesses have signed too.
    Witnessed,
    /// A file of anchors.
    Anchor,
    /// Whoever asks has named it.
    Given,
    /// The memory of the server that asks.
    Memory,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "kept",
            Self::Witnessed => "witnessed",
            Self::Anchor => "anchor",
            Self::Given => "given",
            Self::Memory => "memory",
        })
    }
}

/// A size that a ledger's tree had, and the root that it had then.
#[derive(Clone, Debug)]
struct Claim {
    source: Source,
    tree: TreeHead,
    /// The signed note that says so.
    signed: Option<Known>,
}

/// What whoever asks knows of the ledgers.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    claims: BTreeMap<LedgerName, Vec<Claim>>,
    keys: BTreeMap<LedgerName, Vec<VerifierKey>>,
}

impl Evidence {
    /// Adds a checkpoint; false where its name does not end with that of a ledger.
    pub fn checkpoint(&mut self, source: Source, known: Known) -> bool {
        let Some(ledger) = known.ledger() else { return false };
        let claim = Claim { source, tree: known.checkpoint.tree, signed: Some(known) };
        self.claims.entry(ledger).or_default().push(claim);
        true
    }

    /// Adds what a server has in its memory.
    pub fn memory(&mut self, ledger: LedgerName, tree: TreeHead) {
        let claim = Claim { source: Source::Memory, tree, signed: None };
        self.claims.entry(ledger).or_default().push(claim);
    }

    /// Adds a key that signs a ledger's checkpoints, behind those that it has replaced; false where its name does not end
    /// with that of a ledger. Where keys of a ledger are known, each of its checkpoints must be signed by one of them, none
    /// by a key that had been replaced by then, and the one that its directory keeps must be there.
    pub fn key(&mut self, key: VerifierKey) -> bool {
        let Some(ledger) = key.name().rsplit_once('/').and_then(|(_, ledger)| ledger.parse().ok()) else {
            return false;
        };
        self.keys.entry(ledger).or_default().push(key);
        true
    }

    /// The ledgers of which something is known.
    pub(super) fn ledgers(&self) -> impl Iterator<Item = &LedgerName> {
        self.claims.keys().chain(self.keys.keys())
    }

    /// What is known of a ledger, with what its directory says itself.
    pub(super) fn of(&self, disk: &dyn Disk, dir: &Path, ledger: &LedgerName) -> Claims {
        let mut claims = self.claims.get(ledger).cloned().unwrap_or_default();
        let mut unread = Vec::new();
        for (source, name) in KEPT {
            match kept(disk, &dir.join(name), ledger) {
                Ok(None) => {}
                Ok(Some(known)) => {
                    claims.push(Claim { source, tree: known.checkpoint.tree, signed: Some(known) });
                }
                Err(reason) => unread.push((source, reason)),
            }
        }
        claims.sort_by_key(|claim| (claim.source, claim.tree.size));
        let keys: Vec<VerifierKey> = self.keys.get(ledger).cloned().unwrap_or_default();
        let unkept = !claims.iter().any(|claim| claim.source == Source::Kept)
            && !unread.iter().any(|(source, _)| *source == Source::Kept);
        let unsigned = (unkept && !keys.is_empty()).then_some(Source::Kept);
        Claims { claims, unread, unsigned, keys }
    }
}

/// A checkpoint in a ledger's directory. It is replaced as a whole, so that no crash leaves a part of one.
fn kept(disk: &dyn Disk, path: &Path, ledger: &LedgerName) -> Result<Option<Known>, String> {
    let note = match read(disk, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| format!("the file can't be read: {error}"))?,
    };
    let known = Known::read(&note).map_err(|error| error.to_string())?;
    match known.ledger() {
        Some(named) if named == *ledger => Ok(Some(known)),
        _ => Err(format!("the checkpoint is that of {}, not of {ledger}", known.checkpoint.origin)),
    }
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Open::Read)?;
    let mut note = vec![0; usize::try_from(file.len()?.min(KEPT_BYTES_MAX)).unwrap_or_default()];
    let read = file.read_at(&mut note, 0)?;
    note.truncate(read);
    Ok(note)
}

/// What is known of one ledger.
pub(super) struct Claims {
    claims: Vec<Claim>,
    /// Why those of the ledger's own checkpoints are none that are not.
    unread: Vec<(Source, String)>,
    /// A checkpoint that should be there: whoever has no key, and makes all hashes anew, can only remove it.
    unsigned: Option<Source>,
    /// The oldest first.
    keys: Vec<VerifierKey>,
}

impl Claims {
    /// The sizes at which the root is to be noted.
    pub(super) fn sizes(&self) -> impl Iterator<Item = u64> {
        self.claims.iter().map(|claim| claim.tree.size)
    }

    /// Holds what is known against a log of so many entries and what was noted of it.
    pub(super) fn against(self, entries: Position, roots: &BTreeMap<u64, Hash>) -> Vec<CheckpointReport> {
        let unread = self.unread.iter().map(|(source, reason)| CheckpointReport {
            source: *source,
            size: None,
            signature: Signature::Unchecked,
            fault: Some(reason.clone()),
        });
        let unsigned = self.unsigned.filter(|_| entries > Position(0)).map(|source| CheckpointReport {
            source,
            size: None,
            signature: Signature::Unchecked,
            fault: Some("it is missing, so nothing in the directory is signed".to_owned()),
        });
        let judged = self.claims.iter().map(|claim| self.judge(claim, entries, roots));
        unread.chain(unsigned).chain(judged).collect()
    }

    fn judge(&self, claim: &Claim, entries: Position, roots: &BTreeMap<u64, Hash>) -> CheckpointReport {
        let (signature, unsigned) = self.signature(claim);
        let fault = contradiction(claim.tree, entries, roots);
        let faults: Vec<String> = fault.into_iter().chain(unsigned).collect();
        CheckpointReport {
            source: claim.source,
            size: Some(claim.tree.size),
            signature,
            fault: (!faults.is_empty()).then(|| faults.join("; ")),
        }
    }

    fn signature(&self, claim: &Claim) -> (Signature, Option<String>) {
        let Some(known) = &claim.signed else { return (Signature::None, None) };
        let named = |key: &&VerifierKey| key.name() == known.checkpoint.origin;
        let Some(key) = self.keys.iter().find(named).or(self.keys.first()) else {
            return (Signature::Unchecked, None);
        };
        if let Some(age) = self.signed_by(known) {
            // Whoever holds a key that was replaced may not go on with it.
            let replaced = self.claims.iter().filter(|other| other.tree.size < claim.tree.size);
            let replaced = replaced
                .filter_map(|other| self.signed_by(other.signed.as_ref()?).filter(|newer| *newer > age))
                .next();
            return match replaced {
                None => (Signature::Good, None),
                Some(_) => (
                    Signature::Bad,
                    Some("it is signed by a key that another had replaced by then".to_owned()),
                ),
            };
        }
        let error = key.open(known.note.as_bytes()).err().map(|error| error.to_string());
        (Signature::Bad, error)
    }

    /// By which of the keys, counted from the oldest, a checkpoint is signed.
    fn signed_by(&self, known: &Known) -> Option<usize> {
        self.keys.iter().position(|key| key.open(known.note.as_bytes()).is_ok())
    }
}

/// How a log of so many entries contradicts a tree that it had.
fn contradiction(known: TreeHead, entries: Position, roots: &BTreeMap<u64, Hash>) -> Option<String> {
    let none = Frontier::default().root();
    let root = if known.size == 0 { Some(&none) } else { roots.get(&known.size) };
    if known.size > entries.0 {
        return Some(Contradiction::Missing { first: entries.0, last: known.size - 1 }.to_string());
    }
    match root {
        None => Some("it can't be compared, since an entry before it can't be read".to_owned()),
        Some(root) if *root == known.root => None,
        Some(_) => Some(Contradiction::Rewritten { size: known.size }.to_string()),
    }
}

/// The judgement of one known checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointReport {
    /// From where it is known.
    pub source: Source,
    /// How many entries it is of; `None` where the file holds no checkpoint.
    pub size: Option<u64>,
    /// What is known of its signature.
    pub signature: Signature,
    /// What speaks against the log, or against the checkpoint.
    pub fault: Option<String>,
}

impl CheckpointReport {
    /// Whether it is a checkpoint of this log, as far as could be told.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.fault.is_none()
    }
}

/// What is known of a checkpoint's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// By one of the keys that were given.
    Good,
    /// By none of them.
    Bad,
    /// No key of the ledger was given.
    Unchecked,
    /// It needs none.
    None,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unchecked => "not checked: no key of the ledger was given",
            Self::None => "none needed",
        })
    }
}
