//! Answers questions from the index and the log, each at one position. A doubtful answer is never given: the index is
//! thrown away, and the question asked again once it is built anew.

mod emitted;
mod events;
mod filter;
mod moment;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use ledger::entry::Record;
use ledger::event::{Recorded, TokenId};
use ledger::log::{LogStore, ReadError, Tail};
use ledger::state::{Slot, TokenStatus};
use ledger::types::{Position, Time};
use tokio::sync::watch;

pub use filter::Filter;
pub use moment::Moment;
pub use stored::Stored;

use crate::follower::Projection;
use crate::store::StoreError;

/// How long a question waits for the index to reach what was recorded before it was asked.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How often a question is asked again after the index was thrown away.
const ATTEMPTS_MAX: usize = 5;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The index is doubtful.
    #[error("{0}")]
    Doubtful(#[from] StoreError),
    /// The log cannot be read there.
    #[error("{0}")]
    Log(#[from] ReadError),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// A handle that several accounts have.
    #[error("{count} accounts have the handle {handle}: ask by id ({})", .accounts.join(", "))]
    Ambiguous {
        /// The handle.
        handle: String,
        /// How many accounts.
        count: usize,
        /// Some of them.
        accounts: Vec<String>,
    },
    /// The question itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The index has not got there yet.
    #[error(
        "answers reflect {reflects} of {wanted} entries so far, since the projection is being built; try again shortly"
    )]
    Behind {
        /// How many entries are reflected.
        reflects: u64,
        /// How many were asked for.
        wanted: u64,
    },
    /// Too many events of an emitter have the same numbers.
    #[error(
        "too many events of this emitter repeat the numbers around {0} to say whether one of them has it: prove the event \
         that is meant by its id"
    )]
    Crowded(u64),
    /// The server is going down.
    #[error("the server is shutting down; try again")]
    Closing,
}

/// A moment of the past.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsOf {
    /// After the event at this position.
    pub position: Option<Position>,
    /// What had occurred by then.
    pub occurred_at: Option<Time>,
    /// What was recorded by then.
    pub known_at: Option<Time>,
}

impl AsOf {
    fn holds(&self, recorded: &Recorded) -> bool {
        self.position.is_none_or(|p| recorded.position <= p)
            && self.occurred_at.is_none_or(|t| recorded.event.occurred_at <= t)
            && self.known_at.is_none_or(|t| recorded.recorded_at <= t)
    }
}

/// An account at a moment.
#[derive(Clone, Debug)]
pub struct AccountThen {
    /// The account id with its lives.
    pub slot: Slot,
    /// The moment for which it is told what has expired.
    pub at: Time,
    /// The last position that the answer reflects.
    pub reflects: Position,
}

/// A token that was found, with its account.
#[derive(Clone, Debug)]
pub struct Found {
    /// The account.
    pub account: AccountThen,
    /// The token.
    pub token: TokenId,
}

impl Found {
    /// Whether the token works.
    #[must_use]
    pub fn usable(&self) -> bool {
        let account = self.account.slot.current();
        let token = account.tokens.standing(&self.token);
        account.status == ledger::state::Status::Live
            && token.is_some_and(|t| t.status(self.account.at) == TokenStatus::Active)
    }
}

/// An event as it stands in the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The entry's bytes and link.
    pub record: Record,
    /// The event.
    pub recorded: Recorded,
}

/// A page of a list: what is on it, and where the next one begins.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one begins; `None`: there is none.
    pub next: Option<Position>,
}

/// A ledger's reader. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    log: Arc<dyn LogStore>,
    projection: Projection,
    tail: watch::Receiver<Tail>,
}

impl Reader {
    /// A reader of a log and its projection.
    #[must_use]
    pub fn new(log: Arc<dyn LogStore>, projection: Projection, tail: watch::Receiver<Tail>) -> Self {
        Self { log, projection, tail }
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn LogStore> {
        &self.log
    }

    /// The durable end of the log, and word of every change.
    #[must_use]
    pub fn tail(&self) -> watch::Receiver<Tail> {
        self.tail.clone()
    }

    /// Asks a question at one position: that of the durable end when it is asked, and at least `min_position`.
    ///
    /// # Errors
    /// [`AskError`], also that of the question itself.
    pub async fn ask<T: Send + 'static>(
        &self,
        min_position: Option<Position>,
        question: impl Fn(&Moment) -> Result<T, AskError> + Send + Sync + 'static,
    ) -> Result<T, AskError> {
        let question = Arc::new(question);
        let mut last = AskError::Closing;
        for _ in 0..ATTEMPTS_MAX {
            let (moment, generation) = self.moment(min_position).await?;
            let asked = Arc::clone(&question);
            let answer = tokio::task::spawn_blocking(move || asked(&moment)).await;
            match answer.map_err(|_| AskError::Closing)? {
                Err(AskError::Doubtful(error)) if error.is_doubtful() => {
                    self.projection.distrust(generation, error.clone()).await;
                    self.replaced(generation).await;
                    last = AskError::Doubtful(error);
                }
                answer => return answer,
            }
        }
        Err(last)
    }

    /// Waits until the index of a generation is not asked any more: all attempts would be over before the follower hears
    /// that it is to be thrown away.
    async fn replaced(&self, generation: u64) {
        let mut seen = self.projection.seen();
        let replaced = seen.wait_for(|seen| seen.generation != generation || seen.reader.is_none());
        let _ = tokio::time::timeout(WAIT_MAX, replaced).await;
    }

    async fn moment(&self, min_position: Option<Position>) -> Result<(Moment, u64), AskError> {
        let wanted = self.tail.borrow().next.max(min_position.map_or(Position(0), Position::next));
        let mut seen = self.projection.seen();
        let asked = min_position.map_or(Position(0), Position::next);
        let _asker = (seen.borrow().next < wanted).then(|| self.projection.hurry());
        let reached = seen.wait_for(|seen| {
            // Before a damaged entry stands all that can be answered from.
            let as_far_as_possible = seen.damaged && seen.next >= asked;
            seen.reader.is_some() && (seen.next >= wanted || as_far_as_possible)
        });
        let found = match tokio::time::timeout(WAIT_MAX, reached).await {
            Ok(Ok(found)) => found.reader.clone().map(|reader| (reader.view(), found.generation)),
            Ok(Err(_)) => return Err(AskError::Closing),
            Err(_) => None,
        };
        match found {
            Some((view, generation)) => Ok((Moment::new(Arc::clone(&self.log), view), generation)),
            None => {
                Err(AskError::Behind { reflects: self.projection.seen().borrow().next.0, wanted: wanted.0 })
            }
        }
    }
}
