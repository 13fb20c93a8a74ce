//! The JSON forms of the small parts of an event. Each is derived against the ledger's own type, so that a field that
//! is added there and forgotten here does not compile.

use ledger::event::{
    AccountId, AccountKind, Actor, ActorKind, Annotations, Cause, Difference, Expiry, FamilyId, IssuedToken,
    Namespace, NotRestored, PolicyMode, RequestId, RestoreOutcome, RevocationReason, RolloutStage, RunId,
    Text, TokenDigest, TokenId, Violation,
};
use ledger::types::AccountDigest;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(remote = "ActorKind", rename_all = "snake_case")]
pub(super) enum ActorKindForm {
    Unknown,
    Human,
    Automation,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Actor", deny_unknown_fields)]
pub(super) struct ActorForm {
    #[serde(with = "ActorKindForm")]
    kind: ActorKind,
    id: Text,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Cause", deny_unknown_fields)]
pub(super) struct CauseForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<RequestId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation_id: Option<Text>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Annotations", deny_unknown_fields)]
pub(super) struct AnnotationsForm {
    late: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "violations")]
    violations: Vec<Violation>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_digest")]
    digest_before: Option<AccountDigest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    active_tokens: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Violation", deny_unknown_fields)]
pub(super) struct ViolationForm {
    rule: String,
    message: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Difference", deny_unknown_fields)]
pub(super) struct DifferenceForm {
    what: String,
    reason: String,
    detail: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "NotRestored", deny_unknown_fields)]
pub(super) struct NotRestoredForm {
    account: AccountId,
    #[serde(with = "RestoreOutcomeForm")]
    outcome: RestoreOutcome,
    reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RestoreOutcome", rename_all = "snake_case")]
pub(super) enum RestoreOutcomeForm {
    Restored,
    AlreadyLive,
    Refused,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AccountKind", rename_all = "snake_case")]
pub(super) enum AccountKindForm {
    Bot,
    Service,
    Human,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RevocationReason", rename_all = "snake_case")]
pub(super) enum RevocationReasonForm {
    Unspecified,
    Superseded,
    Unused,
    Leaked,
    AccountDeleted,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PolicyMode", rename_all = "snake_case")]
pub(super) enum PolicyModeForm {
    Observe,
    Enforce,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RolloutStage", rename_all = "snake_case")]
pub(super) enum RolloutStageForm {
    Off,
    DryRun,
    Namespaces(Vec<Namespace>),
    Percentage(u32),
    Everywhere,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "IssuedToken", deny_unknown_fields)]
pub(super) struct IssuedTokenForm {
    token: TokenId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<TokenDigest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    family: Option<FamilyId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<Text>,
    #[serde(with = "expiry")]
    expiry: Expiry,
}

/// RFC 3339.
pub(super) mod time {
    use ledger::types::Time;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::json) fn serialize<S: Serializer>(time: &Time, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(time)
    }

    pub(in crate::json) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// RFC 3339, or null.
pub(super) mod maybe_time {
    use ledger::types::Time;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::json) fn serialize<S: Serializer>(time: &Option<Time>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.collect_str(time),
            None => to.serialize_none(),
        }
    }

    pub(in crate::json) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Time>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

/// `never`, `unknown`, or RFC 3339.
mod expiry {
    use ledger::event::Expiry;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(expiry: &Expiry, to: S) -> Result<S::Ok, S::Error> {
        match expiry {
            Expiry::Never => to.serialize_str("never"),
            Expiry::Unknown => to.serialize_str("unknown"),
            Expiry::At(time) => to.collect_str(time),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Expiry, D::Error> {
        match String::deserialize(from)?.as_str() {
            "never" => Ok(Expiry::Never),
            "unknown" => Ok(Expiry::Unknown),
            time => time.parse().map(Expiry::At).map_err(|_| {
                D::Error::custom("field `expiry` is neither never, unknown nor a time in RFC 3339")
            }),
        }
    }
}

/// 32 bytes in hex.
pub(super) mod hash {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::json) fn serialize<S: Serializer>(hash: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(hash))
    }

    pub(in crate::json) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        parse(&String::deserialize(from)?).ok_or_else(|| D::Error::custom(EXPECTED))
    }

    pub(super) const EXPECTED: &str = "a hash is not 64 digits in hex";

    pub(super) fn parse(text: &str) -> Option<[u8; 32]> {
        hex::decode(text).ok()?.try_into().ok()
    }
}

/// The digest of an account in hex, or null.
pub(super) mod maybe_digest {
    use ledger::types::AccountDigest;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::json) fn serialize<S: Serializer>(
        digest: &Option<AccountDigest>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => to.collect_str(digest),
            None => to.serialize_none(),
        }
    }

    pub(in crate::json) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<AccountDigest>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let digest = |text: String| super::hash::parse(&text).map(AccountDigest);
        text.map(|text| digest(text).ok_or_else(|| D::Error::custom(super::hash::EXPECTED))).transpose()
    }
}

/// A change: absent where nothing changes, null where the value is taken away.
pub(super) mod change {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::json) fn serialize<T: Serialize, S: Serializer>(
        change: &Option<Option<T>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        change.as_ref().and_then(Option::as_ref).serialize(to)
    }

    pub(in crate::json) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::deserialize(from).map(Some)
    }
}

/// Who, or null.
pub(super) mod maybe_actor {
    use super::{Actor, ActorForm, Deserialize, Serialize};
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Who(#[serde(with = "ActorForm")] Actor);

    pub(in crate::json) fn serialize<S: Serializer>(actor: &Option<Actor>, to: S) -> Result<S::Ok, S::Error> {
        actor.clone().map(Who).serialize(to)
    }

    pub(in crate::json) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Actor>, D::Error> {
        Ok(Option::<Who>::deserialize(from)?.map(|who| who.0))
    }
}

/// Lists whose items have a form.
macro_rules! list {
    ($(#[$doc:meta])* $name:ident: $item:ident as $form:literal) => {
        $(#[$doc])*
        pub(super) mod $name {
            use super::*;
            use serde::{Deserializer, Serializer};

            #[derive(Serialize, Deserialize)]
            struct Item(#[serde(with = $form)] $item);

            pub(in crate::json) fn serialize<S: Serializer>(items: &[$item], to: S) -> Result<S::Ok, S::Error> {
                to.collect_seq(items.iter().cloned().map(Item))
            }

            pub(in crate::json) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<Vec<$item>, D::Error> {
                Ok(Vec::<Item>::deserialize(from)?.into_iter().map(|item| item.0).collect())
            }
        }
    };
}

list! {
    /// Broken rules.
    violations: Violation as "ViolationForm"
}
list! {
    /// What did not come back as it was.
    differences: Difference as "DifferenceForm"
}
list! {
    /// Accounts that did not come back.
    not_restored: NotRestored as "NotRestoredForm"
}
