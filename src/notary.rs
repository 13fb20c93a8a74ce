//! Issues the checkpoints of a ledger: while something is new, at most every so often; on request; and at the end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ledger::checkpoint::{CheckpointError, LocalSigner, PrivateKey, Signer, VerifierKey};
use ledger::disk::{Disk, Open};
use ledger::log::{LogStore, ReadError, Tail};
use ledger::tiles::{TreeError, TreeStore};
use ledger::tree::TreeHead;
use ledger::types::LedgerName;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::metrics::LedgerMetrics;

/// The file of a ledger that holds its newest checkpoint, and that under which it is written first.
const NAME: &str = "checkpoint";
const NEXT_NAME: &str = "checkpoint.tmp";
/// How many requests for a checkpoint wait.
const ASKS_MAX: usize = 64;
/// How long to wait after one could not be issued.
const RETRY: Duration = Duration::from_secs(1);

/// With which key checkpoints are signed, and how often at most.
#[derive(Clone)]
pub struct Signing {
    /// The key.
    pub key: Arc<PrivateKey>,
    /// The least time between two of them.
    pub every: Duration,
}

/// A checkpoint that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// What it says.
    pub tree: TreeHead,
    /// The signed note.
    pub note: Arc<[u8]>,
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
type Ask = oneshot::Sender<Result<Issued, Arc<ProofError>>>;

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

    /// The newest checkpoint that is published; where there is none yet, one is signed now.
    ///
    /// # Errors
    /// See [`ProofError`].
    pub async fn newest(&self) -> Result<Issued, Arc<ProofError>> {
        self.checkpoint(0).await
    }

    /// A checkpoint that covers at least so many entries: the newest one, if it does, and otherwise one that is signed now.
    ///
    /// # Errors
    /// See [`ProofError`].
    pub async fn checkpoint(&self, size: u64) -> Result<Issued, Arc<ProofError>> {
        let newest = self.newest.borrow().clone();
        if let Some(newest) = newest.filter(|newest| newest.tree.size >= size) {
            return Ok(newest);
        }
        let asks = self.asks.as_ref().ok_or(ProofError::NoKey)?;
        let (ask, answer) = oneshot::channel();
        asks.send(ask).await.map_err(|_| ProofError::Closing)?;
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
    let kept = read_kept(disk.as_ref(), &dir)?;
    let last = kept.and_then(|note| opened(&verifier, note));
    if let Some(last) = &last {
        metrics.checkpoint(last.tree.size);
    }
    let signer = LocalSigner::new(&signing.key, &name, last.as_ref().map(|last| last.tree));
    let (sender, newest) = watch::channel(last);
    let (asks, receiver) = mpsc::channel(ASKS_MAX);
    // What was recorded while no server ran that signs is new as well.
    let mut tail = tail;
    tail.mark_changed();
    let desk = Desk { name, log, tree: Arc::clone(&tree), disk, dir, signer, metrics };
    let task = tokio::spawn(run(desk, tail, receiver, sender, signing.every));
    Ok((Notary { tree, newest, asks: Some(asks) }, Some(task)))
}

fn read_kept(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(&dir.join(NAME), Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut note = vec![0; usize::try_from(file.len()?.min(64 * 1024)).unwrap_or_default()];
    let read = file.read_at(&mut note, 0)?;
    note.truncate(read);
    Ok(Some(note))
}

/// A note that this key has signed; one of another key says nothing about what this one may sign.
fn opened(verifier: &VerifierKey, note: Vec<u8>) -> Option<Issued> {
    let checkpoint = verifier.open(&note).ok()?;
    Some(Issued { tree: checkpoint.tree, note: note.into() })
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
    newest: watch::Sender<Option<Issued>>,
    every: Duration,
) {
    let mut pause = Duration::ZERO;
    loop {
        let mut waiting = Vec::new();
        let ended = tokio::select! {
            changed = async {
                tokio::time::sleep(pause).await;
                tail.changed().await
            } => changed.is_err(),
            Some(ask) = asks.recv() => {
                waiting.push(ask);
                false
            }
        };
        while let Ok(ask) = asks.try_recv() {
            waiting.push(ask);
        }
        let last = newest.borrow().clone();
        let issued;
        (desk, issued) = on_a_thread(desk, last).await;
        let issued = issued.map_err(Arc::new);
        pause = if issued.is_ok() { every } else { RETRY };
        match &issued {
            Ok(checkpoint) => {
                newest.send_if_modified(|newest| {
                    newest.replace(checkpoint.clone()).as_ref() != Some(checkpoint)
                });
            }
            Err(error) => tracing::error!(ledger = %desk.name, %error, "no checkpoint was issued"),
        }
        for ask in waiting {
            let _ = ask.send(issued.clone());
        }
        if ended {
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
        Ok(Issued { tree, note: note.into() })
    }

    /// Keeps a note before anybody sees it: a ledger that is put back to an earlier copy must know what it has signed.
    fn keep(&self, note: &[u8]) -> io::Result<()> {
        let next = self.dir.join(NEXT_NAME);
        match self.disk.remove(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.disk.open(&next, Open::New)?;
        file.write_at(note, 0)?;
        file.sync()?;
        self.disk.rename(&next, &self.dir.join(NAME))?;
        self.disk.sync_dir(&self.dir)
    }
}
