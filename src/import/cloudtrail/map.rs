//! From one successful call to one event.
//!
//! | call | event | id |
//! |---|---|---|
//! | access keys, sessions of STS | tokens | their access key id; `event/{event id}` where the record holds none |
//! | login profile (the password of a user) | token | `login-profile` |
//! | managed policy, inline policy, group | grants | `policy/{ARN}`, `inline-policy/{name}`, `group/{name}` |
//! | instance profile | consumer of the role | `instance-profile/{name}` |

use std::collections::BTreeMap;

use ledger::event::{
    BadText, Cause, ConsumerId, Event, Expiry, Fact, GrantId, Handle, Invalid, IssuedToken, RequestId,
    RevocationReason, Text, TokenId, parse, to_message,
};
use ledger::types::{BadName, Emitter, NotATime, Time};
use uuid::Uuid;

use super::call::Call;
use super::caller::{Principal, Subject, joined};
use super::expiration;
use super::record::{Record, Word};

/// The id of the token that stands for a user's password.
pub(super) const LOGIN_PROFILE: &str = "login-profile";

/// Name space of the UUIDs made of event ids that are none themselves.
const EVENT_IDS: Uuid = Uuid::from_u128(0x4d0f_7c1e_93b2_4c55_9a36_1f0d_62c8_ae71);

/// A call as an event.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) event: Event,
    pub(super) subject: Subject,
    /// Among calls of the same second; see [`rank`].
    pub(super) rank: u8,
}

