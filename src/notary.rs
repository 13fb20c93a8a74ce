//! Issues the checkpoints of a ledger: while something is new, at most every so often; on request; and at the end.

mod publish;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ledger::checkpoint::{CheckpointError, LocalSigner, PrivateKey, Signer, VerifierKey};
use ledger::disk::{Disk, Open};
use ledger::log::{LogStore, ReadError, Tail};
use ledger::tiles::{TreeError, TreeStore};
use ledger::tree::TreeHead;
use ledger::types::{LedgerName, Position};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::metrics::LedgerMetrics;
use crate::witness::Witnesses;
use publish::{Colleagues, Publisher};

/// The file of a ledger that holds its newest checkpoint, and that under which it is written first.
const NAME: &str = "checkpoint";
const NEXT_NAME: &str = "checkpoint.tmp";
/// How many requests for a checkpoint wait.
const ASKS_MAX: usize = 64;
/// How long to wait after one could not be issued.
const RETRY: Duration = Duration::from_secs(1);
/// How often is looked whether the writer has ended, while nothing is signed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// With which key checkpoints are signed, and how often at most.
#[derive(Clone)]
pub struct Signing {
    /// The key.
    pub key: Arc<PrivateKey>,
    /// The least time between two of them.
    pub every: Duration,
    /// Who cosigns them, if anybody does.
    pub witnesses: Option<Arc<Witnesses>>,
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
    tree: Arc<TreeStore>,
    newest: watch::Receiver<Option<Issued>>,
    asks: Option<mpsc::Sender<Ask>>,
}

impl Notary {
    /// The tree over the ledger's entries.
    #[must_use]
    pub fn tree(&self) -> &Arc<TreeStore> {
        &self.tree
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
        let asks = self.asks.as_ref().ok_or(ProofError::NoKey)?;
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
///
/// # Errors
/// Where the checkpoint that was issued last can't be read.
pub fn start(parts: Parts) -> io::Result<(Notary, Option<JoinHandle<()>>)> {
    let Parts { name, log, tree, tail, disk, dir, signing, metrics } = parts;
    let Some(signing) = signing else {
        let (_, newest) = watch::channel(None);
        return Ok((Notary { tree, newest, asks: None }, None));
    };
    let verifier = signing.key.verifier(&name);
    let kept = read_note(disk.as_ref(), &dir.join(NAME))?;
    let last = kept.and_then(|note| opened(&verifier, note));
    if let Some(last) = &last {
        metrics.checkpoint(last.tree.size);
    }
    let signer = LocalSigner::new(&signing.key, &name, last.as_ref().map(|last| last.tree));
    let with = Colleagues {
        name: name.clone(),
        tree: Arc::clone(&tree),
        disk: Arc::clone(&disk),
        dir: dir.clone(),
        metrics: metrics.clone(),
        witnesses: signing.witnesses,
    };
    let (publisher, newest) = Publisher::new(with, &verifier, last)?;
    let (asks, receiver) = mpsc::channel(ASKS_MAX);
    // What was recorded while no server ran that signs is new as well. An empty ledger has no directory yet.
    let mut tail = tail;
    if log.tail().next > Position(0) {
        tail.mark_changed();
    }
    let desk = Desk { name, log, tree: Arc::clone(&tree), disk, dir, signer, metrics };
    let task = tokio::spawn(run(desk, tail, receiver, publisher, signing.every));
    Ok((Notary { tree, newest, asks: Some(asks) }, Some(task)))
}

/// A note as it was kept, where there is one.
fn read_note(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut note = vec![0; usize::try_from(file.len()?.min(64 * 1024)).unwrap_or_default()];
    let read = file.read_at(&mut note, 0)?;
    note.truncate(read);
    Ok(Some(note))
}

/// Puts bytes into a file, durably; whatever happens before, it is the old one or the new one.
fn replace(disk: &dyn Disk, dir: &Path, (next, name): (&str, &str), bytes: &[u8]) -> io::Result<()> {
    let next = dir.join(next);
    match disk.remove(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&next, Open::New)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&next, &dir.join(name))?;
    disk.sync_dir(dir)
}

/// A note that this key has signed; one of another key says nothing about what this one may sign.
fn opened(verifier: &VerifierKey, note: Vec<u8>) -> Option<Issued> {
    let checkpoint = verifier.open(&note).ok()?;
    Some(Issued::unwitnessed(checkpoint.tree, note))
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
    signer: LocalSigner,
    metrics: LedgerMetrics,
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
    loop {
        let held = publisher.is_held();
        let ended = tokio::select! {
            ended = async {
                tokio::time::sleep_until(due).await;
                // While one waits for witnesses no other is signed, however much is new.
                if held { tail.has_changed().is_err() } else { tail.changed().await.is_err() }
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
        due = signed_at + if issued.is_ok() { every } else { RETRY };
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
        self.tree.catch_up(self.log.as_ref())?;
        let tree = self.tree.head();
        if let Some(last) = last.filter(|last| last.tree == tree) {
            return Ok(last);
        }
        let note = self.signer.sign(tree)?;
        self.keep(&note).map_err(ProofError::Keep)?;
        self.metrics.checkpoint(tree.size);
        Ok(Issued::unwitnessed(tree, note))
    }

    /// Keeps a note before anybody sees it: a ledger that is put back to an earlier copy must know what it has signed.
    fn keep(&self, note: &[u8]) -> io::Result<()> {
        replace(self.disk.as_ref(), &self.dir, (NEXT_NAME, NAME), note)
    }
}
