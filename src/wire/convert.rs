//! From the domain to messages, and back.

use ledger::entry;
use ledger::event::{
    self, Actor, ActorKind, RevocationReason, Text, account_kind_message, actor_message, difference_message,
    expiry_message, outcome_message, revocation_message, timestamp,
};
use ledger::restore::{Conflict, DeletionSummary, Item};
use ledger::sequencer::{Accepted, Proposal, Receipt};
use ledger::state::{Account, Consumer, Grant, Slot, Status as AccountStatus, Token, TokenStatus, digest};
use ledger::types::{AccountDigest, LedgerName, Position, Time};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tonic::Status;

use super::pb;
use super::status::{invalid, invalid_event};
use crate::reader::{AccountThen, AsOf, Entry, Found};
use crate::restorer::{Planned, Restored, RestoredItem};

/// What is escaped in a part of a resource name.
const PART: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'/').add(b'?').add(b'#');

/// A time of a request.
///
/// # Errors
/// Where it lies outside of the years 1678 to 2262.
pub fn time(field: &str, time: Option<prost_types::Timestamp>) -> Result<Option<Time>, Status> {
    let Some(time) = time else { return Ok(None) };
    Time::from_parts(time.seconds, time.nanos).map(Some).ok_or_else(|| {
        invalid("invalid_request", format!("field `{field}` is not a time between the years 1678 and 2262"))
    })
}

/// The ledger of a request; empty is `default`.
///
/// # Errors
/// Where it is not a ledger's name.
pub fn ledger_name(name: &str) -> Result<LedgerName, Status> {
    if name.is_empty() {
        return Ok(LedgerName::default());
    }
    name.parse().map_err(|e| invalid("invalid_request", format!("field `ledger`: {e}")))
}

/// An event to be recorded.
///
/// # Errors
/// All fields that are wrong.
pub fn proposal(proposal: Option<pb::Proposal>) -> Result<Proposal, Status> {
    let proposal = proposal.unwrap_or_default();
    let event = proposal
        .event
        .ok_or_else(|| invalid("invalid_event", "field `proposal.event` is missing; send an event"))?;
    let event = event::parse(&event).map_err(|e| invalid_event(&e))?;
    Ok(Proposal::new(event, proposal.expected_version))
}

/// An actor of a request.
///
/// # Errors
/// Where its id is not a valid text, or its kind is not known.
pub fn actor(actor: Option<pb::Actor>) -> Result<Option<Actor>, Status> {
    let Some(actor) = actor else { return Ok(None) };
    let kind = match pb::ActorKind::try_from(actor.kind) {
        Ok(pb::ActorKind::Unspecified) => ActorKind::Unknown,
        Ok(pb::ActorKind::Human) => ActorKind::Human,
        Ok(pb::ActorKind::Automation) => ActorKind::Automation,
        Err(_) => return Err(invalid("invalid_request", "field `actor.kind` has a value that is not known")),
    };
    let id = Text::new(&actor.id).map_err(|e| invalid("invalid_request", format!("field `actor.id` {e}")))?;
    Ok(Some(Actor { kind, id }))
}

/// A moment of a request.
///
/// # Errors
/// Where a time is out of range.
pub fn as_of(as_of: Option<pb::AsOf>) -> Result<AsOf, Status> {
    let Some(as_of) = as_of else { return Ok(AsOf::default()) };
    let known_at = time("as_of.known_at", as_of.known_at)?;
    Ok(match as_of.moment {
        None => AsOf { known_at, ..AsOf::default() },
        Some(pb::as_of::Moment::Position(p)) => {
            AsOf { position: Some(Position(p)), occurred_at: None, known_at }
        }
        Some(pb::as_of::Moment::OccurredAt(t)) => {
            AsOf { position: None, occurred_at: time("as_of.occurred_at", Some(t))?, known_at }
        }
    })
}

/// A receipt as a message.
#[must_use]
pub fn receipt(receipt: &Receipt) -> pb::Receipt {
    pb::Receipt {
        event_id: receipt.event_id.to_string(),
        emitter: receipt.emitter.to_string(),
        position: receipt.position.0,
        link: receipt.link.0.to_vec(),
        recorded_at: Some(timestamp(receipt.recorded_at)),
    }
}

/// An accepted event as a message; what was only validated has no receipt.
#[must_use]
pub fn accepted(accepted: &Accepted, validate_only: bool) -> pb::Accepted {
    let remarked = accepted.annotations != event::Annotations::default();
    let recorded = !validate_only || accepted.already_present;
    pb::Accepted {
        receipt: recorded.then(|| receipt(&accepted.receipt)),
        annotations: remarked.then(|| event::annotations_message(&accepted.annotations)),
        already_present: accepted.already_present,
    }
}