/// Why a call that succeeded cannot be recorded. Names the field, holds no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unmappable {
    /// The mapping needs this field.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// There is nobody whom the call could be about.
    #[error("names no account, and its caller has none")]
    NoSubject,
    /// The ledger would refuse this field.
    #[error("field `{0}` {1}")]
    Text(&'static str, BadText),
    /// The AWS account cannot be part of an emitter's name.
    #[error("field `recipientAccountId`: {0}")]
    Emitter(#[from] BadName),
    /// The event's time.
    #[error("field `eventTime` is {0}")]
    Time(#[from] NotATime),
    /// The ledger would refuse the event.
    #[error("{0}")]
    Invalid(#[from] Invalid),
}

/// The id of a record's event: CloudTrail's own, or, where that is no UUID, the UUIDv5 of it.
pub(super) fn event_id(record: &Record) -> Option<Uuid> {
    let id = record.event_id.get()?;
    Some(Uuid::try_parse(id).unwrap_or_else(|_| Uuid::new_v5(&EVENT_IDS, id.as_bytes())))
}

/// Maps a call that succeeded; `None` where it changed nothing that the ledger records.
pub(super) fn map(call: Call, record: &Record) -> Result<Option<Mapped>, Unmappable> {
    let event_id = event_id(record).ok_or(Unmappable::Missing("eventID"))?;
    let occurred_at = need(&record.event_time, "eventTime")?.parse()?;
    if call == Call::UpdateAccessKey && !matches!(key_status(record)?, "Active" | "Inactive") {
        return Ok(None);
    }
    let subject = subject(call, record)?;
    let event = Event {
        event_id,
        emitter: emitter(record, &subject)?,
        emitter_sequence: None,
        occurred_at,
        actor: record.user_identity.actor().map_err(|e| Unmappable::Text("userIdentity", e))?,
        cause: cause(record)?,
        account: Some(subject.account().map_err(|e| Unmappable::Text("requestParameters", e))?),
        fact: fact(call, record, &subject, (event_id, occurred_at))?,
    };
    // What is sent must not fail at the ledger's door for a reason that could be named here, with file and record.
    let event = parse(&to_message(&event))?;
    Ok(Some(Mapped { rank: rank(&event.fact), event, subject }))
}

/// The order of calls of the same second (CloudTrail does not say it finer): what an account needs comes first.
fn rank(fact: &Fact) -> u8 {
    match fact {
        Fact::AccountCreated { .. } => 0,
        Fact::AccountUpdated { .. } => 1,
        Fact::TokenRevoked { .. } | Fact::GrantRemoved { .. } | Fact::ConsumerReleased { .. } => 3,
        Fact::AccountDeleted { .. } => 4,
        _ => 2,
    }
}

fn need<'r>(word: &'r Word, field: &'static str) -> Result<&'r str, Unmappable> {
    word.get().ok_or(Unmappable::Missing(field))
}

fn text<T: From<Text>>(text: &str, field: &'static str) -> Result<T, Unmappable> {
    Text::new(text).map(T::from).map_err(|e| Unmappable::Text(field, e))
}

/// An id `{kind}/{name}`.
fn named<T: From<Text>>(kind: &str, name: &Word, field: &'static str) -> Result<T, Unmappable> {
    joined(&[kind, need(name, field)?], "/").map(T::from).map_err(|e| Unmappable::Text(field, e))
}

/// The AWS account whose trail this is.
fn aws(record: &Record) -> Option<&str> {
    record.recipient_account_id.get().or_else(|| record.user_identity.aws())
}

fn emitter(record: &Record, subject: &Subject) -> Result<Emitter, Unmappable> {
    Ok(format!("cloudtrail/{}", aws(record).unwrap_or(&subject.aws)).parse()?)
}

fn cause(record: &Record) -> Result<Cause, Unmappable> {
    let request: Option<RequestId> = record.request_id.get().map(|id| text(id, "requestID")).transpose()?;
    Ok(Cause { request, ..Cause::default() })
}

/// Whom a call is about. A role that is assumed lives in the account of its ARN, which may be another than the trail's.
fn subject(call: Call, record: &Record) -> Result<Subject, Unmappable> {
    let caller = || record.user_identity.subject().ok_or(Unmappable::NoSubject);
    let aws = || aws(record).ok_or(Unmappable::Missing("recipientAccountId"));
    let parameters = &record.request_parameters;
    match (call, call.principal()) {
        (Call::AssumeRole, _) => assumed(record),
        (Call::GetToken, _) => caller(),
        (_, Principal::Role) => {
            Ok(Subject::role(aws()?, need(&parameters.role_name, "requestParameters.roleName")?))
        }
        (Call::Create(_), Principal::User) => {
            let name = parameters.user_name.get().or_else(|| record.response_elements.user.name.get());
            Ok(Subject::user(aws()?, name.ok_or(Unmappable::Missing("requestParameters.userName"))?))
        }
        (_, Principal::User) => match parameters.user_name.get() {
            Some(name) => Ok(Subject::user(aws()?, name)),
            None => caller(),
        },
    }
}

fn assumed(record: &Record) -> Result<Subject, Unmappable> {
    let asked = record.request_parameters.role_arn.get().and_then(Subject::of_role_arn);
    let given = || record.response_elements.assumed_role_user.arn.get().and_then(Subject::of_session_arn);
    asked.or_else(given).ok_or(Unmappable::Missing("requestParameters.roleArn"))
}

fn fact(call: Call, record: &Record, subject: &Subject, (id, at): (Uuid, Time)) -> Result<Fact, Unmappable> {
    Ok(match call {
        Call::Create(principal) => created(principal, subject, record)?,
        Call::Update(principal) => updated(principal, record)?,
        Call::UpdateTrust => happened("trust_policy_updated_at", at)?,
        Call::UpdateLoginProfile => happened("login_profile_updated_at", at)?,
        Call::Delete(_) => Fact::AccountDeleted { retain_until: None },
        Call::CreateAccessKey => {
            let key = &record.response_elements.access_key.access_key_id;
            issued(key, "responseElements.accessKey.accessKeyId", Expiry::Never, id)?
        }
        Call::CreateLoginProfile => token_issued(text(LOGIN_PROFILE, "eventName")?, Expiry::Never),
        Call::AssumeRole | Call::GetToken => session_issued(record, id)?,
        Call::UpdateAccessKey if key_status(record)? == "Active" => {
            Fact::TokenReinstated { token: key_id(record)?, plan: None }
        }
        Call::UpdateAccessKey | Call::DeleteAccessKey => revoked(key_id(record)?),
        Call::DeleteLoginProfile => revoked(text(LOGIN_PROFILE, "eventName")?),
        Call::AttachPolicy(_) | Call::PutPolicy(_) | Call::AddToGroup => {
            Fact::GrantAdded { grant: grant(call, record)?, resource: None, access: None, expires_at: None }
        }
        Call::DetachPolicy(_) | Call::DeletePolicy(_) | Call::RemoveFromGroup => {
            Fact::GrantRemoved { grant: grant(call, record)? }
        }
        Call::AddToInstanceProfile => Fact::ConsumerDeclared {
            consumer: instance_profile(record)?,
            component: Some(text("instance-profile", "eventName")?),
            location: None,
            environment: None,
            token: None,
        },
        Call::RemoveFromInstanceProfile => Fact::ConsumerReleased { consumer: instance_profile(record)? },
    })
}

fn grant(call: Call, record: &Record) -> Result<GrantId, Unmappable> {
    let parameters = &record.request_parameters;
    match call {
        Call::AttachPolicy(_) | Call::DetachPolicy(_) => {
            named("policy", &parameters.policy_arn, "requestParameters.policyArn")
        }
        Call::AddToGroup | Call::RemoveFromGroup => {
            named("group", &parameters.group_name, "requestParameters.groupName")
        }
        _ => named("inline-policy", &parameters.policy_name, "requestParameters.policyName"),
    }
}

fn instance_profile(record: &Record) -> Result<ConsumerId, Unmappable> {
    let name = &record.request_parameters.instance_profile_name;
    named("instance-profile", name, "requestParameters.instanceProfileName")
}

fn key_id(record: &Record) -> Result<TokenId, Unmappable> {
    const FIELD: &str = "requestParameters.accessKeyId";
    text(need(&record.request_parameters.access_key_id, FIELD)?, FIELD)
}

fn revoked(token: TokenId) -> Fact {
    Fact::TokenRevoked { token, reason: RevocationReason::Unspecified }
}

/// A key may also be set to a status that is neither `Active` nor `Inactive`; nothing is known of what that means.
fn key_status(record: &Record) -> Result<&str, Unmappable> {
    need(&record.request_parameters.status, "requestParameters.status")
}

fn session_issued(record: &Record, id: Uuid) -> Result<Fact, Unmappable> {
    let credentials = &record.response_elements.credentials;
    let expiry = credentials.expiration.get().and_then(expiration::parse).map_or(Expiry::Unknown, Expiry::At);
    issued(&credentials.access_key_id, "responseElements.credentials.accessKeyId", expiry, id)
}

fn issued(key: &Word, field: &'static str, expiry: Expiry, id: Uuid) -> Result<Fact, Unmappable> {
    // That a token was issued is the fact; CloudTrail leaves out the answer where it is too large or not its to show.
    let token = key.get().map_or_else(|| format!("event/{id}"), str::to_owned);
    Ok(token_issued(text(&token, field)?, expiry))
}

fn token_issued(token: TokenId, expiry: Expiry) -> Fact {
    // No digest: the source gives none, and one of an id or a session token would be a lie or a leak.
    Fact::TokenIssued(IssuedToken { token, digest: None, family: None, scopes: Vec::new(), expiry })
}

/// A change that CloudTrail tells without its content, or whose content is too large: that it happened, and when.
fn happened(attribute: &str, at: Time) -> Result<Fact, Unmappable> {
    Ok(changed(None, BTreeMap::from([(text(attribute, "eventName")?, at.to_string())])))
}

fn changed(handle: Option<Handle>, attributes_set: BTreeMap<Text, String>) -> Fact {
    Fact::AccountUpdated {
        handle,
        namespace: None,
        environment: None,
        protected: None,
        attributes_set,
        attributes_removed: Vec::new(),
    }
}

fn updated(principal: Principal, record: &Record) -> Result<Fact, Unmappable> {
    let parameters = &record.request_parameters;
    match principal {
        Principal::User => {
            let handle = parameters.new_user_name.get();
            let handle = handle.map(|name| text(name, "requestParameters.newUserName")).transpose()?;
            Ok(changed(handle, attributes(&[("path", &parameters.new_path)])?))
        }
        Principal::Role => {
            Ok(changed(None, attributes(&[("max_session_seconds", &parameters.max_session_duration)])?))
        }
    }
}

fn created(principal: Principal, subject: &Subject, record: &Record) -> Result<Fact, Unmappable> {
    let (response, name) = match principal {
        Principal::User => (&*record.response_elements.user, "requestParameters.userName"),
        Principal::Role => (&*record.response_elements.role, "requestParameters.roleName"),
    };
    Ok(Fact::AccountCreated {
        kind: principal.account_kind(),
        handle: subject.handle().map_err(|e| Unmappable::Text(name, e))?,
        owner: None,
        namespace: Some(subject.namespace().map_err(|e| Unmappable::Text("recipientAccountId", e))?),
        environment: None,
        protected: false,
        // Where AWS has the account, and the id that is its alone: a name may be used again, that id never. Tags and
        // descriptions stay out: people write secrets into them.
        attributes: attributes(&[
            ("arn", &response.arn),
            ("path", &response.path),
            ("unique_id", &response.id),
        ])?,
    })
}

fn attributes(words: &[(&str, &Word)]) -> Result<BTreeMap<Text, String>, Unmappable> {
    let given = words.iter().filter_map(|(key, word)| Some((key, word.get()?)));
    given.map(|(key, value)| Ok((text(key, "eventName")?, value.to_owned()))).collect()
}
