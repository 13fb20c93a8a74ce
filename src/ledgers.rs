//! The ledgers of a data directory: opened at the start, made by the first append.

mod find;
mod recover;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ledger::anchor::Known;
use ledger::disk::Disk;
use ledger::event::{Cause, Fact, Text};
use ledger::log::{Damage, LogStore, SegmentLog, SegmentOptions};
use ledger::sequencer::{Proposal, Refused, Request, own_event};
use ledger::types::{LedgerName, LedgerUid, Position};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::anchors::{AnchorError, AnchorFile, Contradicted, Source, Trust};
use crate::clock::Clock;
use crate::follower::{self, Projection, Shelf};
use crate::lock;
use crate::metrics::Metrics;
use crate::notary::{self, Notary, Signing};
use crate::packer::Packer;
use crate::reader::Reader;
use crate::restorer::Restorer;
use crate::writer::{self, Parts, Writer};
use find::{Finder, Found, is_damage_alone};
use recover::Recovered;

/// How long the next segment waits to be prepared after it was tried.
const PREPARE_RETRY: Duration = Duration::from_millis(500);
/// How many ledgers may be open that nothing was appended to.
const EMPTY_MAX: usize = 256;

/// What to do about a ledger that is not what it was.
const REFUSED: &str = "nothing was changed. Somebody cut, rewrote or put back the log: look for another copy of the directory. `--override-checkpoint LEDGER --override-reason TEXT` goes on with what is there, and records that for ever";

/// Why a data directory or a ledger in it could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0} is in use by another tokenledger; stop that one first, or use another directory")]
    InUse(PathBuf),
    /// The operating system refused.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        error: std::io::Error,
    },
    /// A ledger could not be opened.
    #[error("ledger {name}: {reason}")]
    Ledger {
        /// Which.
        name: LedgerName,
        /// Why.
        reason: String,
    },
    /// Too many names were tried that have no entries.
    #[error("{EMPTY_MAX} ledgers without any entry are open; use one of them, or restart the server")]
    TooManyEmpty,
    /// The server is going down.
    #[error("the server is shutting down; nothing was recorded, try again")]
    Closing,
    /// Ledgers are not what they were once signed to be.
    #[error("{}{REFUSED}", .0.iter().map(|c| format!("{c}; ")).collect::<String>())]
    Contradicted(Vec<Contradicted>),
    /// The anchor file.
    #[error("{0}")]
    Anchor(#[from] AnchorError),
    /// A checkpoint that was given is that of no ledger.
    #[error("the checkpoint given by --expect-checkpoint is that of {0:?}, which names no ledger")]
    NoLedger(String),
    /// A directory among the ledgers that is none.
    #[error("{0} is not the name of a ledger; move it out of the directory of ledgers")]
    NotALedger(PathBuf),
}

/// One open ledger: the ways to its writer, reader, restorer and projection. A call shares it: the writer ends when the
/// last call that could ask it has.
pub struct Ledger {
    /// Its name.
    pub name: LedgerName,
    /// Records events.
    pub writer: Writer,
    /// Answers questions.
    pub reader: Reader,
    /// Brings accounts back.
    pub restorer: Restorer,
    /// Keeps the index.
    pub projection: Projection,
    /// Issues checkpoints, and proves.
    pub notary: Notary,
    /// Where the log is not what was written.
    pub damage: Vec<Damage>,
}

/// What all ledgers share.
pub struct Shared {
    /// Where they lie.
    pub data: PathBuf,
    /// Storage.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Metrics,
    /// How segments are laid out.
    pub segments: SegmentOptions,
    /// Whether sealed segments are compressed in the background.
    pub pack: bool,
    /// With which key checkpoints are signed; without one, there are none.
    pub signing: Option<Signing>,
    /// What is known of the ledgers from elsewhere.
    pub trust: Trust,
}

struct Opened {
    ledger: Arc<Ledger>,
    writing: JoinHandle<()>,
    following: JoinHandle<()>,
    signing: Option<JoinHandle<()>>,
}

