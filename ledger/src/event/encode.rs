//! From events to messages, and to the bytes that are stored.

use std::borrow::Borrow;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::{
    AccountKind, Actor, ActorKind, Annotations, Cause, Difference, Event, Expiry, Fact, IssuedToken,
    NotRestored, PolicyMode, RestoreOutcome, RevocationReason, RolloutStage, Text, Violation,
};
use crate::pb;
use crate::types::Time;

/// Room for what most events take.
const SENT_BYTES: usize = 256;

/// The bytes of what an emitter sent, without id and emitter, which the entry's header holds. The same event gives the
/// same bytes: those of its message ([`to_message`]) without these two fields. What every event has is written without
/// making a message of it first.
#[must_use]
pub fn encode_sent(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(SENT_BYTES);
    if let Some(sequence) = event.emitter_sequence {
        prost::encoding::uint64::encode(3, &sequence, &mut out);
    }
    prost::encoding::message::encode(4, &timestamp(event.occurred_at), &mut out);
    put_actor(&mut out, &event.actor);
    if event.cause != Cause::default() {
        put_cause(&mut out, &event.cause);
    }
    put_text(&mut out, 7, text_of(event.account.as_ref()));
    if let Some(fact) = fact(&event.fact) {
        fact.encode(&mut out);
    }
    out
}

fn put_actor(out: &mut Vec<u8>, actor: &Actor) {
    let (kind, id) = (actor_kind_message(actor.kind), actor.id.as_str());
    let kind_bytes = if kind == 0 { 0 } else { prost::encoding::int32::encoded_len(1, &kind) };
    put_head(out, 5, kind_bytes + text_bytes(id));
    if kind != 0 {
        prost::encoding::int32::encode(1, &kind, out);
    }
    put_text(out, 2, id);
}

fn put_cause(out: &mut Vec<u8>, cause: &Cause) {
    let texts = [
        text_of(cause.run.as_ref()),
        text_of(cause.request.as_ref()),
        text_of(cause.reason.as_ref()),
        text_of(cause.correlation_id.as_ref()),
    ];
    put_head(out, 6, texts.iter().map(|text| text_bytes(text)).sum());
    for (field, text) in (1..).zip(texts) {
        put_text(out, field, text);
    }
}

fn text_of<T: Borrow<str>>(text: Option<&T>) -> &str {
    text.map(Borrow::borrow).unwrap_or_default()
}

/// What [`put_text`] puts.
fn text_bytes(text: &str) -> usize {
    if text.is_empty() { 0 } else { delimited_bytes(text.len()) }
}

/// Puts a text; an empty one is left out.
fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_delimited(out, field, text.as_bytes());
    }
}

/// Bytes of a field that holds so many bytes, with its key of one byte (a field below 16) and its length.
#[must_use]
pub fn delimited_bytes(bytes: usize) -> usize {
    1 + encoded_len_varint(bytes as u64) + bytes
}

/// Puts a field that holds bytes: a text, or a message that is encoded already.
pub fn put_delimited(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_head(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Puts the key and the length of a field whose bytes follow.
pub fn put_head(out: &mut Vec<u8>, field: u32, bytes: usize) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes as u64, out);
}

/// Whether the stored bytes of an event are those of what was sent, as [`encode_sent`] has it: what follows them may only be
/// annotations (field 2000, whose tag is `82 7d`).
#[must_use]
pub fn was_sent(stored: &[u8], sent: &[u8]) -> bool {
    stored.strip_prefix(sent).is_some_and(|rest| rest.is_empty() || rest.starts_with(&[0x82, 0x7d]))
}

/// The bytes that follow those of [`encode_sent`] in an entry; none where the ledger has nothing to add.
#[must_use]
pub fn encode_annotations(annotations: &Annotations) -> Vec<u8> {
    if *annotations == Annotations::default() {
        return Vec::new();
    }
    pb::Event { annotations: Some(annotations_message(annotations)), ..pb::Event::default() }.encode_to_vec()
}

/// An event as a message, without annotations.
#[must_use]
pub fn to_message(event: &Event) -> pb::Event {
    pb::Event {
        event_id: event.event_id.to_string(),
        emitter: event.emitter.to_string(),
        emitter_sequence: event.emitter_sequence,
        occurred_at: Some(timestamp(event.occurred_at)),
        actor: Some(actor_message(&event.actor)),
        cause: (event.cause != Cause::default()).then(|| cause(&event.cause)),
        account: text(event.account.as_ref()),
        fact: fact(&event.fact),
        annotations: None,
    }
}

