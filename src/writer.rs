//! Drives a ledger's sequencer: one owner task that takes requests, has groups written, and answers once they are
//! durable. While one group is written the next one is decided and encoded.

mod handle;
mod output;
mod upkeep;

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::disk::Disk;
use ledger::entry::{self, Header, IdKey, Record};
use ledger::ids::{Done, IdIndex, IdsError};
use ledger::log::{AppendError, LogStore, ReadError, Tail};
use ledger::sequencer::{Request, Sequencer};
use ledger::snapshot;
use ledger::state::{Frozen, State};
use ledger::tiles::TreeStore;
use ledger::types::{Emitter, LedgerName, LedgerUid, Position};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use handle::{Answers, Begun, WriteError, Writer};
use handle::{JOBS_MAX, Job};
use output::{Ends, Output, Piece, Written};

use crate::clock::Clock;
use crate::metrics::LedgerMetrics;

/// The writer takes no more requests while so many entries wait to be written.
const PENDING_ENTRIES_MAX: u64 = 16_384;
/// How many requests are taken before the writer looks up from them.
const JOBS_AT_ONCE_MAX: usize = 256;

/// So many entries are handed over to be written before the writer decides on more: otherwise large requests are decided
/// on while the disk has nothing to do, and are answered all together, upon which the writer has nothing to do until all
/// are sent anew.
const HANDED_OVER_AT_ONCE: usize = 64;

/// A write that takes less with its sync keeps the thread that it is done on from other work no longer than a large
/// request does.
const QUICK_WRITE: Duration = Duration::from_micros(500);

type Release = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

/// Feeds an index of event ids from the log what it does not cover yet.
pub type LearnIds = Arc<dyn Fn(&mut IdIndex) -> Result<(), String> + Send + Sync>;

/// What a writer works with.
pub struct Parts {
    /// The ledger's name.
    pub name: LedgerName,
    /// Its log.
    pub log: Arc<dyn LogStore>,
    /// Makes room ahead of need.
    pub prepare: Arc<dyn Fn() + Send + Sync>,
    /// The index of event ids, which covers the whole log.
    pub ids: IdIndex,
    /// Brings the index up to the log, or makes it anew.
    pub learn_ids: LearnIds,
    /// Where snapshots go.
    pub disk: Arc<dyn Disk>,
    /// The directory of snapshots.
    pub snapshots: PathBuf,
    /// The fold of the log, as far as it can be read.
    pub state: State,
    /// The end that the state belongs to.
    pub tail: Tail,
    /// Who the ledger will be if its log is empty.
    pub uid: LedgerUid,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// The tree over its entries, where there are checkpoints.
    pub tree: Option<Arc<TreeStore>>,
    /// Counts.
    pub metrics: LedgerMetrics,
    /// Why it takes no appends from the start, if so.
    pub stopped: Option<String>,
}

/// Starts a writer.
///
/// # Errors
/// Where the state is not the fold of the log.
pub fn start(parts: Parts) -> Result<(Writer, JoinHandle<()>), String> {
    let tail = parts.log.tail();
    let sequencer = Sequencer::new(parts.state, parts.tail, parts.name.clone(), parts.uid)
        .map_err(|(state, log)| format!("the state ends at {state}, the log at {log}"))?;
    if parts.stopped.is_some() {
        parts.metrics.stopped();
    }
    let (jobs, receiver) = mpsc::channel(JOBS_MAX);
    let (tail_sender, tail_receiver) = watch::channel(tail);
    let tail_sender = Arc::new(tail_sender);
    let (stopped_sender, stopped_receiver) = watch::channel(parts.stopped);
    let (log, tail_sent) = (Arc::clone(&parts.log), Arc::clone(&tail_sender));
    let (output, ends) = Output::new(log, tail_sent, parts.tree, parts.metrics.clone());
    let drive = Drive {
        sequencer,
        log: parts.log,
        prepare: parts.prepare,
        ids: parts.ids,
        learn_ids: parts.learn_ids,
        disk: parts.disk,
        snapshots: parts.snapshots,
        clock: parts.clock,
        metrics: parts.metrics,
        name: parts.name,
        uid: parts.uid,
        jobs: receiver,
        tail: tail_sender,
        stopped: stopped_sender,
        waiting: VecDeque::new(),
        handed_over: tail.next,
        landed_to: tail.next,
        ends,
        output: Some(Box::new(output)),
        writing: None,
        upkeep: None,
        upkeep_not_before: Instant::now(),
        write_time: WriteTime::default(),
        snapshot: None,
        snapshot_at: tail.next,
        snapshot_bytes: 0,
        frozen: None,
    };
    let task = tokio::spawn(drive.run());
    Ok((Writer::new(jobs, tail_receiver, stopped_receiver), task))
}

