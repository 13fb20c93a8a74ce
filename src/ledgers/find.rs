//! Ledgers as they are found on the disk, held against what is known of them. Nothing of them runs yet, their states are
//! not rebuilt, and nothing of their logs is written: a log that was put back is refused at once, and stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ledger::anchor::{Contradiction, Known};
use ledger::log::{FoundLog, LogStore, SegmentLog};
use ledger::tiles::{TreeError, TreeStore};
use ledger::types::{LedgerName, Position};

use super::{OpenError, Shared};
use crate::anchors::{AnchorFile, Contradicted, Source};
use crate::notary;
use crate::witness::{Denial, Question, ask};

/// A ledger that was found, and is durable.
pub(super) struct Found {
    pub(super) log: Arc<SegmentLog>,
    pub(super) dir: PathBuf,
    pub(super) tree: Arc<TreeStore>,
    /// The checkpoint that is kept beside the log, unless the log contradicts it.
    pub(super) kept: Option<Known>,
    /// The one that is kept there with its cosignatures, likewise.
    pub(super) cosigned: Option<Known>,
    pub(super) contradicted: Vec<Contradicted>,
}

/// A ledger as it lies on the disk.
struct Seen {
    log: FoundLog,
    dir: PathBuf,
    tree: TreeStore,
    kept: Option<Known>,
    cosigned: Option<Known>,
    contradicted: Vec<Contradicted>,
}

/// Finds ledgers.
pub(super) struct Finder<'a> {
    pub(super) shared: &'a Shared,
    pub(super) anchors: Option<&'a AnchorFile>,
}