/// Annotations as a message.
#[must_use]
pub fn annotations_message(annotations: &Annotations) -> pb::Annotations {
    pb::Annotations {
        late: annotations.late,
        violations: annotations.violations.iter().map(violation).collect(),
        digest_before: annotations.digest_before.map(|d| d.0.to_vec()).unwrap_or_default(),
        active_tokens: annotations.active_tokens,
    }
}

fn violation(violation: &Violation) -> pb::Violation {
    pb::Violation { rule: violation.rule.clone(), message: violation.message.clone() }
}

/// A time as a message.
#[must_use]
pub fn timestamp(time: Time) -> prost_types::Timestamp {
    let (seconds, nanos) = time.parts();
    prost_types::Timestamp { seconds, nanos }
}

fn text<T: ToString>(text: Option<&T>) -> String {
    text.map(T::to_string).unwrap_or_default()
}

fn texts<T: ToString>(texts: &[T]) -> Vec<String> {
    texts.iter().map(T::to_string).collect()
}

fn attributes(map: &std::collections::BTreeMap<Text, String>) -> std::collections::BTreeMap<String, String> {
    map.iter().map(|(key, value)| (key.to_string(), value.clone())).collect()
}

/// An actor as a message.
#[must_use]
pub fn actor_message(actor: &Actor) -> pb::Actor {
    pb::Actor { kind: actor_kind_message(actor.kind), id: actor.id.to_string() }
}

fn actor_kind_message(kind: ActorKind) -> i32 {
    match kind {
        ActorKind::Unknown => pb::ActorKind::Unspecified,
        ActorKind::Human => pb::ActorKind::Human,
        ActorKind::Automation => pb::ActorKind::Automation,
    }
    .into()
}

fn cause(cause: &Cause) -> pb::Cause {
    pb::Cause {
        run: text(cause.run.as_ref()),
        request: text(cause.request.as_ref()),
        reason: text(cause.reason.as_ref()),
        correlation_id: text(cause.correlation_id.as_ref()),
    }
}

/// The kind of an account as a number of the enumeration `AccountKind`.
#[must_use]
pub fn account_kind_message(kind: AccountKind) -> i32 {
    match kind {
        AccountKind::Bot => pb::AccountKind::Bot,
        AccountKind::Service => pb::AccountKind::Service,
        AccountKind::Human => pb::AccountKind::Human,
    }
    .into()
}

/// An expiry as a message.
#[must_use]
pub fn expiry_message(expiry: Expiry) -> pb::Expiry {
    use pb::expiry::{Expiry as M, Never, Unknown};
    let expiry = match expiry {
        Expiry::Never => M::Never(Never {}),
        Expiry::At(time) => M::At(timestamp(time)),
        Expiry::Unknown => M::Unknown(Unknown {}),
    };
    pb::Expiry { expiry: Some(expiry) }
}

/// A reason as a number of the enumeration `RevocationReason`.
#[must_use]
pub fn revocation_message(reason: RevocationReason) -> i32 {
    match reason {
        RevocationReason::Unspecified => pb::RevocationReason::Unspecified,
        RevocationReason::Superseded => pb::RevocationReason::Superseded,
        RevocationReason::Unused => pb::RevocationReason::Unused,
        RevocationReason::Leaked => pb::RevocationReason::Leaked,
        RevocationReason::AccountDeleted => pb::RevocationReason::AccountDeleted,
    }
    .into()
}

/// What became of an account, as a number of the enumeration `RestoreOutcome`.
#[must_use]
pub fn outcome_message(outcome: RestoreOutcome) -> i32 {
    match outcome {
        RestoreOutcome::Restored => pb::RestoreOutcome::Restored,
        RestoreOutcome::AlreadyLive => pb::RestoreOutcome::AlreadyLive,
        RestoreOutcome::Refused => pb::RestoreOutcome::Refused,
    }
    .into()
}

fn issued(token: &IssuedToken) -> pb::TokenIssued {
    pb::TokenIssued {
        token: token.token.to_string(),
        digest: text(token.digest.as_ref()),
        family: text(token.family.as_ref()),
        scopes: texts(&token.scopes),
        expiry: Some(expiry_message(token.expiry)),
    }
}

/// A difference as a message.
#[must_use]
pub fn difference_message(difference: &Difference) -> pb::Difference {
    pb::Difference {
        what: difference.what.clone(),
        reason: difference.reason.clone(),
        detail: difference.detail.clone(),
    }
}

fn fact(fact: &Fact) -> Option<pb::event::Fact> {
    account_fact(fact).or_else(|| token_fact(fact)).or_else(|| grant_fact(fact)).or_else(|| job_fact(fact))
}