struct Drive {
    sequencer: Sequencer,
    log: Arc<dyn LogStore>,
    prepare: Arc<dyn Fn() + Send + Sync>,
    ids: IdIndex,
    learn_ids: LearnIds,
    disk: Arc<dyn Disk>,
    snapshots: PathBuf,
    clock: Arc<dyn Clock>,
    metrics: LedgerMetrics,
    name: LedgerName,
    uid: LedgerUid,
    jobs: mpsc::Receiver<Job>,
    tail: Arc<watch::Sender<Tail>>,
    stopped: watch::Sender<Option<String>>,
    /// Answers that wait until everything below their position is durable; positions never fall.
    waiting: VecDeque<(Position, Release)>,
    /// Everything below was handed over to be written, and of everything below the other there was word.
    handed_over: Position,
    landed_to: Position,
    ends: Ends,
    /// Here, or with the thread that writes.
    output: Option<Box<Output>>,
    writing: Option<JoinHandle<Box<Output>>>,
    upkeep: Option<JoinHandle<Result<Done, IdsError>>>,
    upkeep_not_before: Instant,
    write_time: WriteTime,
    snapshot: Option<JoinHandle<u64>>,
    /// Where the last one was begun, and what the one before it took.
    snapshot_at: Position,
    snapshot_bytes: u64,
    /// What the next one will hold: it is written once that is durable.
    frozen: Option<(Frozen, Tail)>,
}

/// How long a write with its sync takes about; nothing before the first.
#[derive(Debug, Default)]
struct WriteTime(Option<Duration>);

impl WriteTime {
    fn is_quick(&self) -> bool {
        self.0.is_some_and(|time| time < QUICK_WRITE)
    }

    /// A write on a slow disk is noticed at once, one that was held up now and then is not.
    fn learn(&mut self, took: Duration) {
        let before = self.0.unwrap_or(took);
        self.0 = Some((before * 7 + took) / 8);
    }
}

enum Next {
    Job(Option<Job>),
    Written(Written),
    WroteAll(Box<Output>),
    Upkept(Result<Done, IdsError>),
    Snapshot(u64),
}

impl Drive {
    async fn run(mut self) {
        let mut open = true;
        while open || self.writing.is_some() || self.is_writing() {
            match self.next(open).await {
                Next::Job(Some(job)) => self.take_all(job),
                Next::Job(None) => open = false,
                Next::Written(written) => {
                    self.landed(written).await;
                    self.upkeep();
                }
                Next::WroteAll(output) => {
                    self.writing = None;
                    self.output = Some(output);
                }
                Next::Upkept(done) => {
                    self.install(done);
                    self.upkeep();
                }
                Next::Snapshot(bytes) => self.snapshot_bytes = bytes,
            }
            if let Some(written) = self.hand_over() {
                self.landed(written).await;
                self.upkeep();
            }
        }
        self.last_snapshot().await;
    }

    /// A writer that has stopped writes nothing more, but still tells everybody so.
    fn has_room(&self) -> bool {
        let ahead = self.sequencer.tail().next.0.saturating_sub(self.landed_to.0);
        ahead < PENDING_ENTRIES_MAX || self.stopped.borrow().is_some()
    }

    /// Whether word of something that was handed over is still to come.
    fn is_writing(&self) -> bool {
        self.landed_to < self.handed_over
    }

    /// Takes what waits as well, up to what is handed over together.
    fn take_all(&mut self, job: Job) {
        self.take(job);
        for _ in 1..JOBS_AT_ONCE_MAX {
            if !self.has_room() || self.sequencer.pending() >= HANDED_OVER_AT_ONCE {
                return;
            }
            let Ok(job) = self.jobs.try_recv() else { return };
            self.take(job);
        }
    }

    async fn next(&mut self, open: bool) -> Next {
        let room = self.has_room();
        tokio::select! {
            biased;
            Some(written) = self.ends.written.recv() => Next::Written(written),
            output = joined(&mut self.writing) => Next::WroteAll(output),
            done = joined(&mut self.upkeep) => {
                self.upkeep = None;
                Next::Upkept(done)
            }
            bytes = joined(&mut self.snapshot) => Next::Snapshot(bytes),
            job = self.jobs.recv(), if open && room => Next::Job(job),
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            // Its events wait no more.
            Job::Append(request, reply, _place) => self.propose(*request, reply),
            Job::Find(emitter, event_id, reply) => {
                let _ = reply.send(self.find(&emitter, &event_id));
            }
            Job::Inspect(look) => {
                let answer = look(self.sequencer.state());
                // What was seen is told only if it became durable; otherwise the caller hears that nothing came.
                let release = move |outcome: Result<(), WriteError>| outcome.map_or((), |()| answer());
                self.wait(self.sequencer.tail().next, Box::new(release));
            }
            Job::Stop(reason) if self.stopped.borrow().is_none() => self.stop(&reason),
            Job::Stop(_) => {}
        }
    }

