//! Events on their way into a ledger: in batches, each outcome counted.

use std::future::Future;

use ledger::event::{AccountId, Event, Kind, encode_sent};

use super::{Problem, Progress, Show, Summary};

/// The most events of a batch.
pub const BATCH_EVENTS_MAX: usize = 500;
/// The most bytes of a batch, so that it fits into one message of gRPC (4 MiB) whatever its events hold. One event
/// that is larger goes alone.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was recorded.
    Appended,
    /// The ledger already held it, from the same emitter with the same content.
    AlreadyPresent,
    /// The ledger did not take it.
    Refused {
        /// Why, in a sentence that holds no value of the event.
        reason: String,
    },
}

/// Where an import goes to: a ledger, behind whatever stands in between.
pub trait Target: Send {
    /// What stops an import: the ledger cannot be reached, or its outcome is not known. Everything that was appended
    /// stays; the same import again goes on where it stopped.
    type Error: Send;

    /// Which of these accounts the ledger has ever seen, in the order asked. At most [`BATCH_EVENTS_MAX`] at once.
    fn known(
        &mut self,
        accounts: &[AccountId],
    ) -> impl Future<Output = Result<Vec<bool>, Self::Error>> + Send;

    /// Appends events in this order, each for itself: one that is refused does not hold up the others. Answers with one
    /// outcome an event, in the same order. At most [`BATCH_EVENTS_MAX`] at once.
    fn append(
        &mut self,
        events: Vec<Event>,
    ) -> impl Future<Output = Result<Vec<Outcome>, Self::Error>> + Send;
}

/// Where an event of the input stands, for the case that it is refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) file: Option<String>,
    pub(crate) record: Option<u64>,
    pub(crate) line: Option<u64>,
}

/// What is counted of an event when it is delivered.
struct Sent {
    kind: Kind,
    id: uuid::Uuid,
    origin: Origin,
    /// An event that the import made itself: it does not stand for a record of the input.
    own: bool,
}

/// The batch that fills up, and what became of those before.
pub(crate) struct Delivery<'a, T: Target> {
    target: &'a mut T,
    show: Show<'a>,
    of: Option<u64>,
    events: Vec<Event>,
    sent: Vec<Sent>,
    bytes: usize,
    delivered: u64,
    pub(crate) summary: Summary,
}

impl<'a, T: Target> Delivery<'a, T> {
    /// Nothing delivered yet, of `of` events if that is known.
    pub(crate) fn new(target: &'a mut T, summary: Summary, of: Option<u64>, show: Show<'a>) -> Self {
        let (events, sent) = (Vec::new(), Vec::new());
        Self { target, show, of, events, sent, bytes: 0, delivered: 0, summary }
    }

    /// An event of the input.
    pub(crate) async fn push(&mut self, event: Event, origin: Origin) -> Result<(), T::Error> {
        self.add(event, origin, false).await
    }

    /// An event that the import adds by itself.
    pub(crate) async fn push_own(&mut self, event: Event, origin: Origin) -> Result<(), T::Error> {
        self.add(event, origin, true).await
    }

    async fn add(&mut self, event: Event, origin: Origin, own: bool) -> Result<(), T::Error> {
        let bytes = encode_sent(&event).len();
        if self.events.len() >= BATCH_EVENTS_MAX || self.bytes + bytes > BATCH_BYTES_MAX {
            self.flush().await?;
        }
        self.bytes += bytes;
        self.sent.push(Sent { kind: event.fact.kind(), id: event.event_id, origin, own });
        self.events.push(event);
        Ok(())
    }

    /// Delivers what is left.
    pub(crate) async fn finish(mut self) -> Result<Summary, T::Error> {
        self.flush().await?;
        Ok(self.summary)
    }

    async fn flush(&mut self) -> Result<(), T::Error> {
        if self.events.is_empty() {
            return Ok(());
        }
        let outcomes = self.target.append(std::mem::take(&mut self.events)).await?;
        let sent = std::mem::take(&mut self.sent);
        self.bytes = 0;
        self.delivered += sent.len() as u64;
        // A target that answers too little has not said that the rest is safe.
        let unanswered =
            std::iter::repeat_with(|| Outcome::Refused { reason: "was not answered".to_owned() });
        for (sent, outcome) in sent.into_iter().zip(outcomes.into_iter().chain(unanswered)) {
            self.count(sent, outcome);
        }
        (self.show)(Progress::Delivering { events: self.delivered, of: self.of });
        Ok(())
    }

    fn count(&mut self, sent: Sent, outcome: Outcome) {
        match outcome {
            Outcome::Appended if sent.kind == Kind::LegacyImported => self.summary.introduced += 1,
            Outcome::Appended => *self.summary.appended.entry(sent.kind).or_default() += 1,
            Outcome::AlreadyPresent if sent.own => {}
            Outcome::AlreadyPresent => self.summary.already_present += 1,
            Outcome::Refused { reason } => self.summary.problems.add(Problem {
                file: sent.origin.file,
                record: sent.origin.record,
                line: sent.origin.line,
                event_id: Some(sent.id.to_string()),
                problem: format!("the ledger refused this {}: {reason}", sent.kind.name()),
            }),
        }
    }
}