fn account_fact(fact: &Fact) -> Option<pb::event::Fact> {
    use pb::event::Fact as M;
    Some(match fact {
        Fact::LedgerCreated { name } => M::LedgerCreated(pb::LedgerCreated { name: name.to_string() }),
        Fact::AccountCreated { kind, handle, owner, namespace, environment, protected, attributes: map } => {
            M::AccountCreated(pb::AccountCreated {
                kind: account_kind_message(*kind),
                handle: handle.to_string(),
                owner: text(owner.as_ref()),
                namespace: text(namespace.as_ref()),
                environment: text(environment.as_ref()),
                protected: *protected,
                attributes: attributes(map),
            })
        }
        Fact::AccountUpdated {
            handle,
            namespace,
            environment,
            protected,
            attributes_set,
            attributes_removed,
        } => M::AccountUpdated(pb::AccountUpdated {
            handle: handle.as_ref().map(ToString::to_string),
            namespace: namespace.as_ref().map(|n| text(n.as_ref())),
            environment: environment.as_ref().map(|e| text(e.as_ref())),
            protected: *protected,
            attributes_set: attributes(attributes_set),
            attributes_removed: texts(attributes_removed),
        }),
        Fact::OwnershipTransferred { owner } => {
            M::OwnershipTransferred(pb::OwnershipTransferred { owner: text(owner.as_ref()) })
        }
        Fact::AccountDisabled => M::AccountDisabled(pb::AccountDisabled {}),
        Fact::AccountEnabled => M::AccountEnabled(pb::AccountEnabled {}),
        Fact::AccountDeleted { retain_until } => {
            M::AccountDeleted(pb::AccountDeleted { retain_until: retain_until.map(timestamp) })
        }
        Fact::AccountRestored { plan, incarnation, digest_before, digest_after, differences } => {
            M::AccountRestored(pb::AccountRestored {
                plan: text(plan.as_ref()),
                incarnation: *incarnation,
                digest_before: digest_before.map(|d| d.0.to_vec()).unwrap_or_default(),
                digest_after: digest_after.map(|d| d.0.to_vec()).unwrap_or_default(),
                differences: differences.iter().map(difference_message).collect(),
            })
        }
        Fact::LegacyImported { kind, handle, source, namespace } => M::LegacyImported(pb::LegacyImported {
            kind: account_kind_message(*kind),
            handle: handle.to_string(),
            source: source.to_string(),
            namespace: text(namespace.as_ref()),
        }),
        _ => return None,
    })
}

fn token_fact(fact: &Fact) -> Option<pb::event::Fact> {
    use pb::event::Fact as M;
    Some(match fact {
        Fact::TokenIssued(token) => M::TokenIssued(issued(token)),
        Fact::TokenRotated { old, new, overlap_until } => M::TokenRotated(pb::TokenRotated {
            old_token: old.to_string(),
            new_token: Some(issued(new)),
            overlap_until: overlap_until.map(timestamp),
        }),
        Fact::TokenExpired { token } => M::TokenExpired(pb::TokenExpired { token: token.to_string() }),
        Fact::TokenRevoked { token, reason } => M::TokenRevoked(pb::TokenRevoked {
            token: token.to_string(),
            reason: revocation_message(*reason),
        }),
        Fact::TokenReinstated { token, plan } => {
            M::TokenReinstated(pb::TokenReinstated { token: token.to_string(), plan: text(plan.as_ref()) })
        }
        Fact::TokenUsed { token, uses, consumer } => M::TokenUsed(pb::TokenUsed {
            token: token.to_string(),
            uses: *uses,
            consumer: text(consumer.as_ref()),
        }),
        _ => return None,
    })
}

fn grant_fact(fact: &Fact) -> Option<pb::event::Fact> {
    use pb::event::Fact as M;
    Some(match fact {
        Fact::GrantAdded { grant, resource, access, expires_at } => M::GrantAdded(pb::GrantAdded {
            grant: grant.to_string(),
            resource: text(resource.as_ref()),
            access: text(access.as_ref()),
            expires_at: expires_at.map(timestamp),
        }),
        Fact::GrantChanged { grant, access, expires_at } => M::GrantChanged(pb::GrantChanged {
            grant: grant.to_string(),
            access: access.as_ref().map(|a| text(a.as_ref())),
            expires_at: expires_at.map(timestamp),
        }),
        Fact::GrantRemoved { grant } => M::GrantRemoved(pb::GrantRemoved { grant: grant.to_string() }),
        Fact::EnforcementChanged { rule, enforced } => {
            M::EnforcementChanged(pb::EnforcementChanged { rule: rule.to_string(), enforced: *enforced })
        }
        Fact::ConsumerDeclared { consumer, component, location, environment, token } => {
            M::ConsumerDeclared(pb::ConsumerDeclared {
                consumer: consumer.to_string(),
                component: text(component.as_ref()),
                location: text(location.as_ref()),
                environment: text(environment.as_ref()),
                token: text(token.as_ref()),
            })
        }
        Fact::ConsumerReleased { consumer } => {
            M::ConsumerReleased(pb::ConsumerReleased { consumer: consumer.to_string() })
        }
        _ => return None,
    })
}