    fn propose(&mut self, request: Request, reply: oneshot::Sender<Result<Answers, WriteError>>) {
        if let Some(reason) = self.stopped.borrow().clone() {
            let _ = reply.send(Err(WriteError::Stopped(reason)));
            return;
        }
        let doubtful = Cell::new(false);
        let lookup = |key: IdKey| {
            find(&self.ids, self.log.as_ref(), key).map_err(|error| {
                doubtful.set(matches!(error, NotFound::Index(_)));
                error.to_string()
            })
        };
        let validate_only = request.validate_only;
        let proposed = self.sequencer.propose(request, &lookup, self.clock.now());
        if doubtful.get() {
            self.renew_ids();
        }
        if !validate_only {
            self.metrics.answered(&proposed.results);
        }
        let results = proposed.results;
        let release = move |outcome: Result<(), WriteError>| {
            let _ = reply.send(outcome.map(|()| results));
        };
        self.wait(proposed.not_before, Box::new(release));
    }

    fn find(&mut self, emitter: &Emitter, event_id: &Uuid) -> Result<Option<Position>, WriteError> {
        let key = IdKey::of(emitter, event_id);
        let records = match find(&self.ids, self.log.as_ref(), key) {
            Err(NotFound::Index(_)) => {
                self.renew_ids();
                find(&self.ids, self.log.as_ref(), key)
            }
            found => found,
        };
        let records = records.map_err(|error| WriteError::Stopped(error.to_string()))?;
        // A caller may ask about an event that is durable before the index has heard of it.
        let records = records.iter().chain(self.sequencer.staged(key));
        let durable = self.tail.borrow().next;
        let mut headers = records.filter_map(|r| entry::decode(&r.entry).ok()).map(|(header, _)| header);
        let asked = |h: &Header| h.event_id == *event_id && h.emitter == *emitter && h.position < durable;
        Ok(headers.find(asked).map(|h| h.position))
    }

    /// The index of ids is disposable: what was refused because of it will be answered when it is asked again.
    fn renew_ids(&mut self) {
        tracing::warn!(ledger = %self.name, "the index of event ids is damaged; it is made anew from the log");
        let renewed =
            self.ids.reset().map_err(|e| e.to_string()).and_then(|()| (self.learn_ids)(&mut self.ids));
        if let Err(reason) = renewed {
            self.stop(&format!("the index of event ids can't be made anew: {reason}"));
        }
    }

    fn wait(&mut self, not_before: Position, release: Release) {
        if self.waiting.is_empty() && not_before <= self.log.tail().next {
            release(Ok(()));
        } else if let Some(reason) = self.stopped.borrow().clone() {
            release(Err(WriteError::Stopped(reason)));
        } else {
            self.waiting.push_back((not_before, release));
        }
    }

    /// Has what was decided written, on another thread, so that what comes meanwhile is decided. Where a single caller
    /// waits and syncs are quick, the two wake-ups that this takes would cost the caller as much as the sync; then it is
    /// done here and now, and returned.
    fn hand_over(&mut self) -> Option<Written> {
        let alone = self.waiting.len() == 1 && self.jobs.is_empty() && !self.is_writing();
        while self.sequencer.pending() > 0 && self.stopped.borrow().is_none() {
            let records = self.sequencer.take_group();
            self.handed_over = Position(self.handed_over.0 + records.len() as u64);
            let piece = Piece { records, untold: self.resting_on(self.handed_over) };
            let here = alone && self.sequencer.pending() == 0 && self.write_time.is_quick();
            match &self.output {
                Some(output) if here => return Some(output.write(piece)),
                // Its other end is never dropped before this one.
                _ => drop(self.ends.pieces.send(piece)),
            }
        }
        if self.is_writing()
            && let Some(output) = self.output.take()
        {
            self.writing = Some(tokio::task::spawn_blocking(|| output.write_all()));
        }
        None
    }

