//! What happened: the events of a ledger as types that cannot be wrong.

mod decode;
mod encode;
mod kind;
mod names;
pub mod secrets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::types::{AccountDigest, Emitter, Position, Time};

pub use decode::{Invalid, parse, stored};
pub use encode::{
    account_kind_message, actor_message, annotations_message, delimited_bytes, difference_message,
    encode_annotations, encode_sent, expiry_message, outcome_message, put_delimited, put_head,
    revocation_message, timestamp, to_message, was_sent,
};
pub use kind::Kind;
pub use names::{
    AccountId, BadText, ConsumerId, FamilyId, GrantId, Handle, NOTE_BYTES_MAX, Namespace, RequestId, RunId,
    TEXT_BYTES_MAX, Text, TokenDigest, TokenId,
};

/// One fact in the life of machine credentials, as its emitter sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Chosen by the emitter.
    pub event_id: Uuid,
    /// Who sent it.
    pub emitter: Emitter,
    /// Counted by the emitter, so that gaps show.
    pub emitter_sequence: Option<u64>,
    /// When it happened, by the emitter's clock.
    pub occurred_at: Time,
    /// Who did it.
    pub actor: Actor,
    /// Why.
    pub cause: Cause,
    /// The account it is about; `None` for runs, policies, requests and plans.
    pub account: Option<AccountId>,
    /// What happened.
    pub fact: Fact,
}

/// An event with what the ledger found when it recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The event as sent.
    pub event: Event,
    /// What the ledger added.
    pub annotations: Annotations,
    /// Where.
    pub position: Position,
    /// When it was recorded.
    pub recorded_at: Time,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// A person, a program, or not known.
    pub kind: ActorKind,
    /// Its name.
    pub id: Text,
}

/// The kinds of actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ActorKind {
    /// Not known.
    Unknown,
    /// A person.
    Human,
    /// A program.
    Automation,
}

/// Why something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// The run that did it.
    pub run: Option<RunId>,
    /// The request that led to it.
    pub request: Option<RequestId>,
    /// A sentence for people.
    pub reason: Option<Text>,
    /// Shared by events that belong together.
    pub correlation_id: Option<Text>,
}

/// What the ledger adds to an event when it records it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// It occurred before the latest event of its account.
    pub late: bool,
    /// The rules it breaks.
    pub violations: Vec<Violation>,
    /// With a deletion: the account just before.
    pub digest_before: Option<AccountDigest>,
    /// With a deletion: how many tokens were active just before.
    pub active_tokens: Option<u32>,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The rule's stable name.
    pub rule: String,
    /// What breaks it.
    pub message: String,
}

/// When a token ends. Closed: a value that a source does not give is `Unknown`, which never counts as inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Expiry {
    /// Never by itself.
    Never,
    /// At this time.
    At(Time),
    /// The source did not say.
    Unknown,
}

/// What an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountKind {
    /// A bot user.
    Bot,
    /// A service account or role.
    Service,
    /// A person.
    Human,
}

/// A token as it is issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    /// Its id.
    pub token: TokenId,
    /// Digest of its secret, where the source gives one.
    pub digest: Option<TokenDigest>,
    /// `None`: a family of its own, or that of the token it replaces.
    pub family: Option<FamilyId>,
    /// What it may be used for.
    pub scopes: Vec<Text>,
    /// When it ends.
    pub expiry: Expiry,
}

/// Why a token was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevocationReason {
    /// Not said.
    Unspecified,
    /// Replaced by another.
    Superseded,
    /// No longer needed.
    Unused,
    /// Its secret is known to others: it never comes back.
    Leaked,
    /// Its account was deleted.
    AccountDeleted,
}

/// How a broken rule is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyMode {
    /// Recorded and flagged.
    #[default]
    Observe,
    /// Refused, and the refusal recorded.
    Enforce,
}

/// How far a destructive job may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RolloutStage {
    /// Nothing.
    Off,
    /// Only talk.
    DryRun,
    /// These namespaces.
    Namespaces(Vec<Namespace>),
    /// This part of the namespaces, in percent, 1 to 99.
    Percentage(u32),
    /// Everywhere.
    Everywhere,
}

/// Something that did not come back as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What: `token/ID`, `grant/ID`, `handle`, ...
    pub what: String,
    /// The stable name of the reason.
    pub reason: String,
    /// A sentence for people.
    pub detail: String,
}

/// What became of an account of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestoreOutcome {
    /// It is back.
    Restored,
    /// It was there already.
    AlreadyLive,
    /// It could not come back.
    Refused,
}

/// An account of a plan that did not come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRestored {
    /// The account.
    pub account: AccountId,
    /// What became of it.
    pub outcome: RestoreOutcome,
    /// The stable name of the reason.
    pub reason: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the messages in events.proto, documented there")]