fn job_fact(fact: &Fact) -> Option<pb::event::Fact> {
    use pb::event::Fact as M;
    Some(match fact {
        Fact::RunStarted { run, job } => {
            M::RunStarted(pb::RunStarted { run: run.to_string(), job: job.to_string() })
        }
        Fact::RunFinished { run, succeeded, accounts_changed } => M::RunFinished(pb::RunFinished {
            run: run.to_string(),
            succeeded: *succeeded,
            accounts_changed: *accounts_changed,
        }),
        Fact::PolicyChanged { namespace, mode } => {
            let mode = match mode {
                PolicyMode::Observe => pb::PolicyMode::Observe,
                PolicyMode::Enforce => pb::PolicyMode::Enforce,
            };
            M::PolicyChanged(pb::PolicyChanged { namespace: text(namespace.as_ref()), mode: mode.into() })
        }
        Fact::RolloutStageChanged { job, stage, approved_by } => {
            M::RolloutStageChanged(pb::RolloutStageChanged {
                job: job.to_string(),
                stage: Some(rollout_stage(stage)),
                approved_by: approved_by.as_ref().map(actor_message),
            })
        }
        _ => return request_fact(fact),
    })
}

fn rollout_stage(stage: &RolloutStage) -> pb::rollout_stage_changed::Stage {
    use pb::rollout_stage_changed::{DryRun, Everywhere, Namespaces, Off, Stage as M};
    match stage {
        RolloutStage::Off => M::Off(Off {}),
        RolloutStage::DryRun => M::DryRun(DryRun {}),
        RolloutStage::Namespaces(names) => M::Namespaces(Namespaces { names: texts(names) }),
        RolloutStage::Percentage(percent) => M::Percentage(*percent),
        RolloutStage::Everywhere => M::Everywhere(Everywhere {}),
    }
}

fn request_fact(fact: &Fact) -> Option<pb::event::Fact> {
    use pb::event::Fact as M;
    Some(match fact {
        Fact::DeletionRequested { request, accounts, expires_at } => {
            M::DeletionRequested(pb::DeletionRequested {
                request: request.to_string(),
                accounts: texts(accounts),
                expires_at: expires_at.map(timestamp),
            })
        }
        Fact::DeletionApproved { request } => {
            M::DeletionApproved(pb::DeletionApproved { request: request.to_string() })
        }
        Fact::DeletionRejected { request, reason } => M::DeletionRejected(pb::DeletionRejected {
            request: request.to_string(),
            reason: text(reason.as_ref()),
        }),
        Fact::RequestRefused {
            refused_event_id,
            refused_emitter,
            refused_kind,
            refused_account,
            violations,
            evidence,
        } => M::RequestRefused(pb::RequestRefused {
            refused_event_id: refused_event_id.to_string(),
            refused_emitter: refused_emitter.to_string(),
            refused_kind: refused_kind.to_string(),
            violations: violations.iter().map(violation).collect(),
            evidence: evidence.clone(),
            refused_account: text(refused_account.as_ref()),
        }),
        Fact::RestorePlanned { plan, hash, pinned, accounts, window_seconds } => {
            M::RestorePlanned(pb::RestorePlanned {
                plan: plan.to_string(),
                hash: hash.to_vec(),
                pinned_position: pinned.0,
                accounts: texts(accounts),
                window_seconds: *window_seconds,
            })
        }
        Fact::RestoreApproved { plan, hash } => {
            M::RestoreApproved(pb::RestoreApproved { plan: plan.to_string(), hash: hash.to_vec() })
        }
        Fact::RestoreCompleted { plan, hash, restored, not_restored } => {
            M::RestoreCompleted(pb::RestoreCompleted {
                plan: plan.to_string(),
                hash: hash.to_vec(),
                restored: *restored,
                not_restored: not_restored.iter().map(not_restored_message).collect(),
            })
        }
        Fact::KeyRotated { note } => M::KeyRotated(pb::KeyRotated { note: note.clone() }),
        Fact::CheckpointOverridden { source, note } => M::CheckpointOverridden(pb::CheckpointOverridden {
            source: source.to_string(),
            note: note.clone(),
        }),
        _ => return None,
    })
}

fn not_restored_message(item: &NotRestored) -> pb::restore_completed::NotRestored {
    pb::restore_completed::NotRestored {
        account: item.account.to_string(),
        outcome: outcome_message(item.outcome),
        reason: item.reason.clone(),
    }
}