    /// The answers that wait for nothing beyond a position.
    fn resting_on(&mut self, end: Position) -> Vec<Release> {
        let count = self.waiting.iter().take_while(|(position, _)| *position <= end).count();
        self.waiting.drain(..count).map(|(_, release)| release).collect()
    }

    async fn landed(&mut self, written: Written) {
        self.write_time.learn(written.took);
        match written.result {
            Ok(tail) => self.durable(&written.group, tail),
            Err(error) => self.failed(error, written.untold).await,
        }
    }

    /// Nothing that was handed over since is written: the thread that wrote has ended.
    async fn failed(&mut self, error: AppendError, untold: Vec<Release>) {
        if self.writing.is_some() {
            self.output = Some(joined(&mut self.writing).await);
        }
        let behind = self.output.as_mut().map(|output| output.give_up()).unwrap_or_default();
        self.handed_over = self.landed_to;
        for release in untold.into_iter().chain(behind).rev() {
            self.waiting.push_front((self.landed_to, release));
        }
        if let AppendError::Full(e) = error {
            tracing::warn!(ledger = %self.name, error = %e, "no room for new entries");
            self.fail_waiting(&WriteError::Full(e.to_string()));
        } else {
            self.stop(&error.to_string());
        }
        self.forget().await;
    }

    fn durable(&mut self, group: &[Record], tail: Tail) {
        self.landed_to = tail.next;
        let first = Position(tail.next.0 - group.len() as u64);
        for (record, position) in group.iter().zip(first.0..) {
            // An index that was made anew meanwhile may have learned the group from the log.
            if let Some(key) = record.id_key()
                && self.ids.covered() == Position(position)
            {
                self.ids.insert(key, Position(position));
            }
        }
        self.sequencer.durable(group);
        // Whoever came while the group was written, and rests on nothing beyond it.
        self.resting_on(tail.next).into_iter().for_each(|release| release(Ok(())));
    }

    /// What was decided ahead of the disk is forgotten: the state is folded anew from what is durable.
    async fn forget(&mut self) {
        let (disk, dir, log) = (Arc::clone(&self.disk), self.snapshots.clone(), Arc::clone(&self.log));
        let recovered =
            tokio::task::spawn_blocking(move || snapshot::recover(disk.as_ref(), &dir, log.as_ref())).await;
        let Ok(recovered) = recovered else { return self.stop("the state could not be recovered") };
        if let Some(error) = &recovered.unreadable {
            self.stop(&error.to_string());
        }
        match Sequencer::new(recovered.state, recovered.tail, self.name.clone(), self.uid) {
            Ok(sequencer) => {
                self.sequencer = sequencer;
                self.handed_over = recovered.tail.next;
                self.landed_to = recovered.tail.next;
                self.frozen = None;
            }
            Err(_) => self.stop("the state does not fit the log"),
        }
    }

    fn stop(&mut self, reason: &str) {
        tracing::error!(ledger = %self.name, reason, "the ledger takes no more appends until a restart");
        self.metrics.stopped();
        self.stopped.send_replace(Some(reason.to_owned()));
        self.fail_waiting(&WriteError::Unknown(reason.to_owned()));
    }

    fn fail_waiting(&mut self, error: &WriteError) {
        for (_, release) in self.waiting.drain(..) {
            release(Err(error.clone()));
        }
    }
}

/// Why the entries under an id key could not be found.
#[derive(Debug, thiserror::Error)]
enum NotFound {
    /// The index is doubtful.
    #[error("{0}")]
    Index(IdsError),
    /// The log can't be read there.
    #[error("{0}")]
    Log(ReadError),
}

/// The durable entries under an id key.
fn find(ids: &IdIndex, log: &dyn LogStore, key: IdKey) -> Result<Vec<Record>, NotFound> {
    let positions = ids.candidates(key).map_err(NotFound::Index)?;
    let mut records = Vec::with_capacity(positions.len());
    for position in positions {
        records.extend(log.read(position, 1).map_err(NotFound::Log)?.into_iter().take(1));
    }
    Ok(records)
}

/// The end of a task, if there is one; otherwise never.
fn joined<T>(task: &mut Option<JoinHandle<T>>) -> Pin<Box<dyn Future<Output = T> + Send + '_>>
where
    T: Send + 'static,
{
    Box::pin(async move {
        let Some(handle) = task else { return std::future::pending().await };
        match handle.await {
            Ok(value) => {
                *task = None;
                value
            }
            // A task of ours is never cancelled; if it panicked, so do we: the ledger stops, and a restart repairs.
            Err(e) => match e.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    })
}

#[cfg(test)]
mod tests;
