//! Follows a ledger's log and keeps the index that queries use. Whatever is doubtful about the index, it is thrown away
//! and built anew; a follower never slows the writer.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ledger::log::{LogStore, ReadError, Tail};
use ledger::replay;
use ledger::types::{LedgerName, Link, Position};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use crate::metrics::LedgerMetrics;
use crate::projection;
use crate::store::{Index, Mark, ProjectionStore, Reader, Scope, SledOptions, SledStore, StoreError};

/// How many entries are indexed between two writes to the store, which is all that a follower holds in memory: what it
/// lags behind stays in the log. Some 5 MB where every event has tokens of its own.
const FLUSH_ENTRIES: u64 = 16_384;
/// How many entries are indexed between two looks at what else there is to do.
const READ_ENTRIES: u64 = 4_096;
/// How long entries wait in memory to be written to the store when nothing more comes.
const FLUSH_IDLE: Duration = Duration::from_millis(500);
/// How long to wait before a store that refuses is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// How long entries gather before they are indexed, where nobody waits for them: at each sync of a few entries the
/// follower would wake and read for itself what it reads at once a little later.
const LINGER: Duration = Duration::from_millis(20);
/// Where the log grows by so many entries while a piece is indexed, appends are at full speed, and the follower leaves
/// them the processor for [`YIELD`] times as long as it had it; unless somebody waits.
const BUSY_ENTRIES: u64 = 1_024;
const YIELD: u32 = 8;

/// The store of all projections, replaced as a whole where it is in doubt as a whole.
pub struct Shelf {
    dir: PathBuf,
    current: Mutex<(u64, Arc<SledStore>)>,
}

impl Shelf {
    /// Opens the store, or begins a new one where the old one makes no sense.
    ///
    /// # Errors
    /// Where the directory cannot be used.
    pub fn open(dir: PathBuf) -> Result<Self, StoreError> {
        let store = SledStore::open(&dir, SledOptions::default()).or_else(|error| {
            tracing::warn!(%error, "the projections can't be read; they are built anew from the log");
            SledStore::fresh(&dir, SledOptions::default())
        })?;
        Ok(Self { dir, current: Mutex::new((0, Arc::new(store))) })
    }

    fn current(&self) -> (u64, Arc<dyn ProjectionStore>) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        (current.0, Arc::clone(&current.1) as Arc<dyn ProjectionStore>)
    }

    /// Replaces the store, unless somebody did so since `seen`.
    fn renew(&self, seen: u64) -> Result<(), StoreError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 == seen {
            let fresh = SledStore::fresh(&self.dir, SledOptions::default())?;
            *current = (seen + 1, Arc::new(fresh));
        }
        Ok(())
    }
}

/// What queries see of a projection.
#[derive(Clone, Debug)]
pub struct Projected {
    /// The index; `None` while there is none that can be trusted.
    pub reader: Option<Reader>,
    /// Every entry below this position is indexed.
    pub next: Position,
    /// Counts the indexes that there were.
    pub generation: u64,
    /// The entry at `next` can't be read: answers reflect what comes before it, and nothing more will come.
    pub damaged: bool,
}

/// How far a rebuild is: entries done, entries in all, and whether it has taken over.
pub type Progress = (u64, u64, bool);

enum Order {
    /// The index of this generation gave a doubtful answer.
    Distrust(u64, StoreError),
    /// Build anew beside the live index.
    Rebuild(mpsc::Sender<Progress>),
}

/// Those who wait for the index to catch up: without them it may take its time.
#[derive(Debug, Default)]
struct Waiting {
    askers: AtomicUsize,
    came: Notify,
}

impl Waiting {
    fn anybody(&self) -> bool {
        self.askers.load(Ordering::Acquire) > 0
    }

    /// Returns after a pause, or as soon as somebody waits.
    async fn pause(&self, pause: Duration) {
        if !self.anybody() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.came.notified() => {}
            }
        }
    }
}

