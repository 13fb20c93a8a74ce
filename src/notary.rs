//! Issues the checkpoints of a ledger: while something is new, at most every so often; on request; and at the end.

mod publish;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ledger::anchor::Known;
use ledger::checkpoint::{CheckpointError, LocalSigner, PrivateKey, Rotation, Signer, VerifierKey};
use ledger::disk::{self, Disk, Open};
use ledger::log::{LogStore, ReadError, Tail};
use ledger::tiles::{TreeError, TreeStore};
use ledger::tree::{Hash, TreeHead};
use ledger::types::{LedgerName, Position};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::anchors::AnchorFile;
use crate::metrics::LedgerMetrics;
use crate::trees;
use crate::witness::Witnesses;
use publish::{Colleagues, Publisher};

/// The file of a ledger that holds its newest checkpoint.
const NAME: &str = "checkpoint";
/// No note is longer.
const NOTE_BYTES_MAX: u64 = 64 * 1024;
/// How many requests for a checkpoint wait.
const ASKS_MAX: usize = 64;
/// How long to wait after one could not be issued, at first and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How often is looked whether the writer has ended, while nothing is signed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// With which key checkpoints are signed, and how often at most.
#[derive(Clone)]
pub struct Signing {
    /// The key.
    pub key: Arc<PrivateKey>,
    /// The least time between two of them.
    pub every: Duration,
    /// How this key followed those before it, the oldest first.
    pub rotations: Arc<[Rotation]>,
    /// Who cosigns them, if anybody does.
    pub witnesses: Option<Arc<Witnesses>>,
}

impl Signing {
    /// Signs with a key that followed no other.
    #[must_use]
    pub fn new(key: PrivateKey, every: Duration) -> Self {
        Self { key: Arc::new(key), every, rotations: Arc::default(), witnesses: None }
    }

    /// What must be recorded before the key signs in the place of whoever signed `kept`; nothing where it was this key, or
    /// one that this key has not followed.
    #[must_use]
    pub fn since(&self, ledger: &LedgerName, kept: &Known) -> &[Rotation] {
        let key = self.key.verifier(ledger);
        if key.open(kept.note.as_bytes()).is_ok() {
            return &[];
        }
        let signed = |rotation: &Rotation| {
            rotation.before(ledger).is_ok_and(|key| key.open(kept.note.as_bytes()).is_ok())
        };
        let first = self.rotations.iter().position(signed);
        first.and_then(|first| self.rotations.get(first..)).unwrap_or_default()
    }
}

/// A checkpoint that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// What it says.
    pub tree: TreeHead,
    /// The signed note, with its cosignatures.
    pub note: Arc<[u8]>,
    /// The names of the witnesses that have cosigned it.
    pub witnesses: Arc<[String]>,
    /// Whether as many have as must have, and at least one.
    pub witnessed: bool,
}

/// Why there is no checkpoint, or no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The server has no key.
    #[error(
        "this server signs no checkpoints: start it with `--key FILE` (`tokenledger key generate` makes one)"
    )]
    NoKey,
    /// Something must be recorded first.
    #[error(
        "nothing of this ledger is signed: it is not what it was known to be, or its key has changed, and it takes no appends, so that this can't be recorded in it; run `tokenledger verify`"
    )]
    Unrecorded,
    /// The tree does not answer.
    #[error("{0}")]
    Tree(#[from] TreeError),
    /// It can't be signed.
    #[error("{0}")]
    Sign(#[from] CheckpointError),
    /// It can't be kept.
    #[error("the checkpoint can't be kept, so it is not published: {0}")]
    Keep(io::Error),
    /// Too few witnesses have cosigned it.
    #[error(
        "{cosigned} of {of} witnesses have cosigned the newest checkpoint, and {quorum} must have before it is published; what is recorded is safe, try again (the server's log says what is wrong with the others)"
    )]
    Unwitnessed {
        /// How many have.
        cosigned: usize,
        /// How many there are.
        of: usize,
        /// How many must have.
        quorum: usize,
    },
    /// The server is going down.
    #[error("the server is shutting down; try again")]
    Closing,
}

impl From<ReadError> for ProofError {
    fn from(error: ReadError) -> Self {
        Self::Tree(error.into())
    }
}

/// Somebody who waits for a checkpoint.
struct Ask {
    /// How many entries it is to cover at least.
    size: u64,
    answer: oneshot::Sender<Result<Issued, Arc<ProofError>>>,
}