impl Finder<'_> {
    /// Finds the ledgers that are there, and those that should be.
    ///
    /// # Errors
    /// Where one can't be read, or is not what it was: of all of them at once.
    pub(super) async fn find_all(
        &self,
        there: BTreeSet<LedgerName>,
    ) -> Result<BTreeMap<LedgerName, Found>, OpenError> {
        let mut names = there;
        names.extend(self.anchors.iter().flat_map(|file| file.found().iter().map(|(name, _)| name.clone())));
        for known in &self.shared.trust.expected {
            let name = known.ledger().ok_or_else(|| OpenError::NoLedger(known.checkpoint.origin.clone()))?;
            names.insert(name);
        }
        let mut all = BTreeMap::new();
        for name in names {
            let seen = self.look(&name).await?;
            all.insert(name, seen);
        }
        if let Some(anchors) = self.anchors.filter(|_| !self.shared.trust.anchor_init) {
            let signed = all.iter().filter(|(_, seen)| seen.kept.is_some()).map(|(name, _)| name);
            anchors.must_have(signed)?;
        }
        self.refuse(all.iter().map(|(name, seen)| (name, &seen.contradicted)))?;
        let mut found = BTreeMap::new();
        for (name, seen) in all {
            let right = self.put_right(&name, seen).await?;
            found.insert(name, right);
        }
        // They want to see a signed checkpoint, and only what agrees with all else and is durable is signed.
        self.ask_witnesses(&mut found).await?;
        self.refuse(found.iter().map(|(name, found)| (name, &found.contradicted)))?;
        Ok(found)
    }

    /// Finds one ledger, which may not be there yet.
    ///
    /// # Errors
    /// Where it can't be read, or is not what it was.
    pub(super) async fn find(&self, name: &LedgerName) -> Result<Found, OpenError> {
        let seen = self.look(name).await?;
        self.refuse(std::iter::once((name, &seen.contradicted)))?;
        self.put_right(name, seen).await
    }

    /// Refuses ledgers that contradict what is known of them, all at once, where nobody has said that they may.
    fn refuse<'a>(
        &self,
        all: impl Iterator<Item = (&'a LedgerName, &'a Vec<Contradicted>)>,
    ) -> Result<(), OpenError> {
        let refused = all.filter(|(name, _)| !self.shared.trust.overridden.contains(*name));
        let refuses = |found: &&Contradicted| !is_damage_alone(found);
        let contradicted: Vec<_> =
            refused.flat_map(|(_, found)| found.iter().filter(refuses).cloned()).collect();
        if contradicted.is_empty() { Ok(()) } else { Err(OpenError::Contradicted(contradicted)) }
    }

    /// Asks the witnesses, where there are any, whether the ledgers go on from what they have cosigned.
    async fn ask_witnesses(&self, all: &mut BTreeMap<LedgerName, Found>) -> Result<(), OpenError> {
        let Some(signing) = self.shared.signing.as_ref() else { return Ok(()) };
        let Some(witnesses) = &signing.witnesses else { return Ok(()) };
        let mut questions = Vec::new();
        for (name, found) in all.iter() {
            let (signing, ledger, kept) = (signing.clone(), name.clone(), found.kept.clone());
            let (tree, log) = (Arc::clone(&found.tree), Arc::clone(&found.log));
            let known = tokio::task::spawn_blocking(move || {
                notary::checkpoint_of_all(&signing, &ledger, kept.as_ref(), &tree, log.as_ref())
            });
            let failed = |reason: String| OpenError::Ledger { name: name.clone(), reason };
            let log = (Arc::clone(&found.log) as Arc<dyn LogStore>, Arc::clone(&found.tree));
            match known.await.map_err(|error| failed(error.to_string()))? {
                Ok(known) => {
                    questions.extend(known.map(|known| Question { ledger: name.clone(), log, known }));
                }
                // A damaged log signs nothing; what is sound of it is served.
                Err(error) => tracing::error!(ledger = %name, %error, "witnesses can't be asked about it"),
            }
        }
        for Denial { ledger, witness, known, how } in ask(witnesses, &self.shared.metrics, questions).await {
            let Some(found) = all.get_mut(&ledger) else { continue };
            let (source, entries) = (Source::Witness(witness), found.log.tail().next.0);
            found.contradicted.push(Contradicted { ledger, source, known, entries, how });
        }
        Ok(())
    }

    /// What is known of a ledger outside of its directory.
    fn known_of(&self, name: &LedgerName) -> Vec<(Source, Known)> {
        let anchored = self.anchors.iter().filter_map(|file| file.found().get(name));
        let given = self.shared.trust.expected.iter().filter(|known| known.ledger().as_ref() == Some(name));
        let anchored = anchored.map(|known| (Source::Anchor, known.clone()));
        anchored.chain(given.map(|known| (Source::Given, known.clone()))).collect()
    }

    /// Reads what lies on the disk, and holds it against what is known.
    async fn look(&self, name: &LedgerName) -> Result<Seen, OpenError> {
        let failed = |reason: String| OpenError::Ledger { name: name.clone(), reason };
        let disk = Arc::clone(&self.shared.disk);
        let dir = self.shared.data.join("ledgers").join(name.as_str());
        let (mut options, mut known) = (self.shared.segments, self.known_of(name));
        let (name, overridden) = (name.clone(), self.shared.trust.overridden.contains(name));
        let seen = tokio::task::spawn_blocking(move || {
            let kept = notary::read_kept(disk.as_ref(), &dir)
                .map_err(|error| format!("its checkpoint can't be read: {error}"))?;
            let cosigned = notary::read_cosigned(disk.as_ref(), &dir)
                .map_err(|error| format!("its cosigned checkpoint can't be read: {error}"))?;
            known.extend(kept.iter().chain(&cosigned).map(|kept| (Source::Kept, kept.clone())));
            if !overridden {
                let most = known.iter().map(|(_, known)| known.checkpoint.tree.size).max();
                options.protected_through = Position(most.unwrap_or(0));
            }
            let log = FoundLog::find(Arc::clone(&disk), &dir, options).map_err(|e| e.to_string())?;
            for damage in log.log().damage() {
                tracing::error!(ledger = %name, %damage, "the log is damaged; it takes no appends");
            }
            let tree = TreeStore::open(disk, &dir.join("tree"), &log.log().frontiers());
            let contradicted = contradicted(&name, &tree, log.log(), known)?;
            let holds = |kept: &Known| contradicted.iter().all(|found| found.known != *kept);
            let (kept, cosigned) = (kept.filter(holds), cosigned.filter(holds));
            Ok(Seen { log, dir, tree, kept, cosigned, contradicted })
        });
        seen.await.map_err(|error| failed(error.to_string()))?.map_err(failed)
    }

    /// Makes durable what was found, and puts right what a crash left half done.
    async fn put_right(&self, name: &LedgerName, seen: Seen) -> Result<Found, OpenError> {
        let failed = |reason: String| OpenError::Ledger { name: name.clone(), reason };
        let Seen { log, dir, tree, kept, cosigned, contradicted } = seen;
        let put = tokio::task::spawn_blocking(move || log.put_right()).await;
        let put = put.map_err(|error| failed(error.to_string()))?;
        let (log, repair) = put.map_err(|error| failed(error.to_string()))?;
        if let Some(repair) = repair {
            tracing::warn!(
                ledger = %name, position = %repair.position, file = repair.file, bytes = repair.bytes,
                kept = repair.kept, reason = repair.reason,
                "a crash had left the end of the log half written; it was cut off"
            );
        }
        Ok(Found { log: Arc::new(log), dir, tree: Arc::new(tree), kept, cosigned, contradicted })
    }
}

/// Whether all that is known is that a log is damaged. It takes no appends, and is served as far as it is sound; but nothing
/// of it is signed or published, or damage would be a way to be believed.
pub(super) fn is_damage_alone(found: &Contradicted) -> bool {
    matches!(found.how, Contradiction::Unreadable { .. })
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