/// An event as it stands in the ledger.
#[must_use]
pub fn ledger_event(found: &Entry) -> pb::LedgerEvent {
    let recorded = &found.recorded;
    let mut message = event::to_message(&recorded.event);
    if recorded.annotations != event::Annotations::default() {
        message.annotations = Some(event::annotations_message(&recorded.annotations));
    }
    if matches!(recorded.event.fact, event::Fact::Opaque) {
        message = opaque(found, message);
    }
    pb::LedgerEvent {
        position: recorded.position.0,
        link: found.record.link.0.to_vec(),
        recorded_at: Some(timestamp(recorded.recorded_at)),
        event: Some(message),
    }
}

/// What of an event newer than this program can be shown: what its message says beside the fact.
fn opaque(found: &Entry, message: pb::Event) -> pb::Event {
    let Ok((_, bytes)) = entry::decode(&found.record.entry) else { return message };
    let stored: pb::Event = prost::Message::decode(bytes).unwrap_or_default();
    pb::Event { event_id: message.event_id, emitter: message.emitter, ..stored }
}

fn status_message(status: AccountStatus) -> pb::AccountStatus {
    match status {
        AccountStatus::Live => pb::AccountStatus::Live,
        AccountStatus::Disabled => pb::AccountStatus::Disabled,
        AccountStatus::Deleted => pb::AccountStatus::Deleted,
    }
}

fn text<T: ToString>(text: Option<&T>) -> String {
    text.map(T::to_string).unwrap_or_default()
}

fn account_name(ledger: &LedgerName, account: &str) -> String {
    format!("ledgers/{ledger}/accounts/{}", utf8_percent_encode(account, PART))
}

fn token(ledger: &LedgerName, account: &str, id: &str, token: &Token, at: Time) -> pb::Token {
    let status = match token.status(at) {
        TokenStatus::Active => pb::TokenStatus::Active,
        TokenStatus::Expired => pb::TokenStatus::Expired,
        TokenStatus::Revoked => pb::TokenStatus::Revoked,
    };
    let reason = token.revoked.map_or(RevocationReason::Unspecified, |(_, reason)| reason);
    pb::Token {
        name: format!("{}/tokens/{}", account_name(ledger, account), utf8_percent_encode(id, PART)),
        token: id.to_owned(),
        family: token.family.to_string(),
        status: status.into(),
        digest: text(token.digest.as_ref()),
        scopes: token.scopes.iter().map(ToString::to_string).collect(),
        expiry: Some(expiry_message(token.expiry)),
        revoked_at: token.revoked.map(|(at, _)| timestamp(at)),
        revocation_reason: revocation_message(reason),
        leaked: token.leaked,
        replaced_by: text(token.replaced_by.as_ref()),
        issued_at: token.issued_at.map(timestamp),
        last_used_at: token.last_used_at.map(timestamp),
    }
}

fn grant(id: &str, grant: &Grant) -> pb::Grant {
    pb::Grant {
        grant: id.to_owned(),
        resource: text(grant.resource.as_ref()),
        access: text(grant.access.as_ref()),
        expires_at: grant.expires_at.map(timestamp),
    }
}

fn consumer(id: &str, consumer: &Consumer) -> pb::Consumer {
    pb::Consumer {
        consumer: id.to_owned(),
        component: text(consumer.component.as_ref()),
        location: text(consumer.location.as_ref()),
        environment: text(consumer.environment.as_ref()),
        token: text(consumer.token.as_ref()),
    }
}

/// An account at a moment as a message.
#[must_use]
pub fn account(ledger: &LedgerName, then: &AccountThen) -> pb::Account {
    let Slot { version, last, .. } = &then.slot;
    let life: &Account = then.slot.current();
    let id = life.id.as_str();
    pb::Account {
        name: account_name(ledger, id),
        account: id.to_owned(),
        handle: life.handle.to_string(),
        kind: account_kind_message(life.kind),
        status: status_message(life.status).into(),
        incarnation: life.incarnation,
        owner: text(life.owner.as_ref()),
        namespace: text(life.namespace.as_ref()),
        environment: text(life.environment.as_ref()),
        protected: life.protected,
        attributes: life.attributes().iter().map(|(k, v)| (k.to_string(), v)).collect(),
        tokens: life
            .tokens
            .iter()
            .map(|(t, token_)| token(ledger, id, t.as_str(), &token_, then.at))
            .collect(),
        grants: life.grants.iter().map(|(g, grant_)| grant(g.as_str(), &grant_)).collect(),
        consumers: life.consumers().iter().map(|(c, consumer_)| consumer(c.as_str(), &consumer_)).collect(),
        digest: digest(life).0.to_vec(),
        version: *version,
        position: then.reflects.0,
        created_at: life.created_at.map(timestamp),
        deleted_at: (life.status == AccountStatus::Deleted)
            .then(|| life.deletion().map(|d| timestamp(d.occurred_at)))
            .flatten(),
        incomplete_from: then.slot.incomplete_from().map(|p| p.0),
        last_event_position: last.0,
    }
}

