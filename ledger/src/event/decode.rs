//! From messages to events. Two doors: [`parse`] for what a client sends, which checks every field and reports every
//! problem at once; [`stored`] for what the log holds, which was checked when it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine};
use prost::Message;
use uuid::Uuid;

use super::{
    AccountId, AccountKind, Actor, ActorKind, Annotations, BadText, Cause, Difference, Event, Expiry, Fact,
    IssuedToken, NotRestored, PolicyMode, Recorded, RestoreOutcome, RevocationReason, RolloutStage, Text,
    TokenDigest, Violation, secrets,
};
use crate::anchor::Known;
use crate::checkpoint::Rotation;
use crate::entry::Header;
use crate::pb;
use crate::types::{AccountDigest, Emitter, Position, Time};

/// The most items of a list in an event.
const ITEMS_MAX: usize = 1_000;
/// The longest signed note in an event: one with the cosignatures of dozens of witnesses.
const SIGNED_NOTE_BYTES_MAX: usize = 32 * 1024;

/// The part of a signed note's word that may be a name: not the key behind it, nor a hash or a signature, which are words
/// of at least 44 characters in base64.
fn name_in(word: &str) -> &str {
    let opaque = word.len() >= 44 && BASE64_STANDARD.decode(word).is_ok();
    if opaque { "" } else { word.split('+').next().unwrap_or(word) }
}

