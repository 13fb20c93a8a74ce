//! Audits a ledger from outside, trusting nobody: fetches what is new since the last time, takes in every entry, and holds
//! it against what the log has signed. What is judged and how stands in [`ledger::audit`]; here is who asks the server and
//! keeps the files.

mod kept;
mod remote;

use std::path::PathBuf;

use bytes::Bytes;
use ledger::audit::{Audit, AuditState, BadState, Bisection, Finding};
use ledger::checkpoint::{Checkpoint, CheckpointError, LogKeys, Signed};
use ledger::proof::Fork;
use ledger::tiles::TreeStore;
use ledger::tree::{Frontier, Hash, TreeHead, check_consistency};
use tonic::Status;
use tonic::transport::Channel;

pub use kept::Kept;
use remote::{GoesOn, Remote};

use crate::wire::pb::proof_service_client::ProofServiceClient;

/// Why an audit could not be carried out. It says nothing about the ledger.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The server does not answer, or refuses to.
    #[error("{}", .0.message())]
    Server(Box<Status>),
    /// A file can't be read or written.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// What is remembered is no state, or one of something else.
    #[error("{0}: {1}; an audit that begins anew takes another file")]
    State(String, BadState),
    /// Somebody else is at it.
    #[error("{0}: another audit works with this state")]
    Busy(String),
}

impl From<Status> for AuditError {
    fn from(status: Status) -> Self {
        Self::Server(Box::new(status))
    }
}

/// How an audit ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many entries were known before.
    pub from: u64,
    /// How many the newest checkpoint covers.
    pub to: u64,
    /// How many were taken in.
    pub entries: u64,
    /// The root that was signed over them; none where nothing signed came.
    pub root: Option<Hash>,
    /// What is wrong, if anything is.
    pub wrong: Option<Wrong>,
    /// Whether the hashes of everything seen before are there: without them, a fork to fewer entries can't be proved.
    pub has_tree: bool,
}

/// Why a ledger is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// In a sentence.
    pub reason: String,
    /// The first entry that is wrong, as far as it is known.
    pub position: Option<u64>,
    /// What proves it to others.
    pub evidence: Option<Fork>,
}

impl Wrong {
    fn because(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), position: None, evidence: None }
    }

    fn at(position: u64, reason: impl ToString) -> Self {
        Self { position: Some(position), ..Self::because(reason) }
    }
}

/// Why an audit does not go on.
enum Stop {
    Wrong(Box<Wrong>),
    Failed(AuditError),
}

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong.into())
    }
}

impl From<AuditError> for Stop {
    fn from(error: AuditError) -> Self {
        Self::Failed(error)
    }
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Failed(status.into())
    }
}

/// Told from time to time how many of how many entries were taken in.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// What an audit works with.
struct Auditor<'a> {
    remote: Remote,
    /// The keys that may have signed what was signed at any time, and those that may sign what is new.
    all_keys: LogKeys,
    keys: LogKeys,
    state: Option<AuditState>,
    /// The hashes of all that was seen, if they are there.
    tree: Option<TreeStore>,
    outcome: Outcome,
    progress: Progress<'a>,
}

/// Audits a ledger, and remembers what was seen if all of it is right.
///
/// # Errors
/// Where it could not be carried out. That something is wrong with the ledger is no error, but the outcome.
pub async fn audit(
    client: ProofServiceClient<Channel>,
    ledger: &str,
    keys: &LogKeys,
    kept: &Kept,
    progress: Progress<'_>,
) -> Result<Outcome, AuditError> {
    let state = kept.read()?;
    let newer = state.as_ref().map(|state| kept.told(state.keys(keys))).transpose()?;
    let from = state.as_ref().map_or(0, |state| state.head().size);
    let tree = kept.tree(state.as_ref());
    let outcome = Outcome { from, to: from, entries: 0, root: None, wrong: None, has_tree: tree.is_some() };
    let mut auditor = Auditor {
        remote: Remote::new(client, ledger),
        all_keys: keys.clone(),
        keys: newer.unwrap_or_else(|| keys.clone()),
        state,
        tree,
        outcome,
        progress,
    };
    match auditor.run().await {
        Ok(Some(state)) => {
            if let Some(tree) = &auditor.tree {
                // What is not written of the hashes is missed only where a fork is to be proved.
                auditor.outcome.has_tree = tree.flush().is_ok();
            }
            kept.write(&state)?;
        }
        Ok(None) => {}
        Err(Stop::Wrong(wrong)) => auditor.outcome.wrong = Some(*wrong),
        Err(Stop::Failed(error)) => return Err(error),
    }
    Ok(auditor.outcome)
}

