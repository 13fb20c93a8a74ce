//! Grants, consumers and the other things of an account that have a name, and how they are packed: a byte that says
//! which values there are, and those in order of the fields, times in 8 bytes, little-endian.

use super::table::Packed;
use super::table::bytes::{Reader, put_optional};
use crate::event::{Text, TokenId};
use crate::types::Time;

/// A membership or right of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it gives access to; `None`: what its id says.
    pub resource: Option<Text>,
    /// How much.
    pub access: Option<Text>,
    /// It ends by itself then.
    pub expires_at: Option<Time>,
}

/// A component that uses an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// What it is.
    pub component: Option<Text>,
    /// Where it is configured.
    pub location: Option<Text>,
    /// Such as `production`.
    pub environment: Option<Text>,
    /// The token it uses; `None`: the account as a whole.
    pub token: Option<TokenId>,
}

/// A byte of which bit n says whether value n is there.
fn put_there<const N: usize>(out: &mut Vec<u8>, there: [bool; N]) {
    out.push(there.iter().rev().fold(0, |bits, there| bits << 1 | u8::from(*there)));
}

/// What [`put_there`] wrote; `None` where a bit is set that no value has.
fn there<const N: usize>(reader: &mut Reader<'_>) -> Option<[bool; N]> {
    let bits = reader.byte()?;
    (bits >> N == 0).then(|| std::array::from_fn(|n| bits >> n & 1 == 1))
}

fn text(reader: &mut Reader<'_>, there: bool) -> Option<Option<Text>> {
    Some(reader.optional(there)?.map(Text::own))
}

impl Packed for Grant {
    fn pack(&self, _: &str, out: &mut Vec<u8>) {
        let Self { resource, access, expires_at } = self;
        put_there(out, [resource.is_some(), access.is_some(), expires_at.is_some()]);
        put_optional(out, resource.as_ref().map(Text::as_str));
        put_optional(out, access.as_ref().map(Text::as_str));
        out.extend(expires_at.iter().flat_map(|time| time.0.to_le_bytes()));
    }

    fn unpack(_: &str, body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let [resource, access, expires] = there::<3>(&mut reader)?;
        let grant = Self {
            resource: text(&mut reader, resource)?,
            access: text(&mut reader, access)?,
            expires_at: if expires { Some(Time(i64::from_le_bytes(*reader.array()?))) } else { None },
        };
        reader.0.is_empty().then_some(grant)
    }
}

impl Packed for Consumer {
    fn pack(&self, _: &str, out: &mut Vec<u8>) {
        let values = [
            self.component.as_ref().map(Text::as_str),
            self.location.as_ref().map(Text::as_str),
            self.environment.as_ref().map(Text::as_str),
            self.token.as_ref().map(TokenId::as_str),
        ];
        put_there(out, values.map(|value| value.is_some()));
        values.into_iter().for_each(|value| put_optional(out, value));
    }

    fn unpack(_: &str, body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let [component, location, environment, token] = there::<4>(&mut reader)?;
        let consumer = Self {
            component: text(&mut reader, component)?,
            location: text(&mut reader, location)?,
            environment: text(&mut reader, environment)?,
            token: text(&mut reader, token)?.map(TokenId),
        };
        reader.0.is_empty().then_some(consumer)
    }
}

/// The value of an attribute: its bytes.
impl Packed for String {
    fn pack(&self, _: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn unpack(_: &str, body: &[u8]) -> Option<Self> {
        std::str::from_utf8(body).ok().map(str::to_owned)
    }
}

/// Whether a rule is on: 1 or 0.
impl Packed for bool {
    fn pack(&self, _: &str, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn unpack(_: &str, body: &[u8]) -> Option<Self> {
        match body {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}