/// Every field of an event that cannot be recorded as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// Field (as in events.proto, dotted) and what to do about it.
    pub fields: Vec<(String, String)>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (field, problem)) in self.fields.iter().enumerate() {
            write!(f, "{}field `{field}` {problem}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// Reads what a client sent.
///
/// # Errors
/// [`Invalid`] names every field that is wrong, and never holds a value.
pub fn parse(message: &pb::Event) -> Result<Event, Invalid> {
    let mut reader = Reader { checked: true, within: "", problems: Invalid::default() };
    if message.annotations.is_some() {
        reader.problem("annotations", "is the ledger's to set; leave it out");
    }
    let event_id = reader.uuid("event_id", &message.event_id);
    let emitter = reader.emitter("emitter", &message.emitter);
    let event = reader.event(message, event_id, emitter);
    if reader.problems.fields.is_empty() { Ok(event) } else { Err(reader.problems) }
}

/// Reads what the log holds. A kind or form newer than this program becomes [`Fact::Opaque`].
#[must_use]
pub fn stored(header: &Header, bytes: &[u8]) -> Recorded {
    let message = pb::Event::decode(bytes).unwrap_or_default();
    let mut reader = Reader { checked: false, within: "", problems: Invalid::default() };
    let mut event = reader.event(&message, header.event_id, header.emitter.clone());
    if !reader.problems.fields.is_empty() {
        event.fact = Fact::Opaque;
    }
    let annotations = message.annotations.as_ref().map(annotations).unwrap_or_default();
    Recorded { event, annotations, position: header.position, recorded_at: header.recorded_at }
}

fn annotations(message: &pb::Annotations) -> Annotations {
    Annotations {
        late: message.late,
        violations: message.violations.iter().map(violation).collect(),
        digest_before: message.digest_before.as_slice().try_into().ok().map(AccountDigest),
        active_tokens: message.active_tokens,
    }
}

fn violation(message: &pb::Violation) -> Violation {
    Violation { rule: message.rule.clone(), message: message.message.clone() }
}

struct Reader {
    /// Whether the rules for texts apply; what the log holds is taken as it is.
    checked: bool,
    /// The message whose fields are read, if it is one inside the event's own.
    within: &'static str,
    problems: Invalid,
}

impl Reader {
    fn problem(&mut self, field: &str, what: &str) {
        let field =
            if self.within.is_empty() { field.to_owned() } else { format!("{}.{field}", self.within) };
        self.problems.fields.push((field, what.to_owned()));
    }

    /// Reads the fields of a message inside the event's own. Where they stand is put together for problems only: it
    /// would cost every event more than the checks.
    fn inside<T>(&mut self, message: &'static str, read: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.within, message);
        let read = read(self);
        self.within = outer;
        read
    }

    fn text_with(&mut self, field: &str, text: &str, check: fn(&str) -> Result<Text, BadText>) -> Text {
        if !self.checked {
            return Text::own(text);
        }
        check(text).unwrap_or_else(|e| {
            self.problem(field, &e.to_string());
            Text::own("-")
        })
    }

    fn text<T: From<Text>>(&mut self, field: &str, text: &str) -> T {
        self.text_with(field, text, Text::new).into()
    }

    fn optional<T: From<Text>>(&mut self, field: &str, text: &str) -> Option<T> {
        (!text.is_empty()).then(|| self.text(field, text))
    }

    fn change<T: From<Text>>(&mut self, field: &str, text: Option<&String>) -> Option<Option<T>> {
        text.map(|text| self.optional(field, text))
    }

    fn note(&mut self, field: &str, text: &str) -> Option<Text> {
        (!text.is_empty()).then(|| self.text_with(field, text, Text::note))
    }

    /// A value of an enumeration. One that is newer than this program must not pass for another.
    fn named<E: TryFrom<i32> + Default>(&mut self, field: &str, value: i32) -> E {
        E::try_from(value).unwrap_or_else(|_| {
            self.problem(field, "has a value that this program does not know; update the server first");
            E::default()
        })
    }

    fn emitter(&mut self, field: &str, name: &str) -> Emitter {
        if let (true, Some(kind)) = (self.checked, secrets::looks_like(name)) {
            self.problem(field, &BadText::Secret(kind).to_string());
        }
        Emitter::from_str(name).unwrap_or_else(|e| {
            self.problem(field, &format!("is not valid: {e}"));
            Emitter::ledger()
        })
    }

    /// A text of the ledger's own events, of any length that an entry holds.
    fn own_text(&mut self, field: &str, text: &str) -> String {
        if !text.is_empty() {
            self.note(field, text);
        }
        text.to_owned()
    }

    /// A signed note, whose signatures would look like secrets; its names may not. Only the ledger itself writes such events.
    fn signed_note(&mut self, field: &str, note: &str, is_one: bool) -> String {
        let secret = || note.split_whitespace().find_map(|word| secrets::looks_like(name_in(word)));
        if self.checked && (!is_one || note.len() > SIGNED_NOTE_BYTES_MAX) {
            self.problem(field, "is no signed note of its kind");
        } else if let (true, Some(kind)) = (self.checked, secret()) {
            self.problem(field, &BadText::Secret(kind).to_string());
        }
        note.to_owned()
    }

    fn violation(&mut self, m: &pb::Violation) -> Violation {
        Violation {
            rule: self.own_text("request_refused.violations.rule", &m.rule),
            message: self.own_text("request_refused.violations.message", &m.message),
        }
    }

    fn uuid(&mut self, field: &str, text: &str) -> Uuid {
        Uuid::try_parse(text).unwrap_or_else(|_| {
            self.problem(field, "is not a UUID, such as 3b241101-e2bb-4255-8caf-4136c566a962");
            Uuid::nil()
        })
    }

    fn optional_uuid(&mut self, field: &str, text: &str) -> Option<Uuid> {
        (!text.is_empty()).then(|| self.uuid(field, text))
    }

    fn time(&mut self, field: &str, time: Option<&prost_types::Timestamp>) -> Option<Time> {
        let time = time?;
        let parsed = Time::from_parts(time.seconds, time.nanos);
        if parsed.is_none() {
            self.problem(field, "is not a time between the years 1678 and 2262");
        }
        parsed
    }

    fn list<T: From<Text>>(&mut self, field: &str, items: &[String]) -> Vec<T> {
        if self.checked && items.len() > ITEMS_MAX {
            self.problem(field, "has more than 1,000 items; split it");
            return Vec::new();
        }
        items.iter().map(|item| self.text(field, item)).collect()
    }

    fn attributes(&mut self, field: &str, map: &BTreeMap<String, String>) -> BTreeMap<Text, String> {
        if self.checked && map.len() > ITEMS_MAX {
            self.problem(field, "has more than 1,000 items; split it");
            return BTreeMap::new();
        }
        map.iter()
            .map(|(key, value)| {
                if self.checked && !value.is_empty() {
                    self.note(field, value);
                }
                (self.text(field, key), value.clone())
            })
            .collect()
    }

    fn hash(&mut self, field: &str, bytes: &[u8]) -> [u8; 32] {
        bytes.try_into().unwrap_or_else(|_| {
            self.problem(field, "is not 32 bytes");
            [0; 32]
        })
    }

    fn optional_digest(&mut self, field: &str, bytes: &[u8]) -> Option<AccountDigest> {
        (!bytes.is_empty()).then(|| AccountDigest(self.hash(field, bytes)))
    }

    fn event(&mut self, m: &pb::Event, event_id: Uuid, emitter: Emitter) -> Event {
        let occurred_at = self.time("occurred_at", m.occurred_at.as_ref());
        if m.occurred_at.is_none() {
            self.problem("occurred_at", "is missing; say when it happened");
        }
        let actor = match &m.actor {
            Some(actor) => self.inside("actor", |fields| fields.actor(actor)),
            None => {
                self.problem("actor", "is missing; say who did it");
                Actor { kind: ActorKind::Unknown, id: Text::own("-") }
            }
        };
        let account: Option<AccountId> = self.optional("account", &m.account);
        let fact = match &m.fact {
            Some(fact) => self.fact(fact),
            None if self.checked => {
                self.problem("fact", "is missing; say what happened");
                Fact::Opaque
            }
            None => Fact::Opaque,
        };
        if self.checked {
            self.subject(&fact, account.is_some());
        }
        Event {
            event_id,
            emitter,
            emitter_sequence: m.emitter_sequence,
            occurred_at: occurred_at.unwrap_or_default(),
            actor,
            cause: m.cause.as_ref().map(|c| self.cause(c)).unwrap_or_default(),
            account,
            fact,
        }
    }

    fn subject(&mut self, fact: &Fact, given: bool) {
        match (fact.kind().has_subject(), given) {
            (true, false) => self.problem("account", "is missing; this kind of event is about an account"),
            (false, true) => {
                self.problem("account", "must be empty; this kind of event is not about one account")
            }
            _ => {}
        }
    }

    fn actor(&mut self, m: &pb::Actor) -> Actor {
        let kind = match self.named("kind", m.kind) {
            pb::ActorKind::Unspecified => ActorKind::Unknown,
            pb::ActorKind::Human => ActorKind::Human,
            pb::ActorKind::Automation => ActorKind::Automation,
        };
        Actor { kind, id: self.text("id", &m.id) }
    }

    fn cause(&mut self, m: &pb::Cause) -> Cause {
        Cause {
            run: self.optional("cause.run", &m.run),
            request: self.optional("cause.request", &m.request),
            reason: self.note("cause.reason", &m.reason),
            correlation_id: self.optional("cause.correlation_id", &m.correlation_id),
        }
    }

    fn account_kind(&mut self, field: &str, kind: i32) -> AccountKind {
        match self.named(field, kind) {
            pb::AccountKind::Bot => AccountKind::Bot,
            pb::AccountKind::Service => AccountKind::Service,
            pb::AccountKind::Human => AccountKind::Human,
            pb::AccountKind::Unspecified => {
                self.problem(field, "is missing; use bot, service or human");
                AccountKind::Service
            }
        }
    }

    fn issued(&mut self, m: &pb::TokenIssued) -> IssuedToken {
        IssuedToken {
            token: self.text("token", &m.token),
            digest: self.digest("digest", &m.digest),
            family: self.optional("family", &m.family),
            scopes: self.list("scopes", &m.scopes),
            expiry: self.expiry("expiry", m.expiry.as_ref()),
        }
    }

    fn digest(&mut self, field: &str, text: &str) -> Option<TokenDigest> {
        if text.is_empty() {
            return None;
        }
        TokenDigest::new(text).map_err(|e| self.problem(field, &e.to_string())).ok()
    }

    fn expiry(&mut self, field: &str, m: Option<&pb::Expiry>) -> Expiry {
        match m.and_then(|m| m.expiry.as_ref()) {
            Some(pb::expiry::Expiry::Never(_)) => Expiry::Never,
            Some(pb::expiry::Expiry::Unknown(_)) => Expiry::Unknown,
            Some(pb::expiry::Expiry::At(t)) => self.time(field, Some(t)).map_or(Expiry::Unknown, Expiry::At),
            None => {
                self.problem(field, "is missing; say never, at a time, or unknown");
                Expiry::Unknown
            }
        }
    }

    fn fact(&mut self, fact: &pb::event::Fact) -> Fact {
        use pb::event::Fact as M;
        match fact {
            M::LedgerCreated(m) => Fact::LedgerCreated { name: self.text("ledger_created.name", &m.name) },
            M::AccountCreated(_)
            | M::AccountUpdated(_)
            | M::OwnershipTransferred(_)
            | M::AccountDisabled(_)
            | M::AccountEnabled(_)
            | M::AccountDeleted(_)
            | M::AccountRestored(_)
            | M::LegacyImported(_) => self.account_fact(fact),
            M::TokenIssued(_)
            | M::TokenRotated(_)
            | M::TokenExpired(_)
            | M::TokenRevoked(_)
            | M::TokenReinstated(_)
            | M::TokenUsed(_) => self.token_fact(fact),
            M::GrantAdded(_)
            | M::GrantChanged(_)
            | M::GrantRemoved(_)
            | M::EnforcementChanged(_)
            | M::ConsumerDeclared(_)
            | M::ConsumerReleased(_) => self.grant_fact(fact),
            M::RunStarted(_) | M::RunFinished(_) | M::PolicyChanged(_) | M::RolloutStageChanged(_) => {
                self.job_fact(fact)
            }
            M::DeletionRequested(_)
            | M::DeletionApproved(_)
            | M::DeletionRejected(_)
            | M::RequestRefused(_)
            | M::RestorePlanned(_)
            | M::RestoreApproved(_)
            | M::RestoreCompleted(_) => self.request_fact(fact),
            M::KeyRotated(m) => Fact::KeyRotated {
                note: self.signed_note("key_rotated.note", &m.note, Rotation::parse(&m.note).is_ok()),
            },
            M::CheckpointOverridden(m) => Fact::CheckpointOverridden {
                source: self.text("checkpoint_overridden.source", &m.source),
                note: self.signed_note(
                    "checkpoint_overridden.note",
                    &m.note,
                    Known::read(m.note.as_bytes()).is_ok(),
                ),
            },
        }
    }

    fn account_fact(&mut self, fact: &pb::event::Fact) -> Fact {
        use pb::event::Fact as M;
        match fact {
            M::AccountCreated(m) => Fact::AccountCreated {
                kind: self.account_kind("account_created.kind", m.kind),
                handle: self.text("account_created.handle", &m.handle),
                owner: self.optional("account_created.owner", &m.owner),
                namespace: self.optional("account_created.namespace", &m.namespace),
                environment: self.optional("account_created.environment", &m.environment),
                protected: m.protected,
                attributes: self.attributes("account_created.attributes", &m.attributes),
            },
            M::AccountUpdated(m) => Fact::AccountUpdated {
                handle: m.handle.as_ref().map(|h| self.text("account_updated.handle", h)),
                namespace: self.change("account_updated.namespace", m.namespace.as_ref()),
                environment: self.change("account_updated.environment", m.environment.as_ref()),
                protected: m.protected,
                attributes_set: self.attributes("account_updated.attributes_set", &m.attributes_set),
                attributes_removed: self.list("account_updated.attributes_removed", &m.attributes_removed),
            },
            M::OwnershipTransferred(m) => {
                Fact::OwnershipTransferred { owner: self.optional("ownership_transferred.owner", &m.owner) }
            }
            M::AccountDisabled(_) => Fact::AccountDisabled,
            M::AccountEnabled(_) => Fact::AccountEnabled,
            M::AccountDeleted(m) => Fact::AccountDeleted {
                retain_until: self.time("account_deleted.retain_until", m.retain_until.as_ref()),
            },
            M::AccountRestored(m) => self.account_restored(m),
            M::LegacyImported(m) => Fact::LegacyImported {
                kind: self.account_kind("legacy_imported.kind", m.kind),
                handle: self.text("legacy_imported.handle", &m.handle),
                source: self.text("legacy_imported.source", &m.source),
                namespace: self.optional("legacy_imported.namespace", &m.namespace),
            },
            _ => Fact::Opaque,
        }
    }

    fn account_restored(&mut self, m: &pb::AccountRestored) -> Fact {
        Fact::AccountRestored {
            plan: self.optional_uuid("account_restored.plan", &m.plan),
            incarnation: m.incarnation,
            digest_before: self.optional_digest("account_restored.digest_before", &m.digest_before),
            digest_after: self.optional_digest("account_restored.digest_after", &m.digest_after),
            differences: m
                .differences
                .iter()
                .map(|d| Difference {
                    what: self.text::<Text>("account_restored.differences.what", &d.what).to_string(),
                    reason: self.text::<Text>("account_restored.differences.reason", &d.reason).to_string(),
                    detail: self
                        .note("account_restored.differences.detail", &d.detail)
                        .map_or_else(String::new, |t| t.to_string()),
                })
                .collect(),
        }
    }

    fn token_fact(&mut self, fact: &pb::event::Fact) -> Fact {
        use pb::event::Fact as M;
        match fact {
            M::TokenIssued(m) => Fact::TokenIssued(self.inside("token_issued", |fields| fields.issued(m))),
            M::TokenRotated(m) => Fact::TokenRotated {
                old: self.text("token_rotated.old_token", &m.old_token),
                new: self.inside("token_rotated.new_token", |fields| match &m.new_token {
                    Some(new) => fields.issued(new),
                    None => fields.issued(&pb::TokenIssued::default()),
                }),
                overlap_until: self.time("token_rotated.overlap_until", m.overlap_until.as_ref()),
            },
            M::TokenExpired(m) => Fact::TokenExpired { token: self.text("token_expired.token", &m.token) },
            M::TokenRevoked(m) => Fact::TokenRevoked {
                token: self.text("token_revoked.token", &m.token),
                reason: match self.named("token_revoked.reason", m.reason) {
                    pb::RevocationReason::Unspecified => RevocationReason::Unspecified,
                    pb::RevocationReason::Superseded => RevocationReason::Superseded,
                    pb::RevocationReason::Unused => RevocationReason::Unused,
                    pb::RevocationReason::Leaked => RevocationReason::Leaked,
                    pb::RevocationReason::AccountDeleted => RevocationReason::AccountDeleted,
                },
            },
            M::TokenReinstated(m) => Fact::TokenReinstated {
                token: self.text("token_reinstated.token", &m.token),
                plan: self.optional_uuid("token_reinstated.plan", &m.plan),
            },
            M::TokenUsed(m) => Fact::TokenUsed {
                token: self.text("token_used.token", &m.token),
                uses: m.uses.max(1),
                consumer: self.optional("token_used.consumer", &m.consumer),
            },
            _ => Fact::Opaque,
        }
    }

    fn grant_fact(&mut self, fact: &pb::event::Fact) -> Fact {
        use pb::event::Fact as M;
        match fact {
            M::GrantAdded(m) => Fact::GrantAdded {
                grant: self.text("grant_added.grant", &m.grant),
                resource: self.optional("grant_added.resource", &m.resource),
                access: self.optional("grant_added.access", &m.access),
                expires_at: self.time("grant_added.expires_at", m.expires_at.as_ref()),
            },
            M::GrantChanged(m) => Fact::GrantChanged {
                grant: self.text("grant_changed.grant", &m.grant),
                access: self.change("grant_changed.access", m.access.as_ref()),
                expires_at: self.time("grant_changed.expires_at", m.expires_at.as_ref()),
            },
            M::GrantRemoved(m) => Fact::GrantRemoved { grant: self.text("grant_removed.grant", &m.grant) },
            M::EnforcementChanged(m) => Fact::EnforcementChanged {
                rule: self.text("enforcement_changed.rule", &m.rule),
                enforced: m.enforced,
            },
            M::ConsumerDeclared(m) => Fact::ConsumerDeclared {
                consumer: self.text("consumer_declared.consumer", &m.consumer),
                component: self.optional("consumer_declared.component", &m.component),
                location: self.optional("consumer_declared.location", &m.location),
                environment: self.optional("consumer_declared.environment", &m.environment),
                token: self.optional("consumer_declared.token", &m.token),
            },
            M::ConsumerReleased(m) => {
                Fact::ConsumerReleased { consumer: self.text("consumer_released.consumer", &m.consumer) }
            }
            _ => Fact::Opaque,
        }
    }

    fn job_fact(&mut self, fact: &pb::event::Fact) -> Fact {
        use pb::event::Fact as M;
        match fact {
            M::RunStarted(m) => Fact::RunStarted {
                run: self.text("run_started.run", &m.run),
                job: self.text("run_started.job", &m.job),
            },
            M::RunFinished(m) => Fact::RunFinished {
                run: self.text("run_finished.run", &m.run),
                succeeded: m.succeeded,
                accounts_changed: m.accounts_changed,
            },
            M::PolicyChanged(m) => Fact::PolicyChanged {
                namespace: self.optional("policy_changed.namespace", &m.namespace),
                mode: match self.named("policy_changed.mode", m.mode) {
                    pb::PolicyMode::Observe => PolicyMode::Observe,
                    pb::PolicyMode::Enforce => PolicyMode::Enforce,
                    pb::PolicyMode::Unspecified => {
                        self.problem("policy_changed.mode", "is missing; use observe or enforce");
                        PolicyMode::Observe
                    }
                },
            },
            M::RolloutStageChanged(m) => Fact::RolloutStageChanged {
                job: self.text("rollout_stage_changed.job", &m.job),
                stage: self.stage(m.stage.as_ref()),
                approved_by: m
                    .approved_by
                    .as_ref()
                    .map(|a| self.inside("rollout_stage_changed.approved_by", |fields| fields.actor(a))),
            },
            _ => Fact::Opaque,
        }
    }

    fn stage(&mut self, stage: Option<&pb::rollout_stage_changed::Stage>) -> RolloutStage {
        use pb::rollout_stage_changed::Stage as M;
        match stage {
            Some(M::Off(_)) => RolloutStage::Off,
            Some(M::DryRun(_)) => RolloutStage::DryRun,
            Some(M::Namespaces(n)) => {
                RolloutStage::Namespaces(self.list("rollout_stage_changed.namespaces.names", &n.names))
            }
            Some(M::Percentage(p)) if (1..=99).contains(p) => RolloutStage::Percentage(*p),
            Some(M::Percentage(_)) => {
                self.problem("rollout_stage_changed.percentage", "must be 1 to 99; use everywhere for all");
                RolloutStage::Off
            }
            Some(M::Everywhere(_)) => RolloutStage::Everywhere,
            None => {
                self.problem("rollout_stage_changed.stage", "is missing; say how far the job may go");
                RolloutStage::Off
            }
        }
    }

    fn request_fact(&mut self, fact: &pb::event::Fact) -> Fact {
        use pb::event::Fact as M;
        match fact {
            M::DeletionRequested(m) => Fact::DeletionRequested {
                request: self.text("deletion_requested.request", &m.request),
                accounts: self.list("deletion_requested.accounts", &m.accounts),
                expires_at: self.time("deletion_requested.expires_at", m.expires_at.as_ref()),
            },
            M::DeletionApproved(m) => {
                Fact::DeletionApproved { request: self.text("deletion_approved.request", &m.request) }
            }
            M::DeletionRejected(m) => Fact::DeletionRejected {
                request: self.text("deletion_rejected.request", &m.request),
                reason: self.note("deletion_rejected.reason", &m.reason),
            },
            M::RequestRefused(m) => Fact::RequestRefused {
                refused_event_id: self.uuid("request_refused.refused_event_id", &m.refused_event_id),
                refused_emitter: self.emitter("request_refused.refused_emitter", &m.refused_emitter),
                refused_kind: self.text("request_refused.refused_kind", &m.refused_kind),
                refused_account: self.optional("request_refused.refused_account", &m.refused_account),
                violations: m.violations.iter().map(|v| self.violation(v)).collect(),
                evidence: m.evidence.iter().map(|e| self.own_text("request_refused.evidence", e)).collect(),
            },
            M::RestorePlanned(m) => Fact::RestorePlanned {
                plan: self.uuid("restore_planned.plan", &m.plan),
                hash: self.hash("restore_planned.hash", &m.hash),
                pinned: Position(m.pinned_position),
                accounts: self.list("restore_planned.accounts", &m.accounts),
                window_seconds: m.window_seconds,
            },
            M::RestoreApproved(m) => Fact::RestoreApproved {
                plan: self.uuid("restore_approved.plan", &m.plan),
                hash: self.hash("restore_approved.hash", &m.hash),
            },
            M::RestoreCompleted(m) => Fact::RestoreCompleted {
                plan: self.uuid("restore_completed.plan", &m.plan),
                hash: self.hash("restore_completed.hash", &m.hash),
                restored: m.restored,
                not_restored: m.not_restored.iter().map(|n| self.not_restored(n)).collect(),
            },
            _ => Fact::Opaque,
        }
    }

    fn not_restored(&mut self, m: &pb::restore_completed::NotRestored) -> NotRestored {
        NotRestored {
            account: self.text("restore_completed.not_restored.account", &m.account),
            outcome: match self.named("restore_completed.not_restored.outcome", m.outcome) {
                pb::RestoreOutcome::Restored => RestoreOutcome::Restored,
                pb::RestoreOutcome::AlreadyLive => RestoreOutcome::AlreadyLive,
                pb::RestoreOutcome::Refused | pb::RestoreOutcome::Unspecified => RestoreOutcome::Refused,
            },
            reason: self.own_text("restore_completed.not_restored.reason", &m.reason),
        }
    }
}
