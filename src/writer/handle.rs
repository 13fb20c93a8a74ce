//! The way to a writer: what it can be asked, what it answers, and how many may wait for it.

use std::sync::Arc;

use ledger::log::Tail;
use ledger::sequencer::{Accepted, Refused, Request};
use ledger::state::State;
use ledger::types::{Emitter, Position};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use uuid::Uuid;

/// How many requests may wait for the writer; one more is told to come back.
pub(super) const JOBS_MAX: usize = 4_096;
/// How many events they may have together: requests of a thousand events each would take gigabytes otherwise.
pub(super) const EVENTS_MAX: u32 = 65_536;

/// The places that a request takes while it waits. One that is larger than all of them waits until it is alone.
fn places(request: &Request) -> u32 {
    u32::try_from(request.proposals.len()).unwrap_or(EVENTS_MAX).min(EVENTS_MAX)
}

/// Why a request was not carried out, whatever it asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Too many requests wait. Nothing was recorded.
    #[error("the ledger is busy; nothing was recorded, try again a little later")]
    Busy,
    /// No room could be prepared. Nothing was recorded.
    #[error(
        "the disk has no room for new entries ({0}); nothing was recorded: free some space and try again"
    )]
    Full(String),
    /// A write failed; it may or may not have happened.
    #[error(
        "the outcome is unknown, since a write to the log failed ({0}); restart the server, then send the same event again: it is recorded once"
    )]
    Unknown(String),
    /// The log takes no appends.
    #[error("this ledger takes no appends: {0}; reads go on, a restart may repair it")]
    Stopped(String),
    /// The server is going down. Nothing was recorded.
    #[error("the server is shutting down; nothing was recorded, try again")]
    Closing,
}

/// What becomes of each event of a request.
pub type Answers = Vec<Result<Accepted, Refused>>;
pub(super) type Look = Box<dyn FnOnce(&State) -> Box<dyn FnOnce() + Send> + Send>;

/// What the owner task is asked to do.
pub(super) enum Job {
    Append(Box<Request>, oneshot::Sender<Result<Answers, WriteError>>, OwnedSemaphorePermit),
    Find(Emitter, Uuid, oneshot::Sender<Result<Option<Position>, WriteError>>),
    Inspect(Look),
    Stop(String),
}

/// A request that the writer has.
pub struct Begun(oneshot::Receiver<Result<Answers, WriteError>>);

impl Begun {
    /// The answers, once they are durable.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub async fn finish(self) -> Result<Answers, WriteError> {
        self.0.await.unwrap_or(Err(WriteError::Closing))
    }
}

/// The way to a ledger's writer. Cheap to clone; the writer drains and ends when the last one is dropped.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    /// One place for each event that waits.
    places: Arc<Semaphore>,
    tail: watch::Receiver<Tail>,
    stopped: watch::Receiver<Option<String>>,
}

impl Writer {
    pub(super) fn new(
        jobs: mpsc::Sender<Job>,
        tail: watch::Receiver<Tail>,
        stopped: watch::Receiver<Option<String>>,
    ) -> Self {
        Self { jobs, places: Arc::new(Semaphore::new(EVENTS_MAX as usize)), tail, stopped }
    }

    /// Has events recorded, and returns once they are durable.
    ///
    /// # Errors
    /// [`WriteError`] where nothing can be said of the events one by one.
    pub async fn append(&self, request: Request) -> Result<Answers, WriteError> {
        let (reply, answer) = oneshot::channel();
        let place = Arc::clone(&self.places).try_acquire_many_owned(places(&request));
        let place = place.map_err(|_| WriteError::Busy)?;
        self.jobs.try_send(Job::Append(Box::new(request), reply, place)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => WriteError::Busy,
            mpsc::error::TrySendError::Closed(_) => WriteError::Closing,
        })?;
        Begun(answer).finish().await
    }

    /// Hands a request to the writer, waiting for a place where others wait; what comes back tells its answers. Requests
    /// are taken in the order in which this returns.
    pub async fn begin(&self, request: Request) -> Begun {
        let (reply, answer) = oneshot::channel();
        // Where the writer is gone the reply is dropped, and `finish` says so.
        if let Ok(place) = Arc::clone(&self.places).acquire_many_owned(places(&request)).await {
            let _ = self.jobs.send(Job::Append(Box::new(request), reply, place)).await;
        }
        Begun(answer)
    }

    /// Where an event stands, if it is durable.
    ///
    /// # Errors
    /// [`WriteError::Stopped`] where the index of ids can't be read, [`WriteError::Closing`].
    pub async fn find(&self, emitter: Emitter, event_id: Uuid) -> Result<Option<Position>, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Find(emitter, event_id, reply)).await.map_err(|_| WriteError::Closing)?;
        answer.await.unwrap_or(Err(WriteError::Closing))
    }

    /// Looks at the state that the writer decides on; what is seen is durable when this returns.
    ///
    /// # Errors
    /// [`WriteError::Closing`].
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        let look: Look = Box::new(move |state| {
            let seen = look(state);
            Box::new(move || {
                let _ = reply.send(seen);
            })
        });
        self.jobs.send(Job::Inspect(look)).await.map_err(|_| WriteError::Closing)?;
        answer.await.map_err(|_| WriteError::Closing)
    }

    /// Takes no more appends, for a reason that lies outside of what the writer itself sees: the log is damaged. Not for
    /// asynchronous code, since it waits for a place where many requests wait.
    pub fn stop(&self, reason: String) {
        // Where the writer is gone, nothing is appended any more.
        let _ = self.jobs.blocking_send(Job::Stop(reason));
    }

    /// The durable end of the log, and word of every change.
    #[must_use]
    pub fn tail(&self) -> watch::Receiver<Tail> {
        self.tail.clone()
    }

    /// Why the ledger takes no appends, if it does not.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        let gone = || self.jobs.is_closed().then(|| "its writer has ended; restart the server".to_owned());
        self.stopped.borrow().clone().or_else(gone)
    }
}
