//! The JSON form of what happened: `{"kind":"TokenIssued","data":{…}}`, fields named as in `events.proto`.

use std::collections::BTreeMap;

use ledger::event::{
    AccountId, AccountKind, Actor, ConsumerId, Difference, Fact, GrantId, Handle, IssuedToken, Kind,
    Namespace, NotRestored, PolicyMode, RequestId, RevocationReason, RolloutStage, RunId, Text, TokenId,
    Violation,
};
use ledger::types::{AccountDigest, Emitter, Position, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::forms::{
    AccountKindForm, IssuedTokenForm, PolicyModeForm, RevocationReasonForm, RolloutStageForm, change,
    differences, hash, maybe_actor, maybe_digest, maybe_time, not_restored, violations,
};

/// The `data` of a fact; null where the kind says it all.
pub(super) fn data_of(fact: &Fact) -> Value {
    let to = serde_json::value::Serializer;
    // Facts hold texts, numbers and lists of them, which JSON always can.
    if let Fact::TokenIssued(token) = fact {
        return IssuedTokenForm::serialize(token, to).unwrap_or_default();
    }
    match FactForm::serialize(fact, to) {
        Ok(Value::Object(mut tagged)) => tagged.remove("data").unwrap_or_default(),
        _ => Value::Null,
    }
}

/// The fact of a kind with this `data`; where all its fields may be left out, `data` may be, too.
pub(super) fn fact_of(kind: Kind, data: Value) -> Result<Fact, serde_json::Error> {
    let says_it_all = matches!(kind, Kind::AccountDisabled | Kind::AccountEnabled | Kind::Opaque);
    let data = if data.is_null() && !says_it_all { Value::Object(serde_json::Map::new()) } else { data };
    if kind == Kind::TokenIssued {
        return IssuedTokenForm::deserialize(data).map(Fact::TokenIssued);
    }
    let mut tagged = serde_json::Map::from_iter([("kind".to_owned(), Value::from(kind.name()))]);
    if !data.is_null() {
        tagged.insert("data".to_owned(), data);
    }
    FactForm::deserialize(Value::Object(tagged))
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Fact", tag = "kind", content = "data", deny_unknown_fields)]
enum FactForm {
    LedgerCreated {
        name: Text,
    },
    AccountCreated {
        #[serde(with = "AccountKindForm")]
        kind: AccountKind,
        handle: Handle,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<AccountId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<Namespace>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        environment: Option<Text>,
        #[serde(default)]
        protected: bool,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        attributes: BTreeMap<Text, String>,
    },
    AccountUpdated {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handle: Option<Handle>,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "change")]
        namespace: Option<Option<Namespace>>,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "change")]
        environment: Option<Option<Text>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        protected: Option<bool>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        attributes_set: BTreeMap<Text, String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attributes_removed: Vec<Text>,
    },
    OwnershipTransferred {
        #[serde(default)]
        owner: Option<AccountId>,
    },
    AccountDisabled,
    AccountEnabled,
    AccountDeleted {
        #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_time")]
        retain_until: Option<Time>,
    },
    AccountRestored {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Uuid>,
        incarnation: u32,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_digest")]
        digest_before: Option<AccountDigest>,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_digest")]
        digest_after: Option<AccountDigest>,
        #[serde(default, with = "differences")]
        differences: Vec<Difference>,
    },
    LegacyImported {
        #[serde(with = "AccountKindForm")]
        kind: AccountKind,
        handle: Handle,
        source: Text,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<Namespace>,
    },
    /// Has a form of its own, [`IssuedTokenForm`]: see [`data_of`] and [`fact_of`].
    #[serde(skip)]
    TokenIssued(IssuedToken),
    TokenRotated {
        #[serde(rename = "old_token")]
        old: TokenId,
        #[serde(rename = "new_token", with = "IssuedTokenForm")]
        new: IssuedToken,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_time")]
        overlap_until: Option<Time>,
    },
    TokenExpired {
        token: TokenId,
    },
    TokenRevoked {
        token: TokenId,
        #[serde(with = "RevocationReasonForm")]
        reason: RevocationReason,
    },
    TokenReinstated {
        token: TokenId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Uuid>,
    },
    TokenUsed {
        token: TokenId,
        uses: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consumer: Option<ConsumerId>,
    },
    GrantAdded {
        grant: GrantId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource: Option<Text>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        access: Option<Text>,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_time")]
        expires_at: Option<Time>,
    },
    GrantChanged {
        grant: GrantId,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "change")]
        access: Option<Option<Text>>,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_time")]
        expires_at: Option<Time>,
    },
    GrantRemoved {
        grant: GrantId,
    },
    EnforcementChanged {
        rule: Text,
        enforced: bool,
    },
    ConsumerDeclared {
        consumer: ConsumerId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        component: Option<Text>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        location: Option<Text>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        environment: Option<Text>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<TokenId>,
    },
    ConsumerReleased {
        consumer: ConsumerId,
    },
    RunStarted {
        run: RunId,
        job: Text,
    },
    RunFinished {
        run: RunId,
        succeeded: bool,
        accounts_changed: u64,
    },
    PolicyChanged {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<Namespace>,
        #[serde(with = "PolicyModeForm")]
        mode: PolicyMode,
    },
    RolloutStageChanged {
        job: Text,
        #[serde(with = "RolloutStageForm")]
        stage: RolloutStage,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_actor")]
        approved_by: Option<Actor>,
    },
    DeletionRequested {
        request: RequestId,
        accounts: Vec<AccountId>,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_time")]
        expires_at: Option<Time>,
    },
    DeletionApproved {
        request: RequestId,
    },
    DeletionRejected {
        request: RequestId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
    },
    RequestRefused {
        refused_event_id: Uuid,
        refused_emitter: Emitter,
        refused_kind: Text,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused_account: Option<AccountId>,
        #[serde(with = "violations")]
        violations: Vec<Violation>,
        evidence: Vec<String>,
    },
    RestorePlanned {
        plan: Uuid,
        #[serde(with = "hash")]
        hash: [u8; 32],
        #[serde(rename = "pinned_position")]
        pinned: Position,
        accounts: Vec<AccountId>,
        window_seconds: u32,
    },
    RestoreApproved {
        plan: Uuid,
        #[serde(with = "hash")]
        hash: [u8; 32],
    },
    RestoreCompleted {
        plan: Uuid,
        #[serde(with = "hash")]
        hash: [u8; 32],
        restored: u32,
        #[serde(with = "not_restored")]
        not_restored: Vec<NotRestored>,
    },
    KeyRotated {
        note: String,
    },
    CheckpointOverridden {
        source: Text,
        note: String,
    },
    Opaque,
}
