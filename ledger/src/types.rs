//! The small words of the ledger: positions, times, links and names, each a type that cannot be wrong.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// The gapless index of an entry in its ledger, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(pub u64);

impl Position {
    /// The position after this one; the last one that the type holds has none, and stays.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment: nanoseconds since 1970-01-01T00:00:00Z, between the years 1678 and 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub i64);

impl Time {
    /// From seconds and nanoseconds of the second; `None` where the type cannot hold it.
    #[must_use]
    pub fn from_parts(seconds: i64, nanos: i32) -> Option<Self> {
        if !(0..1_000_000_000).contains(&nanos) {
            return None;
        }
        // In the first second of the type's range, the full second alone lies outside of it.
        let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        i64::try_from(nanoseconds).ok().map(Self)
    }

    /// Seconds since the epoch (rounded down) and nanoseconds of that second.
    #[must_use]
    pub fn parts(self) -> (i64, i32) {
        let nanos = self.0.rem_euclid(1_000_000_000);
        (self.0.div_euclid(1_000_000_000), i32::try_from(nanos).unwrap_or(0))
    }

    /// This moment moved by `seconds`, at most to the ends of the type.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000_000)))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC, with as many digits of the second as are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = chrono::DateTime::from_timestamp_nanos(self.0);
        f.write_str(&t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    }
}

/// A text is not a time in RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time in RFC 3339 between 1678 and 2262, such as 2023-07-10T12:26:00Z")]
pub struct NotATime;

impl FromStr for Time {
    type Err = NotATime;
    fn from_str(text: &str) -> Result<Self, NotATime> {
        let parsed = chrono::DateTime::parse_from_rfc3339(text).map_err(|_| NotATime)?;
        parsed.timestamp_nanos_opt().map(Self).ok_or(NotATime)
    }
}

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

bytes32! {
    /// The BLAKE3 value that chains an entry to the whole past: see [`crate::entry::link`].
    Link
}
bytes32! {
    /// BLAKE3 over the canonical encoding of an account: see `docs/format.md`.
    AccountDigest
}
bytes32! {
    /// The root of the state at a position: an RFC 6962 tree over the accounts: see `docs/format.md`.
    StateRoot
}

/// The random identity of a ledger, fixed by its genesis. It stands in every entry, so that no entry of one ledger
/// can pass for an entry of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LedgerUid(pub [u8; 16]);

impl fmt::Display for LedgerUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

/// A name that breaks the rule of its kind. The rule is in the message; the value is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct BadName {
    /// What the name must look like.
    pub rule: &'static str,
}

/// The name of a ledger: `[a-z][a-z0-9-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LedgerName(String);

impl LedgerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LedgerName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for LedgerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LedgerName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if first && rest && text.len() <= 63 {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName {
                rule: "a ledger's name is a small letter followed by at most 62 small letters, digits or hyphens",
            })
        }
    }
}

/// The longest name of an emitter, in bytes.
pub const EMITTER_BYTES_MAX: usize = 128;

/// Who sends events: a name that the caller's identity may use. 1 to 128 printable ASCII characters without spaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Emitter(SmolStr);

impl Emitter {
    /// The ledger itself, which writes its own genesis, refusals and restores.
    pub const LEDGER: &'static str = "tokenledger";

    /// The emitter under which the ledger writes its own entries.
    #[must_use]
    pub fn ledger() -> Self {
        Self(SmolStr::new_static(Self::LEDGER))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Emitter {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        if !text.is_empty() && text.len() <= EMITTER_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(BadName { rule: "an emitter is 1 to 128 printable ASCII characters without spaces" })
        }
    }
}
