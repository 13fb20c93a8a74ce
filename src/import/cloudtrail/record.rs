//! What is kept of a record while it is read: the few fields that a mapping needs. What has no place here, such as
//! `responseElements.credentials.sessionToken` or `secretAccessKey`, is skipped by the parser and never held.
//!
//! CloudTrail's fields: <https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

/// One record of CloudTrail.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Record {
    #[serde(rename = "eventID")]
    pub(super) event_id: Word,
    pub(super) event_time: Word,
    pub(super) event_source: Word,
    pub(super) event_name: Word,
    pub(super) error_code: Word,
    pub(super) recipient_account_id: Word,
    #[serde(rename = "requestID")]
    pub(super) request_id: Word,
    #[serde(rename = "sharedEventID")]
    pub(super) shared_event_id: Word,
    pub(super) user_identity: Part<Caller>,
    pub(super) request_parameters: Part<Request>,
    pub(super) response_elements: Part<Response>,
}

/// The names of a record's fields by which a single record is told from other JSON.
pub(super) const FIELDS: &[&str] = &[
    "eventID",
    "eventTime",
    "eventSource",
    "eventName",
    "errorCode",
    "recipientAccountId",
    "requestID",
    "sharedEventID",
    "userIdentity",
    "requestParameters",
    "responseElements",
];

impl Record {
    /// Whether it is a record at all: every one says which service was called, and what for.
    pub(super) fn is_one(&self) -> bool {
        self.event_source.get().is_some() && self.event_name.get().is_some()
    }
}

/// `userIdentity`: who called.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Caller {
    #[serde(rename = "type")]
    pub(super) kind: Word,
    pub(super) principal_id: Word,
    pub(super) arn: Word,
    pub(super) account_id: Word,
    pub(super) user_name: Word,
    pub(super) invoked_by: Word,
    pub(super) identity_provider: Word,
    pub(super) on_behalf_of: Part<OnBehalfOf>,
    pub(super) session_context: Part<SessionContext>,
}

/// `userIdentity.onBehalfOf`: a person of IAM Identity Center.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct OnBehalfOf {
    pub(super) user_id: Word,
}

/// `userIdentity.sessionContext`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SessionContext {
    pub(super) session_issuer: Part<Issuer>,
}

/// `userIdentity.sessionContext.sessionIssuer`: whose temporary credentials were used.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Issuer {
    #[serde(rename = "type")]
    pub(super) kind: Word,
    pub(super) account_id: Word,
    pub(super) arn: Word,
    pub(super) user_name: Word,
}

/// `requestParameters`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) user_name: Word,
    pub(super) new_user_name: Word,
    pub(super) new_path: Word,
    pub(super) role_name: Word,
    pub(super) role_arn: Word,
    pub(super) access_key_id: Word,
    pub(super) status: Word,
    pub(super) policy_arn: Word,
    pub(super) policy_name: Word,
    pub(super) group_name: Word,
    pub(super) instance_profile_name: Word,
    pub(super) max_session_duration: Word,
}

/// `responseElements`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Response {
    pub(super) access_key: Part<AccessKey>,
    pub(super) credentials: Part<Credentials>,
    pub(super) assumed_role_user: Part<AssumedRoleUser>,
    pub(super) user: Part<Created>,
    pub(super) role: Part<Created>,
}

/// `responseElements.accessKey`, without its secret.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct AccessKey {
    pub(super) access_key_id: Word,
}

/// `responseElements.credentials`, without its secrets.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Credentials {
    pub(super) access_key_id: Word,
    pub(super) expiration: Word,
}

/// `responseElements.assumedRoleUser`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct AssumedRoleUser {
    pub(super) arn: Word,
}

/// `responseElements.user` or `.role`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Created {
    pub(super) arn: Word,
    pub(super) path: Word,
    #[serde(alias = "userId", alias = "roleId")]
    pub(super) id: Word,
    #[serde(alias = "userName", alias = "roleName")]
    pub(super) name: Word,
}

/// A text, a number or a boolean as text; absent where it is empty, null or something else. Services differ in what
/// they write, and a field in another form must not cost the file.
#[derive(Debug, Default)]
pub(super) struct Word(Option<Box<str>>);

impl Word {
    /// The text, which is not empty.
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(WordVisitor)
    }
}

struct WordVisitor;

impl<'de> Visitor<'de> for WordVisitor {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Word, E> {
        Ok(Word(Some(text.into())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Word, E> {
        Ok(Word(Some(value.to_string().into())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Word, E> {
        Ok(Word(Some(value.to_string().into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Word, E> {
        Ok(Word(Some(value.to_string().into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Word, E> {
        Ok(Word(Some(value.to_string().into())))
    }

    fn visit_unit<E>(self) -> Result<Word, E> {
        Ok(Word(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Word, A::Error> {
        skip_items(seq).map(|()| Word(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Word, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Word(None))
    }
}

/// An object, or the default where there is something else in its place.
#[derive(Debug, Default)]
pub(super) struct Part<T>(T);

impl<T> std::ops::Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: DeserializeOwned + Default> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ObjectVisitor(PhantomData))
            .map(|object: Option<T>| Self(object.unwrap_or_default()))
    }
}

/// Reads an object as `T`; anything else is skipped and gives `None`.
pub(super) struct ObjectVisitor<T>(pub(super) PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for ObjectVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Option<T>, A::Error> {
        skip_items(seq).map(|()| None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
}

fn skip_items<'de, A: SeqAccess<'de>>(seq: A) -> Result<(), A::Error> {
    IgnoredAny.visit_seq(seq).map(|_| ())
}