pub enum Fact {
    /// Entry 0 of every ledger.
    LedgerCreated { name: Text },
    /// An account came to be.
    AccountCreated {
        kind: AccountKind,
        handle: Handle,
        owner: Option<AccountId>,
        namespace: Option<Namespace>,
        environment: Option<Text>,
        protected: bool,
        attributes: BTreeMap<Text, String>,
    },
    /// Some properties changed; absent ones stay. An empty namespace or environment is `Some(None)`.
    AccountUpdated {
        handle: Option<Handle>,
        namespace: Option<Option<Namespace>>,
        environment: Option<Option<Text>>,
        protected: Option<bool>,
        attributes_set: BTreeMap<Text, String>,
        attributes_removed: Vec<Text>,
    },
    /// Somebody else answers for the account.
    OwnershipTransferred { owner: Option<AccountId> },
    /// It may not be used.
    AccountDisabled,
    /// It may be used again.
    AccountEnabled,
    /// It is gone.
    AccountDeleted { retain_until: Option<Time> },
    /// It is back.
    AccountRestored {
        plan: Option<Uuid>,
        incarnation: u32,
        digest_before: Option<AccountDigest>,
        digest_after: Option<AccountDigest>,
        differences: Vec<Difference>,
    },
    /// Met in an import without having been seen created.
    LegacyImported { kind: AccountKind, handle: Handle, source: Text, namespace: Option<Namespace> },
    /// A token was issued.
    TokenIssued(IssuedToken),
    /// A token was replaced.
    TokenRotated { old: TokenId, new: IssuedToken, overlap_until: Option<Time> },
    /// A token reached its end.
    TokenExpired { token: TokenId },
    /// A token was ended by somebody.
    TokenRevoked { token: TokenId, reason: RevocationReason },
    /// A revoked token is valid again.
    TokenReinstated { token: TokenId, plan: Option<Uuid> },
    /// A token was used.
    TokenUsed { token: TokenId, uses: u64, consumer: Option<ConsumerId> },
    /// A grant was added.
    GrantAdded { grant: GrantId, resource: Option<Text>, access: Option<Text>, expires_at: Option<Time> },
    /// A grant changed.
    GrantChanged { grant: GrantId, access: Option<Option<Text>>, expires_at: Option<Time> },
    /// A grant was removed.
    GrantRemoved { grant: GrantId },
    /// A rule of the account was turned on or off.
    EnforcementChanged { rule: Text, enforced: bool },
    /// A component uses a token of the account.
    ConsumerDeclared {
        consumer: ConsumerId,
        component: Option<Text>,
        location: Option<Text>,
        environment: Option<Text>,
        token: Option<TokenId>,
    },
    /// It no longer does.
    ConsumerReleased { consumer: ConsumerId },
    /// A job began to run.
    RunStarted { run: RunId, job: Text },
    /// A run ended.
    RunFinished { run: RunId, succeeded: bool, accounts_changed: u64 },
    /// Broken rules are treated in another way.
    PolicyChanged { namespace: Option<Namespace>, mode: PolicyMode },
    /// A job may go further, or less far.
    RolloutStageChanged { job: Text, stage: RolloutStage, approved_by: Option<Actor> },
    /// Somebody asks for accounts to be deleted.
    DeletionRequested { request: RequestId, accounts: Vec<AccountId>, expires_at: Option<Time> },
    /// A second person agrees.
    DeletionApproved { request: RequestId },
    /// A second person does not.
    DeletionRejected { request: RequestId, reason: Option<Text> },
    /// The ledger said no.
    RequestRefused {
        refused_event_id: Uuid,
        refused_emitter: Emitter,
        refused_kind: Text,
        refused_account: Option<AccountId>,
        violations: Vec<Violation>,
        evidence: Vec<String>,
    },
    /// It was worked out what a restore will do.
    RestorePlanned {
        plan: Uuid,
        hash: [u8; 32],
        pinned: Position,
        accounts: Vec<AccountId>,
        window_seconds: u32,
    },
    /// Somebody agrees to a plan.
    RestoreApproved { plan: Uuid, hash: [u8; 32] },
    /// A plan was carried out.
    RestoreCompleted { plan: Uuid, hash: [u8; 32], restored: u32, not_restored: Vec<NotRestored> },
    /// Checkpoints are signed with another key from now on; the note is signed by both.
    KeyRotated { note: String },
    /// The log contradicts a checkpoint that was signed of it, and somebody let the server go on.
    CheckpointOverridden { source: Text, note: String },
    /// A kind newer than this program.
    Opaque,
}