/// A token with its account as a message.
#[must_use]
pub fn owned_token(ledger: &LedgerName, found: &Found) -> pb::OwnedToken {
    let life = found.account.slot.current();
    let known = life.tokens.get(&found.token);
    pb::OwnedToken {
        token: known.map(|t| token(ledger, life.id.as_str(), found.token.as_str(), &t, found.account.at)),
        account: life.id.to_string(),
        handle: life.handle.to_string(),
        account_status: status_message(life.status).into(),
        usable: found.usable(),
    }
}

/// A deletion as a message.
#[must_use]
pub fn deletion(deletion: &DeletionSummary, now: AccountStatus) -> pb::DeletionSummary {
    pb::DeletionSummary {
        account: deletion.account.to_string(),
        handle: deletion.handle.to_string(),
        position: deletion.position.0,
        occurred_at: Some(timestamp(deletion.occurred_at)),
        actor: Some(actor_message(&deletion.actor)),
        cause: Some(pb::Cause {
            run: text(deletion.run.as_ref()),
            reason: text(deletion.reason.as_ref()),
            ..pb::Cause::default()
        }),
        namespace: text(deletion.namespace.as_ref()),
        owner: text(deletion.owner.as_ref()),
        active_tokens: deletion.active_tokens.iter().map(ToString::to_string).collect(),
        grants: deletion.grants.iter().map(ToString::to_string).collect(),
        digest_before: digest_bytes(deletion.digest_before),
        status_now: status_message(now).into(),
    }
}

fn digest_bytes(digest: Option<AccountDigest>) -> Vec<u8> {
    digest.map(|d| d.0.to_vec()).unwrap_or_default()
}

fn gone(conflict: &Conflict) -> pb::Difference {
    pb::Difference {
        what: conflict.what.clone(),
        reason: conflict.reason.name().to_owned(),
        detail: conflict.detail.clone(),
    }
}

fn conflict(conflict: &Conflict) -> pb::Conflict {
    pb::Conflict {
        reason: conflict.reason.name().to_owned(),
        what: conflict.what.clone(),
        detail: conflict.detail.clone(),
        blocks: conflict.blocks(),
    }
}

fn plan_item(item: &Item) -> pb::PlanItem {
    pb::PlanItem {
        account: item.account.to_string(),
        handle: text(item.handle.as_ref()),
        comes_back: item.comes_back.clone(),
        stays_gone: item.stays_gone.iter().map(gone).collect(),
        conflicts: item.conflicts.iter().map(conflict).collect(),
        digest_before: digest_bytes(item.digest_before),
        digest_after: digest_bytes(item.digest_after),
        differences: item.differences.iter().map(difference_message).collect(),
        group: item.group.iter().flat_map(|g| &g.members).map(|p| p.0).collect(),
    }
}

/// A plan as a message.
#[must_use]
pub fn plan(planned: &Planned) -> pb::RestorePlan {
    pb::RestorePlan {
        plan: planned.id.to_string(),
        hash: planned.hash.to_vec(),
        pinned_position: planned.plan.pinned.0,
        planned_at: Some(timestamp(planned.plan.terms.planned_at)),
        window_seconds: planned.plan.terms.window_seconds,
        items: planned.plan.items.iter().map(plan_item).collect(),
    }
}

fn restored_item(item: &RestoredItem) -> pb::RestoredItem {
    pb::RestoredItem {
        account: item.account.to_string(),
        outcome: outcome_message(item.outcome),
        digest_before: digest_bytes(item.digest_before),
        digest_after: digest_bytes(item.digest_after),
        differences: item.differences.iter().map(difference_message).collect(),
        position: item.position.map(|p| p.0),
    }
}

/// What was done by a plan, as a message.
#[must_use]
pub fn restored(restored: &Restored) -> pb::RestoreReceipt {
    pb::RestoreReceipt {
        receipt: restored.proof.event_id.to_string(),
        plan: restored.planned.id.to_string(),
        hash: restored.planned.hash.to_vec(),
        items: restored.items.iter().map(restored_item).collect(),
        proof: Some(receipt(&restored.proof)),
    }
}
