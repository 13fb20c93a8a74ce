//! Audits a ledger from outside, trusting nobody: fetches what is new since the last time, takes in every entry, and holds
//! it against what the log has signed. What is judged and how stands in [`ledger::audit`]; here is who asks the server and
//! keeps the files.

mod kept;
mod refine;
mod remote;

use std::path::PathBuf;

use bytes::Bytes;
use ledger::audit::{Audit, AuditState, BadState, Finding};
use ledger::checkpoint::{Checkpoint, CheckpointError, LogKeys, Signed, VerifierKey};
use ledger::proof::Fork;
use ledger::tiles::TreeStore;
use ledger::tree::{Frontier, Hash, TreeHead, check_consistency};
use sha2::{Digest, Sha256};
use tonic::transport::Channel;
use tonic::{Code, Status};

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
    /// How many the newest checkpoint covers that one of the keys has signed; as many as before where none came.
    pub to: u64,
    /// How many were taken in.
    pub entries: u64,
    /// The root that was signed over them; none where nothing signed came.
    pub root: Option<Hash>,
    /// Who signed that.
    pub signer: Option<VerifierKey>,
    /// All keys that may have signed something of the log at some time: those given, and those that it led to before.
    pub keys: LogKeys,
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
    /// The note that contradicts what was seen before, where nothing proves it, as the server gave it: somebody else may be
    /// able to.
    pub note: Option<Vec<u8>>,
}

impl Wrong {
    fn because(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), position: None, evidence: None, note: None }
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

impl From<Box<Wrong>> for Stop {
    fn from(wrong: Box<Wrong>) -> Self {
        Self::Wrong(wrong)
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
    /// The keys that may have signed what was signed at any time: those given, and those that the log led to; and those that
    /// may sign what is new.
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
    let all_keys = state.as_ref().map_or_else(|| keys.clone(), |state| state.all_keys(keys));
    let outcome = Outcome {
        from,
        to: from,
        entries: 0,
        root: None,
        signer: None,
        keys: all_keys.clone(),
        wrong: None,
        has_tree: tree.is_some(),
    };
    let mut auditor = Auditor {
        remote: Remote::new(client, ledger),
        all_keys,
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
        let shown = match self.remote.goes_on(before.size).await {
            Ok(Some(shown)) => shown,
            Ok(None) => return Err(self.went_back().await.into()),
            Err(status) if status.code() == Code::NotFound && self.state.is_some() => {
                return Err(self.gone().into());
            }
            Err(status) => return Err(status.into()),
        };
        let (signed, newest) = match self.opened(&self.keys, &shown.note) {
            Ok(signed) => (Some(signed.clone()), signed.checkpoint.tree),
            // What is new may say which key follows; until then the checkpoint is no more than a claim.
            Err(wrong) => (None, self.claimed(&shown, &before).ok_or(wrong)?),
        };
        if let Some(signed) = &signed {
            self.shows(signed);
            if newest.size < before.size {
                return Err(self.smaller(signed, &shown.note).into());
            }
            if check_consistency(&shown.hashes, &before, &newest).is_err() {
                return Err(self.forked(signed, shown).await.into());
            }
            let known = self.state.as_ref().map(|state| &state.signed().key);
            if newest.size == before.size && known == Some(&signed.key) {
                return Ok(None);
            }
        }
        let audit = self.take_in(newest.size).await?;
        let signed = self.opened(audit.keys(), &shown.note)?;
        self.shows(&signed);
        match audit.remember(&signed) {
            Some(state) => Ok(Some(state)),
            None => Err(self.not_covered(newest.size, &shown.note).await.into()),
        }
    }

    /// Notes what a checkpoint says that one of the keys has signed. What nobody signed is not told of the ledger.
    fn shows(&mut self, signed: &Signed) {
        self.outcome.to = signed.checkpoint.tree.size;
        self.outcome.root = Some(signed.checkpoint.tree.root);
        self.outcome.signer = Some(signed.key.clone());
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
    fn opened(&self, keys: &LogKeys, note: &[u8]) -> Result<Signed, Box<Wrong>> {
        keys.open(note).map_err(|error| {
            let wrong = match self.replaced(note) {
                Some(key) => Wrong::because(format!(
                    "the checkpoint is signed by {key}, a key that was replaced before the last audit"
                )),
                None => Wrong::because(error),
            };
            Box::new(Wrong { note: self.worth_keeping(note), ..wrong })
        })
    }

    /// The key that has signed a note, if it is one that the log has left behind.
    fn replaced(&self, note: &[u8]) -> Option<VerifierKey> {
        let used = LogKeys::new(self.state.as_ref()?.used().to_vec()).ok()?;
        let key = used.open(note).ok()?.key;
        (!self.keys.all().contains(&key)).then_some(key)
    }

    /// Takes in everything from where the last audit ended, up to a size.
    async fn take_in(&mut self, to: u64) -> Result<Audit, Stop> {
        let mut audit = Audit::from(self.state.as_ref(), &self.keys);
        let asked = self.remote.entries(audit.next(), to).await;
        let mut entries = asked.map_err(|status| not_given(audit.next(), status))?;
        while audit.next() < to {
            let first = audit.next();
            let given = entries.message().await.map_err(|status| not_given(first, status));
            let Some(message) = given? else {
                return Err(missing(first).into());
            };
            if message.first_position != first || message.entries.is_empty() {
                let reason = format!("the server gives other entries than those from {first} on");
                return Err(Wrong::at(first, reason).into());
            }
            self.take_some(&mut audit, &message.entries, to).await?;
            (self.progress)(audit.next(), to);
        }
        // All that is due is there. How the stream ends changes nothing about what it is; only more would.
        match entries.message().await {
            Ok(Some(_)) => Err(self.too_many(to).into()),
            Ok(None) | Err(_) => Ok(audit),
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
            Err(finding) => Err(self.found(audit, finding).await.into()),
            Ok(()) if due < entries.len() => Err(self.too_many(to).into()),
            Ok(()) => Ok(()),
        }
    }

    fn too_many(&self, to: u64) -> Wrong {
        let reason = format!("the server gives an entry at {to}, behind those that it was asked for");
        Wrong::at(to, reason)
    }
}

/// An entry that was not given, though a checkpoint covers it.
fn missing(position: u64) -> Wrong {
    let reason = format!("the server gives no entry at {position}, which its checkpoint covers");
    Wrong::at(position, reason)
}

/// The same, where the server says that there is none; any other error says nothing.
fn not_given(position: u64, status: Status) -> Stop {
    match status.code() {
        Code::NotFound | Code::OutOfRange => missing(position).into(),
        _ => status.into(),
    }
}

/// Where evidence goes unless somebody says where: beside the state.
#[must_use]
pub fn evidence_beside(state: &std::path::Path) -> PathBuf {
    kept::beside(state, ".evidence")
}

/// Where a note goes that contradicts what was seen before, with nothing to prove it: beside the state, each under a name of
/// its own, so that none of them is lost for another.
#[must_use]
pub fn note_beside(state: &std::path::Path, note: &[u8]) -> PathBuf {
    let digest = hex::encode(Sha256::digest(note));
    kept::beside(state, &format!(".checkpoint-{}", digest.get(..16).unwrap_or(&digest)))
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