/// All ledgers of a data directory, which is locked as long as this lives.
pub struct Ledgers {
    shared: Shared,
    shelf: Arc<Shelf>,
    packer: Arc<Packer>,
    anchors: Option<Arc<AnchorFile>>,
    open: RwLock<BTreeMap<LedgerName, Opened>>,
    /// Held while a ledger is opened; says whether the server is going down, when none is opened any more.
    closing: tokio::sync::Mutex<bool>,
    stopping: watch::Sender<bool>,
    _lock: File,
}

impl Ledgers {
    /// Locks a data directory, which is made where it is missing, and opens its ledgers.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(shared: Shared) -> Result<Arc<Self>, OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| OpenError::Io { path, error }
        };
        shared.disk.make_dir(&shared.data).map_err(io(&shared.data))?;
        let lock = lock(&shared)?;
        let dir = shared.data.join("ledgers");
        let names = shared.disk.list(&dir).map_err(io(&dir))?;
        let anchors = open_anchors(&shared, &names)?;
        let mut there = BTreeSet::new();
        for name in names {
            there.insert(LedgerName::from_str(&name).map_err(|_| OpenError::NotALedger(dir.join(&name)))?);
        }
        // Whatever is not what it was is refused before anything else takes its time, or changes anything.
        let found = Finder { shared: &shared, anchors: anchors.as_deref() }.find_all(there).await?;
        let shelf_dir = shared.data.join("projections").join("sled");
        let opened = tokio::task::spawn_blocking(move || Shelf::open(shelf_dir)).await;
        let shelf = match opened {
            Ok(Ok(shelf)) => Arc::new(shelf),
            Ok(Err(error)) => return Err(io(&shared.data)(std::io::Error::other(error.to_string()))),
            Err(error) => return Err(io(&shared.data)(std::io::Error::other(error))),
        };
        let packer = Packer::start(shared.pack).map(Arc::new).map_err(io(&shared.data))?;
        let ledgers = Arc::new(Self {
            shared,
            shelf,
            packer,
            anchors,
            open: RwLock::default(),
            closing: tokio::sync::Mutex::default(),
            stopping: watch::Sender::new(false),
            _lock: lock,
        });
        for (name, found) in found {
            ledgers.open_found(&name, found).await?;
        }
        Ok(ledgers)
    }

    /// What all ledgers share.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// An open ledger that has entries.
    #[must_use]
    pub fn get(&self, name: &LedgerName) -> Option<Arc<Ledger>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(name).map(|opened| Arc::clone(&opened.ledger)).filter(|ledger| !ledger.is_empty())
    }

    /// All ledgers that have entries, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Ledger>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.values().map(|opened| Arc::clone(&opened.ledger)).filter(|ledger| !ledger.is_empty()).collect()
    }

    /// A ledger to append to. Nothing is written before its first event is.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn get_or_open(&self, name: &LedgerName) -> Result<Arc<Ledger>, OpenError> {
        if let Some(ledger) = self.find(name) {
            return Ok(ledger);
        }
        let closing = self.closing.lock().await;
        if *closing {
            return Err(OpenError::Closing);
        }
        match self.find(name) {
            Some(ledger) => Ok(ledger),
            None if self.empty() >= EMPTY_MAX => Err(OpenError::TooManyEmpty),
            None => {
                let finder = Finder { shared: &self.shared, anchors: self.anchors.as_deref() };
                let found = finder.find(name).await?;
                self.open_found(name, found).await
            }
        }
    }

    fn empty(&self) -> usize {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.values().filter(|opened| opened.ledger.is_empty()).count()
    }

    /// Word that the server is going down, for what would wait for ever.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Says that the server is going down.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
        self.packer.stop();
    }

    fn find(&self, name: &LedgerName) -> Option<Arc<Ledger>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(name).map(|opened| Arc::clone(&opened.ledger))
    }

    /// Starts a ledger that was found.
    async fn open_found(&self, name: &LedgerName, found: Found) -> Result<Arc<Ledger>, OpenError> {
        let started = self.start(name, found).await;
        let opened = started.map_err(|reason| OpenError::Ledger { name: name.clone(), reason })?;
        let ledger = Arc::clone(&opened.ledger);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(name.clone(), opened);
        Ok(ledger)
    }

    async fn start(&self, name: &LedgerName, found: Found) -> Result<Opened, String> {
        let disk = Arc::clone(&self.shared.disk);
        let (found, recovered) = tokio::task::spawn_blocking(move || {
            let recovered = Recovered::of(&found, disk)?;
            Ok::<_, String>((found, recovered))
        })
        .await
        .map_err(|error| error.to_string())??;
        let metrics = self.shared.metrics.of(name);
        let log: Arc<dyn LogStore> = found.log.clone();
        metrics.position(log.tail().next.0);
        self.packer.add(name.clone(), &found.log, metrics.clone());
        let damage = found.log.damage();
        let disk = Arc::clone(&self.shared.disk);
        let (tree, signing) = (found.tree, self.shared.signing.clone());
        let parts = Parts {
            name: name.clone(),
            log: Arc::clone(&log),
            prepare: prepare(Arc::clone(&found.log), name.clone(), Arc::clone(&self.packer)),
            ids: recovered.ids,
            learn_ids: recovered.learn_ids,
            disk: Arc::clone(&disk),
            snapshots: recovered.snapshots,
            state: recovered.state.state,
            tail: recovered.state.tail,
            uid: recovered.uid,
            clock: Arc::clone(&self.shared.clock),
            tree: signing.as_ref().map(|_| Arc::clone(&tree)),
            metrics: metrics.clone(),
            stopped: recovered.stopped,
        };
        let (writer, writing) = writer::start(parts)?;
        // What must be in the log before it is signed again.
        let kept = found.kept;
        let mut may_sign = true;
        for contradicted in found.contradicted {
            if is_damage_alone(&contradicted) {
                may_sign = false;
                continue;
            }
            let Contradicted { source, known, .. } = &contradicted;
            tracing::error!(%contradicted, "overridden");
            let fact =
                Fact::CheckpointOverridden { source: Text::own(source.name()), note: known.note.clone() };
            let reason = self.shared.trust.override_reason.clone();
            let recorded = self.record(name, &writer, recovered.uid, fact, &known.note, reason).await?;
            may_sign &= recorded;
            if recorded && *source == Source::Kept {
                notary::forget(disk.as_ref(), &found.dir, known).map_err(|error| error.to_string())?;
            }
        }
        for rotation in signing.iter().zip(&kept).flat_map(|(signing, kept)| signing.since(name, kept)) {
            let fact = Fact::KeyRotated { note: rotation.note().to_owned() };
            may_sign &= self.record(name, &writer, recovered.uid, fact, rotation.note(), None).await?;
        }
        if may_sign {
            self.anchor(name, kept.clone()).await?;
        } else {
            tracing::error!(ledger = %name, "nothing of this ledger is signed: what must be recorded before can't be");
        }
        let (notary, signing) = notary::start(notary::Parts {
            name: name.clone(),
            log: Arc::clone(&log),
            tree,
            tail: writer.tail(),
            kept,
            cosigned: found.cosigned,
            may_sign,
            anchors: self.anchors.clone(),
            disk,
            dir: found.dir,
            signing,
            metrics: metrics.clone(),
        });
        let (projection, following) =
            follower::start(name.clone(), Arc::clone(&log), writer.tail(), Arc::clone(&self.shelf), metrics);
        let reader = Reader::new(log, projection.clone(), writer.tail());
        let restorer = Restorer::new(reader.clone(), writer.clone(), Arc::clone(&self.shared.clock));
        let ledger = Ledger { name: name.clone(), writer, reader, restorer, projection, notary, damage };
        Ok(Opened { ledger: Arc::new(ledger), writing, following, signing })
    }

    /// Records an event of the ledger's own, once for each note. A log that takes no appends can't hold it: then it is not
    /// recorded.
    async fn record(
        &self,
        name: &LedgerName,
        writer: &Writer,
        uid: LedgerUid,
        fact: Fact,
        note: &str,
        reason: Option<Text>,
    ) -> Result<bool, String> {
        if let Some(stopped) = writer.stopped() {
            tracing::error!(ledger = %name, kind = fact.kind().name(), stopped, "can't be recorded");
            return Ok(false);
        }
        let id = Uuid::new_v5(&Uuid::from_bytes(uid.0), format!("{}\n{note}", fact.kind().name()).as_bytes());
        let event = own_event(id, self.shared.clock.now(), Cause { reason, ..Cause::default() }, fact);
        let proposals = vec![Proposal::new(event, None)];
        let request = Request { proposals, atomic: false, validate_only: false, strict: true };
        let answers = writer.append(request).await.map_err(|error| error.to_string())?;
        match answers.into_iter().next() {
            // It was recorded at an earlier start, at another time.
            Some(Ok(_) | Err(Refused::IdTaken { .. })) => Ok(true),
            Some(Err(refused)) => Err(refused.to_string()),
            None => Err("the writer did not answer".to_owned()),
        }
    }

    /// Sees to it that what is published at once is in the anchor file: a crash may have come in between.
    async fn anchor(&self, name: &LedgerName, kept: Option<Known>) -> Result<(), String> {
        let (Some(anchors), Some(kept)) = (self.anchors.clone(), kept) else { return Ok(()) };
        let newest = anchors.found().get(name).map_or(0, |known| known.checkpoint.tree.size);
        if newest >= kept.checkpoint.tree.size {
            return Ok(());
        }
        let name = name.clone();
        let anchored = tokio::task::spawn_blocking(move || anchors.keep(name, kept)).await;
        anchored.map_err(|e| e.to_string())?.map_err(|error| error.to_string())
    }

    /// Lets every writer finish what it has, and writes snapshots. Calls that come later are told that the server is
    /// going down.
    pub async fn drain(&self) {
        *self.closing.lock().await = true;
        let opened = std::mem::take(&mut *self.open.write().unwrap_or_else(PoisonError::into_inner));
        let mut tasks = Vec::new();
        for (_, Opened { ledger, writing, following, signing }) in opened {
            drop(ledger);
            tasks.extend([writing, following].into_iter().chain(signing));
        }
        for task in tasks {
            let _ = task.await;
        }
        let packer = Arc::clone(&self.packer);
        let _ = tokio::task::spawn_blocking(move || packer.join()).await;
    }
}