/// The way to a ledger's tree and checkpoints. Cheap to clone.
#[derive(Clone)]
pub struct Notary {
    name: LedgerName,
    log: Arc<dyn LogStore>,
    tree: Arc<TreeStore>,
    newest: watch::Receiver<Option<Issued>>,
    asks: Result<mpsc::Sender<Ask>, Silent>,
}

/// Why nothing is signed.
#[derive(Clone, Copy)]
enum Silent {
    NoKey,
    Unrecorded,
}

impl Notary {
    /// The tree over the ledger's entries.
    #[must_use]
    pub fn tree(&self) -> &Arc<TreeStore> {
        &self.tree
    }

    /// Asks the tree something, on a thread, since it reads files. Where what is stored of it is doubtful, it is made anew.
    ///
    /// # Errors
    /// See [`ProofError`].
    pub async fn ask<T: Send + 'static>(
        &self,
        ask: impl Fn(&TreeStore) -> Result<T, TreeError> + Send + 'static,
    ) -> Result<T, ProofError> {
        let (name, log, tree) = (self.name.clone(), Arc::clone(&self.log), Arc::clone(&self.tree));
        let told = tokio::task::spawn_blocking(move || trees::ask(&name, &tree, log.as_ref(), ask)).await;
        Ok(told.map_err(|_| ProofError::Closing)??)
    }

    /// The newest checkpoint that is published; where there is none yet, one is signed now.
    ///
    /// # Errors
    /// See [`ProofError`].
    pub async fn newest(&self) -> Result<Issued, Arc<ProofError>> {
        self.checkpoint(0).await
    }

    /// A published checkpoint that covers at least so many entries: the newest one, if it does, and otherwise one that is
    /// signed now.
    ///
    /// # Errors
    /// See [`ProofError`].
    pub async fn checkpoint(&self, size: u64) -> Result<Issued, Arc<ProofError>> {
        let newest = self.newest.borrow().clone();
        if let Some(newest) = newest.filter(|newest| newest.tree.size >= size) {
            return Ok(newest);
        }
        let asks = self.asks.as_ref().map_err(|silent| match silent {
            Silent::NoKey => ProofError::NoKey,
            Silent::Unrecorded => ProofError::Unrecorded,
        })?;
        let (sender, answer) = oneshot::channel();
        asks.send(Ask { size, answer: sender }).await.map_err(|_| ProofError::Closing)?;
        answer.await.map_err(|_| ProofError::Closing)?
    }
}

/// What a notary works with.
pub struct Parts {
    /// The ledger's name.
    pub name: LedgerName,
    /// Its log.
    pub log: Arc<dyn LogStore>,
    /// The tree over it.
    pub tree: Arc<TreeStore>,
    /// Word of its durable end; it ends with the writer.
    pub tail: watch::Receiver<Tail>,
    /// The checkpoint that was kept last.
    pub kept: Option<Known>,
    /// The one that was kept with its cosignatures last.
    pub cosigned: Option<Known>,
    /// Whether anything may be signed: not where something must be recorded first, and can't be.
    pub may_sign: bool,
    /// Where checkpoints are kept outside of the directory.
    pub anchors: Option<Arc<AnchorFile>>,
    /// Where the newest checkpoint is kept.
    pub disk: Arc<dyn Disk>,
    /// The ledger's directory.
    pub dir: PathBuf,
    /// With which key; none: nothing is signed.
    pub signing: Option<Signing>,
    /// Counts.
    pub metrics: LedgerMetrics,
}

/// Starts the notary of a ledger.
#[must_use]
pub fn start(parts: Parts) -> (Notary, Option<JoinHandle<()>>) {
    let Parts { name, log, tree, tail, kept, cosigned, may_sign, anchors, disk, dir, signing, metrics } =
        parts;
    let signing = match signing {
        Some(signing) if may_sign => signing,
        silent => {
            let asks = Err(if silent.is_some() { Silent::Unrecorded } else { Silent::NoKey });
            let (_, newest) = watch::channel(None);
            return (Notary { name, log, tree, newest, asks }, None);
        }
    };
    // Whoever signed it: what was said of the log once is not contradicted by another key either.
    let signed = kept.as_ref().map(|kept| kept.checkpoint.tree);
    let verifier = signing.key.verifier(&name);
    let last = kept.and_then(|kept| issued_by(&verifier, kept));
    if let Some(last) = &last {
        metrics.checkpoint(last.tree.size);
    }
    let signer = LocalSigner::new(&signing.key, &name, signed);
    let with = Colleagues {
        name: name.clone(),
        log: Arc::clone(&log),
        tree: Arc::clone(&tree),
        disk: Arc::clone(&disk),
        dir: dir.clone(),
        metrics: metrics.clone(),
        witnesses: signing.witnesses,
    };
    let (publisher, newest) = Publisher::new(with, &verifier, last, cosigned);
    let (asks, receiver) = mpsc::channel(ASKS_MAX);
    // What was recorded while no server ran that signs is new as well. An empty ledger has no directory yet.
    let mut tail = tail;
    if log.tail().next > Position(0) {
        tail.mark_changed();
    }
    let (called, read, to_read) = (name.clone(), Arc::clone(&log), Arc::clone(&tree));
    let desk = Desk { name, log, tree, disk, dir, anchors, signer, metrics, last: signed };
    let task = tokio::spawn(run(desk, tail, receiver, publisher, signing.every));
    (Notary { name: called, log: read, tree: to_read, newest, asks: Ok(asks) }, Some(task))
}

