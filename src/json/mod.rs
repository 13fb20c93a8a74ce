//! The product's own JSON form of an event: what `events list -o json` prints, `export ndjson` writes and
//! `import ndjson` reads back, every field of it.
//!
//! ```json
//! {"position":7,"event_id":"…","kind":"TokenIssued","account":"…","actor":"…","actor_kind":"human",
//!  "occurred_at":"2023-07-10T12:26:00Z","recorded_at":"…","emitter":"…","link":"hex","emitter_sequence":3,
//!  "cause":{"run":"…","request":"…","reason":"…","correlation_id":"…"},
//!  "data":{"token":"…","scopes":["…"],"expiry":"never"},
//!  "annotations":{"late":true,"violations":[{"rule":"…","message":"…"}],"digest_before":"hex","active_tokens":2}}
//! ```
//!
//! Times are RFC 3339, hashes small hex, names those of `events.proto`. What is absent in the event is absent here,
//! except `account`, which is then null. Other people's scripts hang on it: it may grow, never change.

mod fact;
mod forms;
#[cfg(test)]
mod tests;

use ledger::event::{
    AccountId, Actor, ActorKind, Annotations, Cause, Event, Fact, Invalid, Kind, Recorded, Text, parse,
    to_message,
};
use ledger::types::{Emitter, Link, Position, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use forms::{ActorKindForm, AnnotationsForm, CauseForm, maybe_time, time};

/// An event in its JSON form, ready to be serialised; the fields come out in the order of the example above.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
    event_id: Uuid,
    kind: String,
    #[serde(default)]
    account: Option<AccountId>,
    actor: Text,
    #[serde(default = "unknown", with = "ActorKindForm")]
    actor_kind: ActorKind,
    #[serde(with = "time")]
    occurred_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_time")]
    recorded_at: Option<Time>,
    emitter: Emitter,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    emitter_sequence: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default", with = "CauseForm")]
    cause: Cause,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    data: Value,
    #[serde(default, skip_serializing_if = "is_default", with = "AnnotationsForm")]
    annotations: Annotations,
}

/// What an actor is that is not said to be a person or a program, as in `events.proto`.
fn unknown() -> ActorKind {
    ActorKind::Unknown
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The JSON form of a recorded event and its link.
#[must_use]
pub fn event_to_json(recorded: &Recorded, link: &Link) -> EventJson {
    EventJson {
        position: Some(recorded.position),
        recorded_at: Some(recorded.recorded_at),
        link: Some(link.to_string()),
        annotations: recorded.annotations.clone(),
        ..sent_to_json(&recorded.event)
    }
}

/// The JSON form of an event that is not recorded yet: without position, time recorded, link and annotations.
#[must_use]
pub fn sent_to_json(event: &Event) -> EventJson {
    EventJson {
        position: None,
        event_id: event.event_id,
        kind: event.fact.kind().name().to_owned(),
        account: event.account.clone(),
        actor: event.actor.id.clone(),
        actor_kind: event.actor.kind,
        occurred_at: event.occurred_at,
        recorded_at: None,
        emitter: event.emitter.clone(),
        link: None,
        emitter_sequence: event.emitter_sequence,
        cause: event.cause.clone(),
        data: fact::data_of(&event.fact),
        annotations: Annotations::default(),
    }
}

/// Why a text is not an event in its JSON form. Never holds a value of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJson {
    /// It is no JSON, lacks a field, has an unknown one or one of another type.
    #[error("{0}")]
    Form(String),
    /// Fields that the ledger would not record.
    #[error(transparent)]
    Invalid(Invalid),
    /// Its content was already lost when it was exported.
    #[error("is of a kind newer than the program that exported it; export it again with a newer one")]
    Opaque,
}

/// Reads an event in its JSON form, with every check that an event sent to the ledger goes through. What the ledger
/// adds (position, time recorded, link, annotations) is checked for its form and left out.
///
/// # Errors
/// [`BadJson`], where it is none, has a field that this program does not know, or one that the ledger would refuse.
pub fn event_from_json(text: &str) -> Result<Event, BadJson> {
    let form: EventJson = serde_json::from_str(text).map_err(|e| BadJson::Form(without_values(&e)))?;
    let fact = fact_of(&form.kind, form.data)?;
    let event = Event {
        event_id: form.event_id,
        emitter: form.emitter,
        emitter_sequence: form.emitter_sequence,
        occurred_at: form.occurred_at,
        actor: Actor { kind: form.actor_kind, id: form.actor },
        cause: form.cause,
        account: form.account,
        fact,
    };
    // The texts were taken as they came; the one place that checks them is the ledger's own door.
    parse(&to_message(&event)).map_err(BadJson::Invalid)
}

fn fact_of(kind: &str, data: Value) -> Result<Fact, BadJson> {
    let kind = Kind::of_name(kind).ok_or_else(|| {
        BadJson::Form("field `kind` is not a kind of event that this program knows".to_owned())
    })?;
    if kind == Kind::Opaque {
        return Err(BadJson::Opaque);
    }
    fact::fact_of(kind, data).map_err(|e| BadJson::Form(without_values(&e)))
}

/// The message of a parser without the values that it quotes, among which might be a secret. Names of fields stay
/// where they look like names.
fn without_values(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let expected = || message.rfind(", expected ").map_or("", |at| message.get(at + 2..).unwrap_or(""));
    if message.starts_with("unknown field") {
        return match message.split('`').nth(1).filter(|name| is_field_name(name)) {
            Some(name) => format!("field `{name}` is not known; remove it, or use a newer program"),
            None => "has a field that is not known; remove it, or use a newer program".to_owned(),
        };
    }
    if message.starts_with("invalid ") || message.starts_with("unknown variant") {
        return format!("has a field of another type or value: {}", expected());
    }
    message
}

fn is_field_name(name: &str) -> bool {
    name.len() <= 32 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}