impl Ledger {
    fn is_empty(&self) -> bool {
        self.reader.log().tail().next == Position(0) && self.damage.is_empty()
    }
}

/// Locks the data directory for this process.
fn lock(shared: &Shared) -> Result<File, OpenError> {
    let path = shared.data.join("lock");
    let io = |error| OpenError::Io { path: path.clone(), error };
    let held = lock::hold(shared.disk.as_ref(), &path).map_err(io)?;
    held.ok_or_else(|| OpenError::InUse(shared.data.clone()))
}

/// Opens the anchor file, which may be made while there are no entries.
fn open_anchors(shared: &Shared, names: &[String]) -> Result<Option<Arc<AnchorFile>>, OpenError> {
    let Trust { anchor: Some(path), anchor_init, .. } = &shared.trust else { return Ok(None) };
    let mut empty = true;
    for name in names {
        let log = shared.data.join("ledgers").join(name).join("log");
        empty &= shared.disk.list(&log).map_err(|error| OpenError::Io { path: log, error })?.is_empty();
    }
    let disk = Arc::clone(&shared.disk);
    Ok(Some(AnchorFile::open(disk, path, &shared.data, empty || *anchor_init)?))
}

/// Makes the next segment ready in the background, when it is time; not at once again where there was no room.
fn prepare(log: Arc<SegmentLog>, name: LedgerName, packer: Arc<Packer>) -> Arc<dyn Fn() + Send + Sync> {
    let not_before = Mutex::new(Instant::now());
    Arc::new(move || {
        if !log.wants_next() || !is_due(&not_before) {
            return;
        }
        let (log, name, packer) = (Arc::clone(&log), name.clone(), Arc::clone(&packer));
        tokio::task::spawn_blocking(move || {
            if let Err(error) = log.prepare_next() {
                tracing::warn!(ledger = %name, %error, "no room for the next segment yet; free some space");
            }
            // Each segment is half full once: by then the one before it has long been sealed.
            packer.wake();
        });
    })
}

/// Whether it is time to try, and if so, when it is time again.
fn is_due(not_before: &Mutex<Instant>) -> bool {
    let mut not_before = not_before.lock().unwrap_or_else(PoisonError::into_inner);
    let due = *not_before <= Instant::now();
    if due {
        *not_before = Instant::now() + PREPARE_RETRY;
    }
    due
}