/// The checkpoint that a ledger's directory keeps. One that is none counts as lost: whoever can spoil it could remove it.
///
/// # Errors
/// Where it can't be read.
pub fn read_kept(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Known>> {
    read_note(disk, &dir.join(NAME))
}

/// The newest checkpoint that it keeps with its cosignatures.
///
/// # Errors
/// As [`read_kept`].
pub fn read_cosigned(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Known>> {
    read_note(disk, &dir.join(publish::NAME))
}

/// Removes what a ledger's directory keeps of a checkpoint that was overridden: the log has it now, and is no longer held
/// against it.
///
/// # Errors
/// Where it can't be removed.
pub fn forget(disk: &dyn Disk, dir: &Path, overridden: &Known) -> io::Result<()> {
    for name in [NAME, publish::NAME] {
        let path = dir.join(name);
        if read_note(disk, &path)?.as_ref() == Some(overridden) {
            disk.remove(&path)?;
            disk.sync_dir(dir)?;
        }
    }
    Ok(())
}

fn read_note(disk: &dyn Disk, path: &Path) -> io::Result<Option<Known>> {
    let file = match disk.open(path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut note = vec![0; usize::try_from(file.len()?.min(NOTE_BYTES_MAX)).unwrap_or_default()];
    let read = file.read_at(&mut note, 0)?;
    note.truncate(read);
    let lost = |error: &_| tracing::error!(path = %path.display(), %error, "a kept checkpoint is lost");
    Ok(Known::read(&note).inspect_err(lost).ok())
}

/// A signed checkpoint of all that a ledger has: the one that is kept, or a new one, which is neither kept nor shown.
/// `None` where there is nothing to sign, or something must be recorded first.
///
/// # Errors
/// Where the tree does not answer, or the log contradicts what is kept.
pub fn checkpoint_of_all(
    signing: &Signing,
    name: &LedgerName,
    kept: Option<&Known>,
    tree: &TreeStore,
    log: &dyn LogStore,
) -> Result<Option<Known>, ProofError> {
    if log.tail().next == Position(0) {
        return Ok(None);
    }
    let head = head_of(tree, log)?;
    let verifier = signing.key.verifier(name);
    match kept {
        Some(kept) if kept.checkpoint.tree == head && verifier.open(kept.note.as_bytes()).is_ok() => {
            return Ok(Some(kept.clone()));
        }
        // The key that is to follow signs nothing before the log says that it does.
        Some(kept) if !signing.since(name, kept).is_empty() => return Ok(Some(kept.clone())),
        _ => {}
    }
    let last = kept.map(|kept| kept.checkpoint.tree);
    let proof = proof_from(name, last, &head, (tree, log))?;
    let note = LocalSigner::new(&signing.key, name, last).sign(head, &proof)?;
    Ok(Some(Known::read(&note)?))
}

/// The tree over all that is durable.
fn head_of(tree: &TreeStore, log: &dyn LogStore) -> Result<TreeHead, TreeError> {
    tree.catch_up(log)?;
    Ok(tree.head())
}

/// The proof that a tree goes on from the last one that was signed, for the signer, who takes nobody's word for it.
fn proof_from(
    name: &LedgerName,
    last: Option<TreeHead>,
    tree: &TreeHead,
    (store, log): (&TreeStore, &dyn LogStore),
) -> Result<Vec<Hash>, TreeError> {
    match last.filter(|last| last.size <= tree.size) {
        None => Ok(Vec::new()),
        Some(last) => trees::ask(name, store, log, |store| Ok(store.consistency(last.size, tree)?.1)),
    }
}

/// A checkpoint that this key has signed; one of another key is not given away as one of its own.
fn issued_by(verifier: &VerifierKey, kept: Known) -> Option<Issued> {
    let checkpoint = verifier.open(kept.note.as_bytes()).ok()?;
    Some(Issued::unwitnessed(checkpoint.tree, kept.note.into_bytes()))
}

impl Issued {
    fn unwitnessed(tree: TreeHead, note: Vec<u8>) -> Self {
        Self { tree, note: note.into(), witnesses: Arc::default(), witnessed: false }
    }
}

/// What it takes to issue a checkpoint.
struct Desk {
    name: LedgerName,
    log: Arc<dyn LogStore>,
    tree: Arc<TreeStore>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    anchors: Option<Arc<AnchorFile>>,
    signer: LocalSigner,
    metrics: LedgerMetrics,
    /// What was signed last.
    last: Option<TreeHead>,
}

async fn run(
    mut desk: Desk,
    mut tail: watch::Receiver<Tail>,
    mut asks: mpsc::Receiver<Ask>,
    mut publisher: Publisher,
    every: Duration,
) {
    let mut due = Instant::now();
    let mut signed_at = due;
    // How long to wait before what failed is tried again.
    let mut failed: Option<Duration> = None;
    loop {
        let held = publisher.is_held();
        let ended = tokio::select! {
            ended = async {
                // However long that takes, the writer's end is not missed.
                while Instant::now() < due && tail.has_changed().is_ok() {
                    tokio::time::sleep_until(due.min(Instant::now() + LOOK_EVERY)).await;
                }
                // While one waits for witnesses no other is signed, however much is new; what failed is new still.
                match held || failed.is_some() {
                    true => tail.has_changed().is_err(),
                    false => tail.changed().await.is_err(),
                }
            } => ended,
            Some(ask) = asks.recv() => {
                publisher.wait(ask);
                false
            }
            answered = publisher.next() => {
                publisher.take(answered).await;
                if held && !publisher.is_held() {
                    due = if publisher.is_waited_for() { Instant::now() } else { signed_at + every };
                }
                continue;
            }
        };
        while let Ok(ask) = asks.try_recv() {
            publisher.wait(ask);
        }
        if held && !ended {
            due = Instant::now() + LOOK_EVERY;
            continue;
        }
        if ended && desk.log.tail().next == Position(0) {
            return;
        }
        let issued;
        (desk, issued) = on_a_thread(desk, publisher.signed()).await;
        signed_at = Instant::now();
        failed = match &issued {
            Ok(_) => None,
            Err(_) => Some(failed.map_or(RETRY, |pause| (pause * 2).min(RETRY_MAX))),
        };
        due = signed_at + failed.unwrap_or(every);
        match issued {
            Ok(checkpoint) => publisher.signed_now(checkpoint),
            Err(error) => {
                tracing::error!(ledger = %desk.name, %error, "no checkpoint was issued");
                publisher.failed(&Arc::new(error));
            }
        }
        if ended {
            publisher.end().await;
            // What is not written of the tree is hashed again at the next start.
            let _ = desk.tree.flush();
            return;
        }
    }
}

async fn on_a_thread(desk: Desk, last: Option<Issued>) -> (Desk, Result<Issued, ProofError>) {
    let issued = tokio::task::spawn_blocking(move || {
        let mut desk = desk;
        let issued = desk.issue(last);
        (desk, issued)
    });
    match issued.await {
        Ok(issued) => issued,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // A task of ours is never cancelled.
            Err(_) => std::future::pending().await,
        },
    }
}

impl Desk {
    /// A checkpoint of everything that is durable: the last one, if nothing is new.
    fn issue(&mut self, last: Option<Issued>) -> Result<Issued, ProofError> {
        let tree = head_of(&self.tree, self.log.as_ref())?;
        if let Some(last) = last.filter(|last| last.tree == tree) {
            return Ok(last);
        }
        let proof = proof_from(&self.name, self.last, &tree, (&self.tree, self.log.as_ref()))?;
        let note = self.signer.sign(tree, &proof)?;
        self.last = Some(tree);
        self.keep(&note).map_err(ProofError::Keep)?;
        self.metrics.checkpoint(tree.size);
        Ok(Issued::unwitnessed(tree, note))
    }

    /// Keeps a note before anybody sees it: a ledger that is put back to an earlier copy must know what it has signed.
    fn keep(&self, note: &[u8]) -> io::Result<()> {
        // First where it is of use against whoever has the directory: who finds it in the directory finds it there too.
        if let Some(anchors) = &self.anchors {
            let known = Known::read(note).map_err(io::Error::other)?;
            anchors.keep(self.name.clone(), known)?;
        }
        disk::replace(self.disk.as_ref(), &self.dir.join(NAME), note)
    }
}
