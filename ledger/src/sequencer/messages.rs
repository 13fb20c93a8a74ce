//! What the sequencer is asked, and what it answers.

use uuid::Uuid;

use crate::entry::{Header, IdKey};
use crate::event::{Annotations, Event, encode_sent};
use crate::guard::Findings;
use crate::log::GROUP_ENTRIES_MAX;
use crate::types::{Emitter, Link, Position, Time};

/// What a caller asks to be recorded.
#[derive(Clone, Debug)]
pub struct Request {
    /// The events, in order.
    pub proposals: Vec<Proposal>,
    /// All or nothing.
    pub atomic: bool,
    /// Only say what would happen.
    pub validate_only: bool,
    /// Refuse whatever breaks a rule, whatever the policy, and do not record the refusal.
    pub strict: bool,
}

/// One event of a request, with what can be made of it before the sequencer has its turn: all callers wait for that.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub(super) event: Event,
    pub(super) expected_version: Option<u64>,
    /// As [`encode_sent`] has it.
    pub(super) sent: Vec<u8>,
    pub(super) key: IdKey,
}

impl Proposal {
    /// Proposes an event; `expected_version` is how many events its account must have, if that matters.
    #[must_use]
    pub fn new(event: Event, expected_version: Option<u64>) -> Self {
        let (sent, key) = (encode_sent(&event), IdKey::of(&event.emitter, &event.event_id));
        Self { event, expected_version, sent, key }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }
}

/// Proof that an event was recorded. The same event always has the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id.
    pub event_id: Uuid,
    /// Who sent it.
    pub emitter: Emitter,
    /// Where it stands.
    pub position: Position,
    /// The link of its entry.
    pub link: Link,
    /// When it was recorded.
    pub recorded_at: Time,
}

impl Receipt {
    /// The receipt of a recorded entry.
    #[must_use]
    pub fn of(header: &Header, link: Link) -> Self {
        Self {
            event_id: header.event_id,
            emitter: header.emitter.clone(),
            position: header.position,
            link,
            recorded_at: header.recorded_at,
        }
    }
}

/// An event is in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Proof of it.
    pub receipt: Receipt,
    /// It was there before this request.
    pub already_present: bool,
    /// What the ledger remarked.
    pub annotations: Annotations,
}

/// An event is not recorded, and the caller knows why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its id stands for other content.
    #[error(
        "event id {event_id} was recorded at position {position} with other content; use a new id for a new event"
    )]
    IdTaken {
        /// The id.
        event_id: Uuid,
        /// Where.
        position: Position,
    },
    /// The account changed.
    #[error("the account has version {actual}, not {expected}; read it again and decide anew")]
    VersionMoved {
        /// What the caller expected.
        expected: u64,
        /// How many events the account has.
        actual: u64,
    },
    /// It breaks rules that are enforced.
    #[error("refused by {}: {}{}", rules(.0), messages(.0), evidence(.0))]
    Rules(Findings),
    /// It claims to come from the future.
    #[error(
        "field `occurred_at` is more than 24 hours in the future of the ledger's clock ({now}); check the clocks"
    )]
    FarFuture {
        /// The ledger's time.
        now: Time,
    },
    /// It does not fit in an entry.
    #[error("the event is too large: an entry holds at most 65,535 bytes; send less")]
    Large,
    /// All events of an atomic batch must fit in one write.
    #[error(
        "the atomic batch is too large: at most {GROUP_ENTRIES_MAX} events and 8 MiB are recorded at once; split it (nothing was recorded)"
    )]
    BatchTooLarge,
    /// Another event of the same atomic batch was refused.
    #[error("nothing of this atomic batch was recorded, because of its event number {index}")]
    WithBatch {
        /// Index of the event that was refused, from 0.
        index: usize,
    },
    /// The ids recorded earlier could not be read.
    #[error("it can't be told whether the event was recorded before: {0}")]
    Unreadable(String),
}

impl Refused {
    /// The stable name of the reason: for a broken rule, that of the first.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::IdTaken { .. } => "event_id_taken",
            Self::VersionMoved { .. } => "version_moved",
            Self::Rules(findings) => findings.violations.first().map_or("rule", |v| v.rule.as_str()),
            Self::FarFuture { .. } => "far_future",
            Self::Large => "event_too_large",
            Self::BatchTooLarge => "batch_too_large",
            Self::WithBatch { .. } => "batch_refused",
            Self::Unreadable(_) => "ids_unreadable",
        }
    }
}

fn rules(findings: &Findings) -> String {
    let rules: Vec<&str> = findings.violations.iter().map(|v| v.rule.as_str()).collect();
    rules.join(", ")
}

fn messages(findings: &Findings) -> String {
    let messages: Vec<&str> = findings.violations.iter().map(|v| v.message.as_str()).collect();
    messages.join("; ")
}

fn evidence(findings: &Findings) -> String {
    if findings.evidence.is_empty() { String::new() } else { format!(" ({})", findings.evidence.join(", ")) }
}

/// The answers to a request, in order of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// What became of each event.
    pub results: Vec<Result<Accepted, Refused>>,
    /// The answers rest on every entry below this position: tell them once it is durable.
    pub not_before: Position,
}