impl Auditor<'_> {
    /// What to remember; nothing where nothing is new.
    async fn run(&mut self) -> Result<Option<AuditState>, Stop> {
        let before = self.before();
        let Some(shown) = self.remote.goes_on(before.size).await? else {
            return Err(self.went_back().await?.into());
        };
        let (signed, newest) = match self.opened(&self.keys, &shown.note) {
            Ok(signed) => (Some(signed.clone()), signed.checkpoint.tree),
            // What is new may say which key follows; until then the checkpoint is no more than a claim.
            Err(stop) => (None, self.claimed(&shown, &before).ok_or(stop)?),
        };
        self.outcome.to = newest.size;
        self.outcome.root = Some(newest.root);
        if let Some(signed) = &signed {
            if newest.size < before.size {
                return Err(self.smaller(signed).into());
            }
            if check_consistency(&shown.hashes, &before, &newest).is_err() {
                return Err(self.forked(signed, &shown).await?.into());
            }
            let known = self.state.as_ref().map(|state| &state.signed().key);
            if newest.size == before.size && known == Some(&signed.key) {
                return Ok(None);
            }
        }
        let audit = self.take_in(newest.size).await?;
        let signed = self.opened(audit.keys(), &shown.note)?;
        match audit.remember(&signed) {
            Some(state) => Ok(Some(state)),
            None => {
                let position = self.first_difference(newest.size).await?;
                Err(self.other_entries(position).into())
            }
        }
    }

    /// What a checkpoint says that none of the keys has signed, if it goes on from the last one.
    fn claimed(&self, shown: &GoesOn, before: &TreeHead) -> Option<TreeHead> {
        let claimed = Checkpoint::unverified(&shown.note).ok()?;
        let fits = claimed.origin == self.keys.origin() && claimed.tree.size > before.size;
        let signed_by_old = self.all_keys.open(&shown.note).is_ok();
        let goes_on = check_consistency(&shown.hashes, before, &claimed.tree).is_ok();
        (fits && goes_on && !signed_by_old).then_some(claimed.tree)
    }

    fn before(&self) -> TreeHead {
        self.state.as_ref().map_or_else(|| Frontier::default().head(), AuditState::head)
    }

    /// A checkpoint that one of the keys has signed, and no key that was left behind.
    fn opened(&self, keys: &LogKeys, note: &[u8]) -> Result<Signed, Stop> {
        keys.open(note).map_err(|error| match self.all_keys.open(note) {
            Ok(old) => Stop::from(Wrong::because(format!(
                "the checkpoint is signed by {}, a key that was replaced before the last audit",
                old.key
            ))),
            Err(_) => Wrong::because(error).into(),
        })
    }

    /// Takes in everything from where the last audit ended, up to a size.
    async fn take_in(&mut self, to: u64) -> Result<Audit, Stop> {
        let mut audit = Audit::from(self.state.as_ref(), &self.keys);
        let mut entries = self.remote.entries(audit.next(), to).await?;
        while audit.next() < to {
            let first = audit.next();
            let Some(message) = entries.message().await? else {
                let reason = format!("the server gives no entry at {first}, which its checkpoint covers");
                return Err(Wrong::at(first, reason).into());
            };
            if message.first_position != first || message.entries.is_empty() {
                let reason = format!("the server gives other entries than those from {first} on");
                return Err(Wrong::at(first, reason).into());
            }
            self.take_some(&mut audit, &message.entries, to).await?;
            (self.progress)(audit.next(), to);
        }
        match entries.message().await? {
            Some(_) => Err(self.too_many(to).into()),
            None => Ok(audit),
        }
    }

    async fn take_some(&mut self, audit: &mut Audit, entries: &[Bytes], to: u64) -> Result<(), Stop> {
        let first = audit.next();
        let due = usize::try_from(to - first).unwrap_or(usize::MAX).min(entries.len());
        let mut leaves = Vec::with_capacity(due);
        let taken: Result<(), Finding> = entries.iter().take(due).try_for_each(|entry| {
            leaves.push(audit.take(entry)?);
            Ok(())
        });
        self.outcome.entries += leaves.len() as u64;
        if let Some(tree) = &self.tree {
            tree.extend(first, &leaves);
        }
        match taken {
            Err(finding) => Err(self.found(audit, finding).await?.into()),
            Ok(()) if due < entries.len() => Err(self.too_many(to).into()),
            Ok(()) => Ok(()),
        }
    }

    fn too_many(&self, to: u64) -> Wrong {
        let reason = format!("the server gives an entry at {to}, behind those that it was asked for");
        Wrong::at(to, reason)
    }

    /// An entry cannot stand where it does. Where the one before it was changed, it is that which is named.
    async fn found(&mut self, audit: &Audit, finding: Finding) -> Result<Wrong, Stop> {
        let position = self.first_difference(audit.next()).await?;
        match position.filter(|position| *position < finding.position) {
            Some(position) => Ok(self.other_entries(Some(position))),
            None => Ok(Wrong::at(finding.position, finding)),
        }
    }

    fn other_entries(&self, position: Option<u64>) -> Wrong {
        let reason = match position {
            Some(position) => format!("the entry at {position} is not the one that the checkpoint covers"),
            None => {
                format!("the entries from {} on are not those that the checkpoint covers", self.outcome.from)
            }
        };
        Wrong { position, ..Wrong::because(reason) }
    }

    /// The first entry that is not the one in the log's own tree, of the first `size` that were taken in, if the server
    /// proves what it should have been; that at `size`, if all of those are right.
    async fn first_difference(&mut self, size: u64) -> Result<Option<u64>, Stop> {
        if self.is_right_up_to(size).await? == Some(true) {
            return Ok(Some(size));
        }
        let mut search = Bisection::between(self.before().size, size);
        while let Some(size) = search.question() {
            let Some(same) = self.is_right_up_to(size).await? else { return Ok(None) };
            search.answer(same);
        }
        Ok(Some(search.position()))
    }

    /// Whether the first `size` entries that were taken in are those of the log; `None` where the server does not prove
    /// it.
    async fn is_right_up_to(&mut self, size: u64) -> Result<Option<bool>, Stop> {
        let ours = self.tree.as_ref().and_then(|tree| tree.head_at(size).ok());
        let (Some(ours), Some(shown)) = (ours, self.remote.goes_on(size).await?) else { return Ok(None) };
        let Ok(signed) = self.keys.open(&shown.note) else { return Ok(None) };
        let theirs = TreeHead { size, root: shown.old_root };
        let proved = check_consistency(&shown.hashes, &theirs, &signed.checkpoint.tree).is_ok();
        Ok(proved.then_some(theirs == ours))
    }

    /// The server has fewer entries than there were.
    async fn went_back(&mut self) -> Result<Wrong, Stop> {
        let note = self.remote.checkpoint().await?;
        let signed = self.opened_by_any(&note)?;
        self.outcome.to = signed.checkpoint.tree.size;
        self.outcome.root = Some(signed.checkpoint.tree.root);
        Ok(self.smaller(&signed))
    }

    fn opened_by_any(&self, note: &[u8]) -> Result<Signed, Stop> {
        self.all_keys.open(note).map_err(|error| Wrong::because(error).into())
    }

    /// What a checkpoint says that is no larger than the last one that was seen.
    fn smaller(&self, signed: &Signed) -> Wrong {
        let Some(state) = &self.state else { return Wrong::because("the log is empty") };
        let (then, now) = (state.head(), signed.checkpoint.tree);
        if now.size >= then.size {
            return Wrong::because(format!(
                "the server has fewer than the {} entries that it had, and a checkpoint of {}",
                then.size, now.size
            ));
        }
        let ours = self.tree.as_ref().and_then(|tree| tree.consistency(now.size, &then).ok());
        let (same, path) = match ours {
            Some((head, hashes)) => (Some(head == now), Some((head.root, hashes))),
            None => (None, None),
        };
        let back = format!("the server went back: it had {} entries, and has {}", then.size, now.size);
        match (same, Fork::between(state.signed(), signed, path)) {
            (_, Ok(fork)) => Self::fork(state.signed(), signed, fork),
            (Some(_), Err(_)) => Wrong::because(format!("{back}; these are the first of those that it had")),
            (None, Err(_)) => {
                Wrong::because(format!("{back}; whether these are the first of them is not known"))
            }
        }
    }

    fn fork(before: &Signed, now: &Signed, fork: Fork) -> Wrong {
        let reason = format!(
            "the log has forked: its checkpoint of {} entries contradicts the one of {} entries that it signed before",
            now.checkpoint.tree.size, before.checkpoint.tree.size
        );
        Wrong { evidence: Some(fork), ..Wrong::because(reason) }
    }

    /// A checkpoint of as many entries or more that was not shown to go on from the last one that was seen.
    async fn forked(&mut self, signed: &Signed, shown: &GoesOn) -> Result<Wrong, Stop> {
        let unproved = Wrong::because(format!(
            "the server does not show that its checkpoint of {} entries goes on from the {} that it had",
            signed.checkpoint.tree.size, self.outcome.from
        ));
        let Some(before) = self.state.as_ref().map(|state| state.signed().clone()) else {
            return Ok(unproved);
        };
        if let Ok(fork) = Fork::between(&before, signed, Some((shown.old_root, shown.hashes.clone()))) {
            return Ok(Self::fork(&before, signed, fork));
        }
        // It shows nothing; then its own entries may.
        let path = self.path_of_theirs(before.checkpoint.tree.size, &signed.checkpoint.tree).await?;
        match Fork::between(&before, signed, path) {
            Ok(fork) => Ok(Self::fork(&before, signed, fork)),
            Err(_) => Ok(unproved),
        }
    }

    /// The root that the server's tree had at a size, and what leads from it to the whole, made from all its entries.
    async fn path_of_theirs(
        &mut self,
        size: u64,
        whole: &TreeHead,
    ) -> Result<Option<(Hash, Vec<Hash>)>, Stop> {
        let dir = tempfile::tempdir().map_err(|e| AuditError::File("a temporary directory".to_owned(), e))?;
        let tree = kept::tree_in(dir.path(), &[]);
        let mut entries = self.remote.entries(0, whole.size).await?;
        while tree.head().size < whole.size {
            let Some(message) = entries.message().await? else { break };
            let first = tree.head().size;
            if message.first_position != first || message.entries.is_empty() {
                break;
            }
            let leaves: Vec<Hash> = message.entries.iter().map(|entry| ledger::tree::leaf(entry)).collect();
            tree.extend(first, &leaves);
            (self.progress)(tree.head().size, whole.size);
        }
        let path = if tree.head() == *whole { tree.consistency(size, whole).ok() } else { None };
        Ok(path.map(|(head, hashes)| (head.root, hashes)))
    }
}

/// Where evidence goes unless somebody says where: beside the state.
#[must_use]
pub fn evidence_beside(state: &std::path::Path) -> PathBuf {
    kept::beside(state, ".evidence")
}

/// Whether a key is that of a ledger: the name of a log ends with the ledger's.
///
/// # Errors
/// [`CheckpointError::Origin`] where it is not.
pub fn is_of(keys: &LogKeys, ledger: &ledger::types::LedgerName) -> Result<(), CheckpointError> {
    match keys.origin().strip_suffix(ledger.as_str()).is_some_and(|prefix| prefix.ends_with('/')) {
        true => Ok(()),
        false => Err(CheckpointError::Origin {
            expected: format!("…/{ledger}"),
            actual: keys.origin().to_owned(),
        }),
    }
}