/// Somebody waits for the index as long as this lives.
pub struct Asker(Arc<Waiting>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.askers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The way to a ledger's projection. Cheap to clone; the follower ends when the last one is dropped.
#[derive(Clone)]
pub struct Projection {
    seen: watch::Receiver<Projected>,
    orders: mpsc::Sender<Order>,
    waiting: Arc<Waiting>,
}

impl Projection {
    /// Makes the index catch up without a pause, as long as what is returned lives.
    #[must_use]
    pub fn hurry(&self) -> Asker {
        self.waiting.askers.fetch_add(1, Ordering::AcqRel);
        self.waiting.came.notify_one();
        Asker(Arc::clone(&self.waiting))
    }

    /// What queries see, and word of every change.
    #[must_use]
    pub fn seen(&self) -> watch::Receiver<Projected> {
        self.seen.clone()
    }

    /// An answer was doubtful: the index is thrown away.
    pub async fn distrust(&self, generation: u64, error: StoreError) {
        let _ = self.orders.send(Order::Distrust(generation, error)).await;
    }

    /// Builds the index anew beside the live one.
    pub async fn rebuild(&self, progress: mpsc::Sender<Progress>) {
        let _ = self.orders.send(Order::Rebuild(progress)).await;
    }
}

/// Starts to follow a log.
pub fn start(
    name: LedgerName,
    log: Arc<dyn LogStore>,
    tail: watch::Receiver<Tail>,
    shelf: Arc<Shelf>,
    metrics: LedgerMetrics,
) -> (Projection, JoinHandle<()>) {
    let nothing = Projected { reader: None, next: Position(0), generation: 0, damaged: false };
    let (sender, seen) = watch::channel(nothing);
    let (orders, receiver) = mpsc::channel(16);
    let waiting = Arc::<Waiting>::default();
    let follower = Follower {
        name,
        log,
        tail,
        shelf,
        metrics,
        seen: sender,
        orders: receiver,
        waiting: Arc::clone(&waiting),
        live: None,
    };
    (Projection { seen, orders, waiting }, tokio::spawn(follower.run()))
}

struct Follower {
    name: LedgerName,
    log: Arc<dyn LogStore>,
    tail: watch::Receiver<Tail>,
    shelf: Arc<Shelf>,
    metrics: LedgerMetrics,
    seen: watch::Sender<Projected>,
    orders: mpsc::Receiver<Order>,
    waiting: Arc<Waiting>,
    live: Option<Live>,
}

/// An index and the store it lies in.
struct Live {
    index: Index,
    namespace: String,
    store: Arc<dyn ProjectionStore>,
    /// Which store of the shelf it is.
    shelf: u64,
    /// The link of the entry before the cursor.
    link: Link,
}

/// Why an index did not get further.
enum Stuck {
    /// Throw it away.
    Doubtful(StoreError),
    /// Try again.
    Later(String),
    /// An entry of the log can't be read. Nothing helps.
    Damaged(String),
}

impl From<StoreError> for Stuck {
    fn from(error: StoreError) -> Self {
        if error.is_doubtful() { Self::Doubtful(error) } else { Self::Later(error.to_string()) }
    }
}

impl Follower {
    async fn run(mut self) {
        loop {
            if self.live.is_none() && !self.open().await {
                tokio::time::sleep(RETRY).await;
                if self.orders.is_closed() && self.orders.is_empty() {
                    return;
                }
                continue;
            }
            self.catch_up().await;
            tokio::select! {
                changed = self.tail.changed() => {
                    if changed.is_err() { break }
                    self.waiting.pause(LINGER).await;
                }
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => break,
                },
                () = tokio::time::sleep(FLUSH_IDLE), if self.unwritten() => self.flush().await,
            }
        }
        self.catch_up().await;
        self.flush().await;
    }

    fn unwritten(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.index.cursor() > live.index.mark().cursor)
    }

    /// Opens the stored index if it is of this log, or begins a new one.
    async fn open(&mut self) -> bool {
        let (shelf, log, name) = (Arc::clone(&self.shelf), Arc::clone(&self.log), self.name.clone());
        match blocking(move || open(&shelf, log.as_ref(), &name)).await {
            Ok(live) => {
                self.take_over(live);
                true
            }
            Err(Stuck::Later(reason) | Stuck::Damaged(reason)) => {
                tracing::warn!(ledger = %self.name, reason, "the projection is not available");
                false
            }
            Err(Stuck::Doubtful(error)) => {
                self.discard(error).await;
                false
            }
        }
    }

    fn take_over(&mut self, live: Live) {
        self.seen.send_modify(|seen| {
            seen.generation += 1;
            seen.reader = Some(live.index.reader());
            seen.next = Position(live.index.cursor());
        });
        self.live = Some(live);
    }

    /// Indexes everything that is durable.
    async fn catch_up(&mut self) {
        loop {
            let to = self.tail.borrow_and_update().next;
            let Some(mut live) = self.live.take() else { return };
            if live.index.cursor() >= to.0 || self.seen.borrow().damaged {
                self.live = Some(live);
                return;
            }
            let (log, began) = (Arc::clone(&self.log), Instant::now());
            let (live, result) = blocking(move || {
                let result = index_some(&mut live, log.as_ref(), to);
                (live, result)
            })
            .await;
            self.publish(&live);
            self.live = Some(live);
            if !self.survives(result).await {
                return;
            }
            if self.tail.borrow().next.0 >= to.0 + BUSY_ENTRIES {
                self.waiting.pause(began.elapsed() * YIELD).await;
            }
        }
    }

    fn publish(&self, live: &Live) {
        let next = live.index.cursor();
        self.metrics.projected(next);
        self.seen.send_modify(|seen| seen.next = Position(next));
    }

    async fn flush(&mut self) {
        let Some(mut live) = self.live.take() else { return };
        let (live, result) = blocking(move || {
            let result = live.index.flush(live.link.0).map_err(Stuck::from);
            (live, result)
        })
        .await;
        self.live = Some(live);
        self.survives(result).await;
    }

    /// Whether the index can be gone on with.
    async fn survives(&mut self, result: Result<(), Stuck>) -> bool {
        match result {
            Ok(()) => true,
            Err(Stuck::Damaged(reason)) => {
                tracing::error!(ledger = %self.name, reason, "queries answer from what stands before the damage");
                self.seen.send_modify(|seen| seen.damaged = true);
                false
            }
            Err(Stuck::Later(reason)) => {
                tracing::warn!(ledger = %self.name, reason, "the projection waits");
                tokio::time::sleep(RETRY).await;
                true
            }
            Err(Stuck::Doubtful(error)) => {
                self.discard(error).await;
                false
            }
        }
    }

    /// Throws the index away; the next turn of the loop builds it anew.
    async fn discard(&mut self, error: StoreError) {
        tracing::warn!(ledger = %self.name, %error, "the projection is thrown away and built anew from the log");
        self.metrics.rebuilt();
        self.seen.send_modify(|seen| {
            seen.reader = None;
            seen.next = Position(0);
            seen.damaged = false;
        });
        let (shelf, name, live) = (Arc::clone(&self.shelf), self.name.clone(), self.live.take());
        let renewed = blocking(move || {
            let seen = live.as_ref().map_or_else(|| shelf.current().0, |live| live.shelf);
            drop(live);
            let whole = matches!(error, StoreError::Doubtful { scope: Scope::Store, .. });
            if whole {
                shelf.renew(seen)
            } else {
                drop_all(shelf.current().1.as_ref(), &name).or_else(|_| shelf.renew(seen))
            }
        })
        .await;
        if let Err(error) = renewed {
            tracing::warn!(ledger = %self.name, %error, "the projection can't be begun anew; trying again");
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Distrust(generation, error) => {
                if generation == self.seen.borrow().generation && self.live.is_some() {
                    self.discard(error).await;
                }
            }
            Order::Rebuild(progress) => self.rebuild(progress).await,
        }
    }

    /// Builds a second index while queries use the first, which stands still meanwhile; appends go on.
    async fn rebuild(&mut self, progress: mpsc::Sender<Progress>) {
        let (shelf, log, name) = (Arc::clone(&self.shelf), Arc::clone(&self.log), self.name.clone());
        let mut tail = self.tail.clone();
        let reports = progress.clone();
        let mut building = tokio::task::spawn_blocking(move || {
            let mut live = begin(&shelf, &name)?;
            loop {
                let to = tail.borrow_and_update().next;
                let _ = reports.try_send((live.index.cursor(), to.0, false));
                if live.index.cursor() >= to.0 {
                    live.index.flush(live.link.0)?;
                    return Ok::<Live, Stuck>(live);
                }
                index_some(&mut live, log.as_ref(), to)?;
            }
        });
        // The live index goes on following while the other one is built.
        let built = loop {
            tokio::select! {
                built = &mut building => break built,
                changed = self.tail.changed() => {
                    if changed.is_err() { break building.await }
                    self.catch_up().await;
                }
            }
        };
        match built {
            Ok(Ok(live)) => {
                let entries = live.index.cursor();
                let old = self.live.take();
                self.take_over(live);
                if let Some(old) = old {
                    let _ = blocking(move || old.store.drop_namespace(&old.namespace)).await;
                }
                let _ = progress.send((entries, entries, true)).await;
            }
            Ok(Err(Stuck::Doubtful(error))) => self.discard(error).await,
            Ok(Err(Stuck::Later(reason) | Stuck::Damaged(reason))) => {
                tracing::warn!(ledger = %self.name, reason, "the projection was not rebuilt");
            }
            Err(error) => tracing::error!(ledger = %self.name, %error, "the rebuild failed"),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking work is cancelled only when the runtime ends, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

fn prefix(name: &LedgerName) -> String {
    format!("{name}.")
}

fn number(namespace: &str, name: &LedgerName) -> Option<u64> {
    namespace.strip_prefix(&prefix(name))?.parse().ok()
}

fn numbers(store: &dyn ProjectionStore, name: &LedgerName) -> Result<Vec<u64>, StoreError> {
    let mut numbers: Vec<u64> = store.namespaces()?.iter().filter_map(|n| number(n, name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn drop_all(store: &dyn ProjectionStore, name: &LedgerName) -> Result<(), StoreError> {
    let numbers = numbers(store, name)?;
    numbers.into_iter().try_for_each(|n| store.drop_namespace(&format!("{}{n}", prefix(name))))
}

/// The oldest stored index: a newer one was being built when the server stopped.
fn open(shelf: &Shelf, log: &dyn LogStore, name: &LedgerName) -> Result<Live, Stuck> {
    let (generation, store) = shelf.current();
    let numbers = numbers(store.as_ref(), name)?;
    for unfinished in numbers.iter().skip(1) {
        store.drop_namespace(&format!("{}{unfinished}", prefix(name)))?;
    }
    let namespace = format!("{}{}", prefix(name), numbers.first().copied().unwrap_or(1));
    let index = Index::open(Arc::clone(&store), &namespace)?;
    let mark = index.mark();
    if !belongs(&mark, log) {
        return Err(Stuck::Doubtful(StoreError::Doubtful {
            scope: Scope::Namespace,
            reason: "it is not of this log".to_owned(),
        }));
    }
    Ok(Live { index, namespace, store, shelf: generation, link: Link(mark.link) })
}

/// An index in a namespace of its own.
fn begin(shelf: &Shelf, name: &LedgerName) -> Result<Live, Stuck> {
    let (generation, store) = shelf.current();
    let next = numbers(store.as_ref(), name)?.last().map_or(1, |n| n + 1);
    let namespace = format!("{}{next}", prefix(name));
    let index = Index::open(Arc::clone(&store), &namespace)?;
    Ok(Live { index, namespace, store, shelf: generation, link: Link::default() })
}

/// Whether an index was made of this log: the entry before its cursor has the link that it remembers.
fn belongs(mark: &Mark, log: &dyn LogStore) -> bool {
    if mark.cursor == 0 {
        return true;
    }
    let last = Position(mark.cursor - 1);
    mark.cursor <= log.tail().next.0
        && log.read(last, 1).is_ok_and(|records| records.first().is_some_and(|r| r.link.0 == mark.link))
}

/// Indexes a few thousand entries at most.
fn index_some(live: &mut Live, log: &dyn LogStore, to: Position) -> Result<(), Stuck> {
    let from = Position(live.index.cursor());
    let end = Position(to.0.min(from.0 + READ_ENTRIES));
    let mut failed = None;
    let read = replay::replay(log, from, end, |record, recorded| {
        let added = live.index.add(recorded.position.0, &projection::keys(&recorded));
        live.link = record.link;
        added.map_err(|error| failed = Some(error)).is_ok()
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    read.map_err(|error| match error {
        ReadError::Damaged(damage) => Stuck::Damaged(damage.to_string()),
        ReadError::Io(error) => Stuck::Later(error.to_string()),
    })?;
    if live.index.cursor() - live.index.mark().cursor >= FLUSH_ENTRIES {
        live.index.flush(live.link.0)?;
    }
    Ok(())
}
