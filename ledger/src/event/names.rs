//! The texts of events, each checked once where it enters: ids, handles, reasons, token digests.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::secrets;

/// The longest id, handle or name, in bytes.
pub const TEXT_BYTES_MAX: usize = 512;
/// The longest free text (a reason, an attribute's value), in bytes.
pub const NOTE_BYTES_MAX: usize = 4096;

/// What is wrong with a text. Says what to do; never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// It is empty.
    #[error("is empty; give a value")]
    Empty,
    /// It is too long.
    #[error("is longer than {0} bytes")]
    Long(usize),
    /// It holds a character that is not printed.
    #[error("holds a control character; remove it")]
    Control,
    /// It looks like a secret.
    #[error(
        "looks like a secret ({0}); the ledger never takes secrets: send an id, or a digest such as sha256:HEX in the field `digest`"
    )]
    Secret(&'static str),
    /// It is not a digest.
    #[error(
        "is not a digest: use sha256:HEX, sha384:HEX, blake3:HEX or hmac-sha256:KEYID:HEX, hex in small letters"
    )]
    Digest,
}

/// A checked text: 1 to 512 bytes (4,096 for a [`Text::note`]), no control characters, nothing that looks like a
/// secret. Cheap to make and to clone: up to 23 bytes stand in the value itself, so that most ids allocate nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Text(SmolStr);

impl Text {
    /// Checks an id, handle or name.
    ///
    /// # Errors
    /// [`BadText`], where it breaks the rule above.
    pub fn new(text: &str) -> Result<Self, BadText> {
        Self::checked(text, TEXT_BYTES_MAX)
    }

    /// Checks a free text.
    ///
    /// # Errors
    /// [`BadText`], where it breaks the rule above.
    pub fn note(text: &str) -> Result<Self, BadText> {
        Self::checked(text, NOTE_BYTES_MAX)
    }

    fn checked(text: &str, bytes_max: usize) -> Result<Self, BadText> {
        if text.is_empty() {
            return Err(BadText::Empty);
        }
        if text.len() > bytes_max {
            return Err(BadText::Long(bytes_max));
        }
        if has_control(text) {
            return Err(BadText::Control);
        }
        match secrets::looks_like(text) {
            Some(kind) => Err(BadText::Secret(kind)),
            None => Ok(Self(text.into())),
        }
    }

    /// A text that this program wrote itself.
    #[must_use]
    pub fn own(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text has a control character. All of ASCII's are below the blank or 0x7f, which processors find many bytes
/// at a time; only other alphabets are looked at character by character.
fn has_control(text: &str) -> bool {
    let plain = text.bytes().fold(true, |plain, byte| plain & (b' '..0x7f).contains(&byte));
    !plain && text.chars().any(char::is_control)
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

macro_rules! name {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub Text);

        impl $name {
            /// Checks a text.
            ///
            /// # Errors
            /// [`BadText`], as [`Text::new`].
            pub fn new(text: &str) -> Result<Self, BadText> {
                Text::new(text).map(Self)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl From<Text> for $name {
            fn from(text: Text) -> Self {
                Self(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

name! {
    /// A bot, service or human principal that owns tokens.
    AccountId;
    /// A token, unique in its account. Not its secret.
    TokenId;
    /// Tokens joined by rotation.
    FamilyId;
    /// A membership or right, unique in its account.
    GrantId;
    /// A component that uses a token, unique in its account.
    ConsumerId;
    /// One execution of an automated job.
    RunId;
    /// A deletion request.
    RequestId;
    /// The group, project or directory that an account lives in.
    Namespace;
    /// The name by which people know an account.
    Handle;
}

/// A digest of a token's secret with its algorithm: `sha256:HEX`, `sha384:HEX`, `blake3:HEX`,
/// `hmac-sha256:KEYID:HEX`; hex in small letters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenDigest(Arc<str>);

impl TokenDigest {
    /// Checks a digest.
    ///
    /// # Errors
    /// [`BadText::Digest`], where it has none of the forms above.
    pub fn new(text: &str) -> Result<Self, BadText> {
        let (algorithm, rest) = text.split_once(':').ok_or(BadText::Digest)?;
        let (hex, digits) = match algorithm {
            "sha256" | "blake3" => (rest, 64),
            "sha384" => (rest, 96),
            "hmac-sha256" => {
                let (key, hex) = rest.split_once(':').ok_or(BadText::Digest)?;
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
                if key.is_empty() || key.len() > 64 || !key.bytes().all(plain) {
                    return Err(BadText::Digest);
                }
                (hex, 64)
            }
            _ => return Err(BadText::Digest),
        };
        let small_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() == digits && hex.bytes().all(small_hex) {
            Ok(Self(text.into()))
        } else {
            Err(BadText::Digest)
        }
    }

    /// The digest as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
